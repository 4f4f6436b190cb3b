//! Tests that cross crates: contracts, conformance, golden numbers, the command line.
//!
//! The library is what those tests share: the workspace as files.

pub mod workspace;
