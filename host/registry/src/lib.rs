//! Finds, checks, loads and describes plugin libraries
