//! What an engine is, and the problems every engine must pass
