//! derive(Options): an option schema and its parser from a struct
