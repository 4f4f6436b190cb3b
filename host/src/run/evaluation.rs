//! Measures a model on a split: every image once, in order, with the evaluation graph.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use fer_data::{ImageSet, Loader, LoaderOptions, sampler::batches};
use fer_engine::{Engine, Executable, Feeds, Store, Tensor};
use fer_graph::Graph;
use fer_train::{BatchError, Batches, Metrics, MetricsError, Tally, averaged};

use super::{
    model::{Model, feeds},
    progress::evaluating,
    watch::first_non_finite,
};
use crate::failure::{Failure, Result};

/// What an evaluation gives.
#[derive(Clone, Debug)]
pub struct Evaluation {
    pub metrics: Metrics,
    /// Class and its probabilities, image by image, in the split's order.
    pub answers: Vec<Answer>,
}

/// The answer to one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub class: usize,
    pub probabilities: Vec<f64>,
}

/// How a split is read.
#[derive(Clone, Debug)]
pub struct Reading {
    pub batch: usize,
    pub loader: LoaderOptions,
    /// The paper's code averages the accuracies of batches, which counts the images of the last one more.
    pub mean_of_batches: bool,
}

/// Compiles evaluation graphs, one a batch size, and runs them.
pub struct Evaluator<'s> {
    model: &'s Model<'s>,
    engine: &'s dyn Engine,
    compiled: BTreeMap<usize, Box<dyn Executable>>,
}

impl<'s> Evaluator<'s> {
    pub fn new(model: &'s Model<'s>, engine: &'s dyn Engine) -> Evaluator<'s> {
        Evaluator { model, engine, compiled: BTreeMap::new() }
    }

    fn executable(&mut self, batch: usize, store: &dyn Store) -> Result<&dyn Executable> {
        if !self.compiled.contains_key(&batch) {
            self.compiled.insert(batch, self.engine.compile(&self.graph(batch, store)?)?);
        }
        Ok(self.compiled[&batch].as_ref())
    }

    /// Where weights are averaged over time, the averages are what is measured and kept.
    fn graph(&self, batch: usize, store: &dyn Store) -> Result<Graph> {
        let names: BTreeSet<String> = store.names().into_iter().collect();
        Ok(averaged(&self.model.evaluation(batch)?, |name| names.contains(name)))
    }

    /// Says of logits that are no numbers where they come from.
    fn diverged(&self, error: MetricsError, split: &str, batch: usize, store: &dyn Store, feeds: &Feeds) -> Failure {
        if !matches!(error, MetricsError::NotANumber { .. }) {
            return error.into();
        }
        let failure = Failure::new(format!("on the {split} images, {error}"))
            .help("try a lower learning rate, a longer warm-up, or clipping");
        let graph = self.graph(batch, store).ok();
        match graph.and_then(|g| first_non_finite(self.engine, &g, store, feeds)) {
            Some(place) => failure.note(format!("the first value that is not finite: {place}")),
            None => failure,
        }
    }

    /// `None` when `stop` was set on the way.
    ///
    /// # Errors
    /// Images that cannot be read, logits that are no numbers.
    pub fn evaluate(
        &mut self,
        store: &mut dyn Store,
        split: &str,
        images: &Arc<ImageSet>,
        classes: &[String],
        reading: &Reading,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>> {
        let order: Vec<usize> = (0..images.len()).collect();
        let parts = batches(&order, reading.batch.min(images.len()), false);
        let bar = evaluating(split, parts.len() as u64);
        let mut tally = Tally::new(classes.to_vec());
        let mut answers = Vec::with_capacity(images.len());
        let mut shares = vec![];
        let (truth, loaded) = (images.labels(), Loader::start(images.clone(), &parts, reading.loader.clone())?);
        let mut incoming = Batches::new(
            loaded.map(|batch| batch.map(|batch| feeds(batch, classes.len())).map_err(|e| Box::new(e) as BatchError)),
        );
        for part in &parts {
            if stop.load(Ordering::Relaxed) {
                bar.finish_and_clear();
                return Ok(None);
            }
            let Some(batch) = incoming.take() else { break };
            let feeds = batch.map_err(|error| Failure::new(error.to_string()))?;
            let labels: Vec<i32> = part.iter().map(|&image| truth[image] as i32).collect();
            let executable = self.executable(labels.len(), store)?;
            let outputs = executable.run_ahead(store, &feeds, &mut || incoming.peek(|_| ()))?;
            let (logits, loss) = (fetch(&outputs, "logits")?.to_f64(), fetch(&outputs, "loss")?.item());
            let loss = loss.ok_or_else(|| Failure::new("the evaluation graph gives a loss that is no scalar"))?;
            let found = tally
                .add(&logits, &labels, None, loss)
                .map_err(|error| self.diverged(error, split, labels.len(), store, &feeds))?;
            let right = found.iter().zip(&labels).filter(|&(&a, &l)| a == l as usize).count();
            shares.push(right as f64 / labels.len() as f64);
            let rows = logits.chunks_exact(classes.len());
            answers
                .extend(found.into_iter().zip(rows).map(|(class, row)| Answer { class, probabilities: softmax(row) }));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let mut metrics = tally.finish()?;
        if reading.mean_of_batches {
            metrics.accuracy = shares.iter().sum::<f64>() / shares.len() as f64;
        }
        Ok(Some(Evaluation { metrics, answers }))
    }
}

fn fetch<'o>(outputs: &'o BTreeMap<String, Tensor>, name: &str) -> Result<&'o Tensor> {
    outputs.get(name).ok_or_else(|| Failure::new(format!("the evaluation graph gives no {name:?}")))
}

/// Probabilities of one row of logits.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|l| (l - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}
