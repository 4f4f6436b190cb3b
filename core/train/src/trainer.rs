//! One epoch of optimiser steps. The host owns epochs, evaluation and files.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use fer_engine::{Engine, EngineError, Executable, Feeds, Outputs, Store, Summary, Tensor};
use fer_graph::{Graph, Role};

use crate::{
    joint::{GRADIENT_NORM, LOSS, MICRO_BATCHES, Step},
    schedule::factor,
    spec::{Schedule, WarmUp},
};

/// Why an epoch ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The loader failed.
    #[error("no batch for epoch {}, step {}: {source}", epoch + 1, step + 1)]
    Batch { epoch: usize, step: usize, source: BatchError },
    /// Training has diverged. The store is no longer worth saving: go back to a checkpoint.
    #[error(
        "{what} is {value} in epoch {}, step {}: training has diverged; try a lower learning rate, a longer warm-up, or clipping", epoch + 1, step + 1
    )]
    NotFinite { what: &'static str, value: f64, epoch: usize, step: usize },
    /// The engine gave no such scalar.
    #[error("the step gave no scalar {0:?}")]
    MissingOutput(&'static str),
}

/// The learning rate's course over the run, and the run's seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// The optimiser's.
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub warm_up: Option<WarmUp>,
    /// Optimiser steps.
    pub steps_per_epoch: usize,
    pub epochs: usize,
    pub seed: u64,
    /// Steps by which the schedule runs ahead; 0 but for the paper's own protocol, which steps it before the first epoch.
    pub offset: u64,
}

impl Pace {
    /// At an optimiser step, counted from 0 over the run.
    pub fn learning_rate_at(&self, global_step: u64) -> f64 {
        let step = global_step + self.offset;
        let factor = factor(&self.schedule, self.warm_up.as_ref(), step, self.steps_per_epoch, self.epochs);
        self.learning_rate * factor
    }
}

/// The optimiser step that comes next; all counts from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub epoch: usize,
    pub step_in_epoch: usize,
    pub global_step: u64,
}

/// One optimiser step that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Of this step.
    pub position: Position,
    pub learning_rate: f64,
    /// Mean over the micro-batches.
    pub loss: f64,
    /// Before clipping.
    pub gradient_norm: f64,
    /// Batches in the step; fewer than usual at the end of an epoch that does not divide.
    pub micro_batches: usize,
}

/// How an epoch ended, and where training goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochEnd {
    /// The batches are used up; the position is the next epoch's first step.
    Finished(Position),
    /// The stop flag was seen after a whole step.
    Stopped(Position),
}

/// Who watches an epoch. A closure over [`StepReport`] is one.
pub trait Observer {
    /// After each batch, with what went in and what came out (`loss`, `logits`).
    fn on_batch(&mut self, _inputs: &Feeds, _outputs: &Outputs) {}
    /// After each optimiser step.
    fn on_step(&mut self, report: &StepReport);
    /// Before the epoch ends in [`TrainError::NotFinite`]: the batch, and the store as it was before it where the engine keeps one.
    fn on_diverged(&mut self, _inputs: &Feeds, _before: Option<&dyn Store>) {}
}

impl<F: FnMut(&StepReport)> Observer for F {
    fn on_step(&mut self, report: &StepReport) {
        self(report);
    }
}

/// The step's random key, the input `rng: i32[3]`: seed low, seed high, step (modulo 2^32).
pub fn rng_key(seed: u64, step: u64) -> Tensor {
    Tensor::i32([3], vec![seed as u32 as i32, (seed >> 32) as u32 as i32, step as u32 as i32])
}

/// A compiled graph, and which of the trainer's inputs it asks for.
struct Compiled {
    executable: Box<dyn Executable>,
    inputs: Vec<String>,
}

impl Compiled {
    fn new(engine: &dyn Engine, graph: &Graph) -> Result<Compiled, EngineError> {
        let inputs = graph.by_role(Role::Input).map(|a| a.name.clone()).collect();
        Ok(Compiled { executable: engine.compile(graph)?, inputs })
    }

