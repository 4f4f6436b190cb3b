//! Whose code is run: which libraries a config or a lock file pins, and what is said of one that is another than it was.
//!
//! A plugin is code with the rights of whoever runs it. With `plugins: Lock(FILE)`, only libraries whose hash the file holds are so much as
//! tried; `sha256` at a component names the only library that it may come from.

mod check;
mod file;
mod lock;

pub use check::Trust;
pub use file::{LibraryFile, time_of};
pub use lock::{Accepted, Entry, LockFile};

use fer_abi::kind;
use fer_config::{Component, Experiment};

/// The components that an experiment names: kind, what is said of it, where.
pub fn named(experiment: &Experiment) -> Vec<(&'static str, &Component, String)> {
    let resizers = experiment.model.resizers.iter().enumerate();
    let mut named: Vec<_> = resizers.map(|(i, c)| (kind::RESIZER, c, format!("model.resizers.{i}"))).collect();
    named.push((kind::BACKBONE, &experiment.model.backbone, "model.backbone".into()));
    named.push((kind::LOSS, &experiment.loss, "loss".into()));
    named
}
