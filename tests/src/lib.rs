//! Tests that cross crates: contracts, conformance, golden numbers, the command line