    /// Adds an input if the graph has it: a model without dropout has no `rng`. Feeds that have it already stay the same `Arc`.
    fn feed(&self, feeds: &mut Arc<Feeds>, name: &str, value: impl FnOnce() -> Tensor) {
        if self.inputs.iter().any(|known| known == name) {
            let value = value();
            if feeds.get(name) != Some(&value) {
                Arc::make_mut(feeds).insert(name.to_owned(), value);
            }
        }
    }

    /// Adds what the schedule says of an optimiser step.
    fn feed_rates(&self, feeds: &mut Arc<Feeds>, pace: &Pace, global_step: u64) {
        self.feed(feeds, "learning_rate", || Tensor::scalar(pace.learning_rate_at(global_step)));
        self.feed(feeds, "step", || Tensor::scalar((global_step + 1) as f64));
    }
}

/// Why there is no batch.
pub type BatchError = Box<dyn Error + Send + Sync>;

/// Batches in their order, one of which may have been looked at ahead of its step. It is kept here, so that whoever goes on after a stop
/// finds all that are left.
pub struct Batches<'b> {
    source: Box<dyn Iterator<Item = Result<Feeds, BatchError>> + 'b>,
    ahead: Option<Result<Arc<Feeds>, BatchError>>,
}

impl<'b> Batches<'b> {
    pub fn new(source: impl Iterator<Item = Result<Feeds, BatchError>> + 'b) -> Batches<'b> {
        Batches { source: Box::new(source.fuse()), ahead: None }
    }

    /// The batch that comes next; `None` when there are no more.
    pub fn take(&mut self) -> Option<Result<Arc<Feeds>, BatchError>> {
        self.ahead.take().or_else(|| self.source.next().map(|batch| batch.map(Arc::new)))
    }

    /// The batch that comes next, prepared for its step, without taking it: what [`Executable::run_ahead`] asks for. One that could not be
    /// loaded is told when its turn comes.
    pub fn peek(&mut self, prepare: impl FnOnce(&mut Arc<Feeds>)) -> Option<Arc<Feeds>> {
        self.ahead = self.take();
        let feeds = self.ahead.as_mut()?.as_mut().ok()?;
        prepare(feeds);
        Some(feeds.clone())
    }
}

/// A compiled [`Step`].
pub struct Stepper {
    /// Runs once a micro-batch.
    batch: Compiled,
    /// Runs after `every` of them; none where the batch graph is the whole step.
    apply: Option<Compiled>,
    every: usize,
}

impl Stepper {
    /// # Errors
    /// Those of [`Engine::compile`].
    pub fn compile(engine: &dyn Engine, step: &Step) -> Result<Stepper, EngineError> {
        Ok(match step {
            Step::Fused(graph) => Stepper { batch: Compiled::new(engine, graph)?, apply: None, every: 1 },
            Step::Accumulated { accumulate, apply, every } => Stepper {
                batch: Compiled::new(engine, accumulate)?,
                apply: Some(Compiled::new(engine, apply)?),
                every: *every,
            },
        })
    }

    /// What the plans of its graphs need, in the order in which they run; of an engine that plans.
    pub fn summaries(&self) -> Vec<Option<Summary>> {
        let compiled = std::iter::once(&self.batch).chain(&self.apply);
        compiled.map(|c| c.executable.summary()).collect()
    }

    /// Batches in an optimiser step.
    pub fn every(&self) -> usize {
        self.every
    }

