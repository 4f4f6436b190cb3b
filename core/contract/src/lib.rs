//! The properties every component must have, as proptest problems
