//! Training: the whole step as one graph, schedules, first values, metrics, checkpoints, and the loop over an epoch.
//!
//! Nothing here reads a config, prints, or knows a data set or an engine by name: the host brings them together.

pub mod atomic;
pub mod checkpoint;
pub mod groups;
pub mod init;
pub mod joint;
pub mod metrics;
pub mod names;
mod normal;
pub mod schedule;
pub mod significance;
pub mod spec;
pub mod stopping;
#[cfg(test)]
mod testing;
pub mod trainer;
mod update;
pub mod weights;

pub use atomic::{FileError, LineLog, write_atomically, write_atomically_with};
pub use checkpoint::{Checkpoint, CheckpointError, Progress};
pub use groups::{ParameterRule, parameter_rules};
pub use init::{InitError, initial_value, initialise};
pub use joint::{GRADIENT_NORM, LOSS, MICRO_BATCHES, Step, StepError, StepOptions, averaged};
pub use metrics::{ClassMetrics, Confusion, Metrics, MetricsError, Tally};
pub use schedule::factor;
pub use significance::{McNemar, mcnemar, wilson};
pub use stopping::{Best, Selection, Verdict};
pub use trainer::{
    BatchError, Batches, EpochEnd, Observer, Pace, Position, StepReport, Stepper, TrainError, rng_key, train_epoch,
};
pub use weights::{
    Metadata, Mismatch, Tensors, WeightsError, compare, place, read_safetensors, read_safetensors_with_metadata,
    write_safetensors,
};