    /// One optimiser step over up to [`Stepper::every`] batches; `None` when there are no more.
    fn step(
        &self,
        store: &mut dyn Store,
        batches: &mut Batches<'_>,
        pace: &Pace,
        position: Position,
        observer: &mut dyn Observer,
    ) -> Result<Option<StepReport>, TrainError> {
        let Position { epoch, step_in_epoch: step, global_step } = position;
        let learning_rate = pace.learning_rate_at(global_step);
        let finite = |what, value: f64| {
            if value.is_finite() { Ok(value) } else { Err(TrainError::NotFinite { what, value, epoch, step }) }
        };
        let (mut loss, mut count, mut norm) = (0.0, 0, None);
        while count < self.every {
            let Some(batch) = batches.take() else { break };
            let mut feeds = batch.map_err(|source| TrainError::Batch { epoch, step, source })?;
            self.prepare(&mut feeds, pace, global_step, count);
            let after = if count + 1 < self.every { (global_step, count + 1) } else { (global_step + 1, 0) };
            let mut next = || batches.peek(|feeds| self.prepare(feeds, pace, after.0, after.1));
            let before = store.snapshot();
            let outputs = self.batch.executable.run_ahead(store, &feeds, &mut next)?;
            observer.on_batch(&feeds, &outputs);
            let value = scalar(&outputs, LOSS)?;
            norm = outputs.get(GRADIENT_NORM).and_then(Tensor::item);
            let odd =
                [(LOSS, Some(value)), (GRADIENT_NORM, norm)].map(|(name, v)| (name, v.is_some_and(|v| !v.is_finite())));
            if odd.iter().any(|&(_, odd)| odd) {
                // The store is as it was before the step if any of them has kept it so.
                let stopped = odd.iter().any(|&(name, odd)| odd && self.batch.executable.stops_when_not_finite(name));
                observer.on_diverged(&feeds, if stopped { Some(&*store) } else { before.as_deref() });
            }
            loss += finite("the loss", value)?;
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        if let Some(apply) = &self.apply {
            let mut feeds = Arc::default();
            apply.feed_rates(&mut feeds, pace, global_step);
            apply.feed(&mut feeds, MICRO_BATCHES, || Tensor::scalar(count as f64));
            norm = Some(scalar(&apply.executable.run(store, &feeds)?, GRADIENT_NORM)?);
        }
        let gradient_norm = finite("the gradient's norm", norm.ok_or(TrainError::MissingOutput(GRADIENT_NORM))?)?;
        let loss = loss / count as f64;
        Ok(Some(StepReport { position, learning_rate, loss, gradient_norm, micro_batches: count }))
    }

    /// Adds what a batch graph is given beside a batch.
    fn prepare(&self, feeds: &mut Arc<Feeds>, pace: &Pace, global_step: u64, micro_batch: usize) {
        self.batch.feed_rates(feeds, pace, global_step);
        // Every micro-batch draws its own random numbers.
        let draw = global_step.wrapping_mul(self.every as u64).wrapping_add(micro_batch as u64);
        self.batch.feed(feeds, "rng", || rng_key(pace.seed, draw));
    }
}

fn scalar(outputs: &Outputs, name: &'static str) -> Result<f64, TrainError> {
    outputs.get(name).and_then(Tensor::item).ok_or(TrainError::MissingOutput(name))
}

/// Runs optimiser steps until the batches are used up or `stop` is set, which is looked at between steps.
///
/// `start` is where the epoch begins, or where a stopped one goes on: then `batches` must begin with the batches of that step.
/// The trainer adds `learning_rate`, `step`, `rng` and `micro_batches` to the inputs where a graph has them.
///
/// # Errors
/// [`TrainError`]. After [`TrainError::NotFinite`] the store may hold numbers that are not finite.
pub fn train_epoch(
    stepper: &Stepper,
    store: &mut dyn Store,
    batches: &mut Batches<'_>,
    pace: &Pace,
    start: Position,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<EpochEnd, TrainError> {
    let mut position = start;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(EpochEnd::Stopped(position));
        }
        let Some(report) = stepper.step(store, batches, pace, position, observer)? else {
            return Ok(EpochEnd::Finished(Position { epoch: position.epoch + 1, step_in_epoch: 0, ..position }));
        };
        observer.on_step(&report);
        position.step_in_epoch += 1;
        position.global_step += 1;
    }
}
