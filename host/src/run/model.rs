//! The graphs of a run: one training step, and evaluation at any batch size.

use fer_config::Experiment;
use fer_data::Pixels;
use fer_engine::{Feeds, Tensor};
use fer_graph::Graph;
use fer_train::{Step, StepOptions};

use super::material::Material;
use crate::{
    compose::{Entry, Part, Spec, Truth, forward},
    failure::{Failure, Result},
    session::Session,
};

/// How the experiment trains, in the trainer's words.
pub fn step_options(experiment: &Experiment) -> StepOptions {
    StepOptions {
        optimiser: experiment.optimiser.clone(),
        groups: experiment.groups.clone(),
        layer_decay: experiment.layer_decay,
        clip: experiment.clip,
        ema: experiment.ema,
        accumulate: experiment.accumulate,
    }
}

/// Composes graphs for a session's recipe and a data set's sizes.
pub struct Model<'s> {
    session: &'s Session,
    images: [usize; 3],
    classes: usize,
    prior: Vec<f64>,
}

impl<'s> Model<'s> {
    pub fn new(session: &'s Session, material: &Material) -> Model<'s> {
        let prior = material.prior.rows.iter().flatten().copied().collect();
        Model::of(session, material.pixels, material.dataset.classes.len(), prior)
    }

    pub fn of(session: &'s Session, pixels: Pixels, classes: usize, prior: Vec<f64>) -> Model<'s> {
        Model { session, images: [pixels.channels, pixels.size, pixels.size], classes, prior }
    }

    fn graph(&self, batch: usize, training: bool, part: Part) -> Result<Graph> {
        let [c, h, w] = self.images;
        let prior = self.prior.clone();
        let spec =
            Spec { images: [batch, c, h, w], entry: Entry::Pixels, classes: self.classes, training, part, prior };
        Ok(forward(&self.session.resolved, &self.session.recipe, &spec)?)
    }

    /// Forward pass and loss for training.
    pub fn training(&self, batch: usize) -> Result<Graph> {
        self.graph(batch, true, Part::Loss(Truth::Targets))
    }

    /// Forward pass and loss for evaluation.
    pub fn evaluation(&self, batch: usize) -> Result<Graph> {
        self.graph(batch, false, Part::Loss(Truth::Targets))
    }

    /// Forward pass alone.
    pub fn prediction(&self, batch: usize) -> Result<Graph> {
        self.graph(batch, false, Part::Logits)
    }

    /// The whole training step.
    pub fn step(&self, batch: usize) -> Result<Step> {
        let experiment = &self.session.resolved.experiment;
        Step::build(&self.training(batch)?, &step_options(experiment)).map_err(|error| {
            let place = match &error {
                fer_train::StepError::Pattern { .. } | fer_train::StepError::NothingMatches { .. } => "groups",
                fer_train::StepError::NoLayers => "layer_decay",
                fer_train::StepError::NoGradient { .. } => "model",
                _ => return Failure::from(error),
            };
            self.session.resolved.error_at(place, &error.to_string(), "asked for here", None).into()
        })
    }
}

/// A batch as the graph's inputs.
pub fn feeds(batch: fer_data::Batch, classes: usize) -> Feeds {
    let n = batch.shape[0];
    Feeds::from([
        ("images".to_owned(), Tensor::u8(batch.shape, batch.images)),
        ("targets".to_owned(), Tensor::f32([n, classes], batch.targets)),
        ("weights".to_owned(), Tensor::f32([n], batch.weights)),
    ])
}
