//! A run: from a resolved config to a run folder.
//!
//! `material` opens the data, `folder` keeps the files, `training` owns the epochs, `evaluation` measures,
//! `progress` shows, `pictures` draws; `export` hands an experiment over to another framework.

mod checkpointing;
mod confusion;
mod curve;
mod evaluation;
pub mod export;
mod finished;
mod folder;
mod material;
mod model;
mod pictures;
pub mod progress;
mod record;
mod report;
mod starting;
mod svg;
mod training;
mod waiting;
mod watch;

pub use evaluation::{Evaluation, Evaluator, Reading, softmax};
pub use finished::{FinishedRun, Weights};
pub use folder::RunFolder;
pub use material::Material;
pub use model::{Model, step_options};
pub use record::{DataRecord, Environment, Results, SplitResult};
pub use training::{RunOptions, resume, start};
