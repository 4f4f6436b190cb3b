//! Watches an epoch: sums, the bar, a line in the log for every step, and when to pause for a checkpoint.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fer_engine::{Engine, Feeds, Outputs, Precision, Store};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::Graph;
use fer_train::{FileError, LineLog, Observer, Position, StepReport};
use indicatif::ProgressBar;
use serde_json::json;

use super::{checkpointing::EpochSums, progress, report::Reporter};
use crate::failure::Result;

pub struct Watch<'w> {
    log: &'w mut LineLog,
    bar: ProgressBar,
    sums: EpochSums,
    /// Steps until the next pause.
    left: usize,
    user: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
    failed: Option<FileError>,
    diverged: Option<(Feeds, Option<Box<dyn Store>>)>,
}

impl<'w> Watch<'w> {
    pub fn new(
        reporter: &Reporter,
        log: &'w mut LineLog,
        sums: EpochSums,
        (epoch, epochs): (usize, usize),
        steps: usize,
        user: Arc<AtomicBool>,
    ) -> Watch<'w> {
        let bar = progress::epoch(epoch + 1, epochs, steps as u64, sums.steps as u64);
        reporter.during(&bar);
        Watch { log, bar, sums, left: usize::MAX, user, pause: Arc::default(), failed: None, diverged: None }
    }

    /// Starts counting steps anew; the flag is set when `every` are done, or when the user asks to stop.
    pub fn begin(&mut self, every: usize) -> Arc<AtomicBool> {
        self.left = every.max(1);
        self.pause = Arc::new(AtomicBool::new(self.user.load(Ordering::SeqCst)));
        self.pause.clone()
    }

    pub fn sums(&self) -> EpochSums {
        self.sums
    }

    /// # Errors
    /// A line of the log that could not be written.
    pub fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), |error| Err(error.into()))
    }

    /// The place of the first value that was not finite, in words.
    pub fn first_non_finite(&self, engine: &dyn Engine, graph: &Graph) -> Option<String> {
        let (feeds, before) = self.diverged.as_ref()?;
        first_non_finite(engine, graph, before.as_deref()?, feeds)
    }
}

/// The place of the first value of a graph that is not finite, in words.
pub fn first_non_finite(engine: &dyn Engine, graph: &Graph, store: &dyn Store, feeds: &Feeds) -> Option<String> {
    // Only the reference engine can name the value.
    let found = DfdxEngine::new(engine.precision()).first_non_finite(graph, store, feeds).ok()??;
    let scope = if found.scope.is_empty() { "the top of the graph".to_owned() } else { found.scope };
    Some(format!("{} ({}) is {}, in {scope}", found.name, found.op, found.kind))
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Watch<'_> {
    fn on_batch(&mut self, inputs: &Feeds, outputs: &Outputs) {
        let (Some(targets), Some(logits)) = (inputs.get("targets"), outputs.get("logits")) else { return };
        let classes = targets.shape.last().copied().unwrap_or(1);
        let (targets, logits) = (targets.to_f32(), logits.to_f32());
        let rows = targets.chunks_exact(classes).zip(logits.chunks_exact(classes));
        self.sums.images += targets.len() / classes;
        self.sums.right += rows.filter(|(t, l)| largest(t) == largest(l)).count();
    }

    fn on_step(&mut self, report: &StepReport) {
        self.sums.loss += report.loss;
        self.sums.steps += 1;
        let Position { epoch, global_step, .. } = report.position;
        let line = json!({
            "kind": "step", "epoch": epoch + 1, "global_step": global_step + 1, "loss": report.loss,
            "learning_rate": report.learning_rate, "gradient_norm": report.gradient_norm,
        });
        self.failed = self.log.append(&line.to_string()).err();
        let speed = self.sums.images as f64 / self.bar.elapsed().as_secs_f64().max(1e-9);
        self.bar.set_message(format!("loss {:.3}   {speed:.1} img/s", self.sums.mean_loss()));
        self.bar.inc(1);
        self.left -= 1;
        if self.left == 0 || self.failed.is_some() || self.user.load(Ordering::SeqCst) {
            self.pause.store(true, Ordering::SeqCst);
        }
    }

    fn on_diverged(&mut self, inputs: &Feeds, before: Option<&dyn Store>) {
        self.diverged = Some((inputs.clone(), before.map(kept)));
    }
}

/// The store as it stands, whatever becomes of it.
fn kept(store: &dyn Store) -> Box<dyn Store> {
    store.snapshot().unwrap_or_else(|| {
        let mut copy = DfdxEngine::new(Precision::F32).store();
        for name in store.names() {
            if let Some(value) = store.read(&name) {
                copy.write(&name, &value);
            }
        }
        copy
    })
}

/// The first of the largest.
fn largest(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}
