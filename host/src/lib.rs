//! The host as a library.
pub mod compose;
