//! Optimisers, schedules, data order, metrics and checkpoints.
pub mod spec;
