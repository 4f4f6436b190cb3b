//! Saves and restores the whole state of a run.

use std::{collections::BTreeMap, path::Path};

use fer_engine::Store;
use fer_graph::Graph;
use fer_train::{Checkpoint, Position, Progress, Selection};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// Sums over the epoch under way, so that a resumed epoch reports the same means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSums {
    pub loss: f64,
    pub steps: usize,
    pub right: usize,
    pub images: usize,
}

/// Everything that is not a tensor.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub position: Position,
    pub selection: Selection,
    pub sums: EpochSums,
}

/// # Errors
/// A file that cannot be written; an older checkpoint is then left as it was.
pub fn save(path: &Path, store: &dyn Store, seed: u64, state: &State) -> Result<()> {
    let progress = Progress {
        epoch: state.position.epoch,
        step_in_epoch: state.position.step_in_epoch,
        global_step: state.position.global_step,
        seed,
        selection: state.selection.clone(),
        data_order: serde_json::to_value(state.sums).map_err(|e| Failure::new(format!("cannot save: {e}")))?,
    };
    let metadata = BTreeMap::from([("fer_host".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    Ok(Checkpoint::of(store, progress, metadata)?.save(path)?)
}

/// # Errors
/// A file that is no checkpoint, or one of another model: which names or shapes differ.
pub fn restore(path: &Path, store: &mut dyn Store, graphs: &[&Graph]) -> Result<State> {
    let checkpoint = Checkpoint::load(path)?;
    checkpoint
        .restore(store, graphs)
        .map_err(|mismatch| Failure::new(format!("{} is a checkpoint of another model: {mismatch}", path.display())))?;
    let progress = checkpoint.progress;
    Ok(State {
        position: Position {
            epoch: progress.epoch,
            step_in_epoch: progress.step_in_epoch,
            global_step: progress.global_step,
        },
        selection: progress.selection,
        sums: serde_json::from_value(progress.data_order).unwrap_or_default(),
    })
}
