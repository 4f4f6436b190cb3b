//! The fast CPU engine.
