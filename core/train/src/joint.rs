//! The whole training step as a graph: forward, backward, clipping, optimiser, averaged weights.
//!
//! One function a stage, in the order of the step; the graph is verified after each.

use fer_autodiff::gradients;
use fer_graph::{Argument, Builder, Graph, GraphError, Init, Role, TensorType, Value, verify};

use crate::{
    groups::{ParameterRule, parameter_rules},
    names::{EMA, GRADIENT, is_training_state},
    spec::{Group, Optimiser},
    update::{Rates, Trained, average, clip, global_norm, optimise},
};

/// The output of a forward graph that is differentiated.
pub const LOSS: &str = "loss";
/// The output with the L2 norm of all gradients, before clipping.
pub const GRADIENT_NORM: &str = "gradient_norm";
/// The input of [`Step::apply`] that says how many micro-batches were accumulated.
pub const MICRO_BATCHES: &str = "micro_batches";

/// Why a training step cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error("the graph has no output \"loss\" to train on")]
    NoLoss,
    #[error("group {pattern:?} is no pattern: {message}")]
    Pattern { pattern: String, message: String },
    #[error("group {pattern:?} matches no parameter{}", said(nearest))]
    NothingMatches { pattern: String, nearest: Option<String> },
    #[error("layer_decay has nothing to work on: the backbone says of no parameter which layer it is in")]
    NoLayers,
    /// The loss does not depend on some parameters, which is nearly always a mistake in a model.
    #[error("the loss does not depend on {}; freeze what is not meant to train", list(names))]
    NoGradient { names: Vec<String> },
    #[error("there is nothing to train: the model has no parameter that is not frozen")]
    NothingToTrain,
    #[error("{name:?} is named as the trainer's own states are (optimiser., ema., gradient.): rename it")]
    Reserved { name: String },
    #[error("{what} must be {rule}, found {value}")]
    Setting { what: String, value: f64, rule: &'static str },
}

fn said(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; the nearest is {name:?}"))
}

fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(5).map(|n| format!("{n:?}")).collect();
    let rest = names.len() - shown.len();
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}

/// How a model trains.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOptions {
    pub optimiser: Optimiser,
    pub groups: Vec<Group>,
    /// The learning rate's factor from one layer to the one below it.
    pub layer_decay: Option<f64>,
    /// Largest L2 norm of all gradients together.
    pub clip: Option<f64>,
    /// Decay of the averaged weights `ema.<name>`.
    pub ema: Option<f64>,
    /// Micro-batches in an optimiser step; 1 gives one fused graph.
    pub accumulate: usize,
}

impl StepOptions {
    /// An optimiser alone.
    pub fn new(optimiser: Optimiser) -> StepOptions {
        StepOptions { optimiser, groups: vec![], layer_decay: None, clip: None, ema: None, accumulate: 1 }
    }

    fn check(&self) -> Result<(), StepError> {
        let require = |holds: bool, what: &str, value: f64, rule| {
            if holds { Ok(()) } else { Err(StepError::Setting { what: what.to_owned(), value, rule }) }
        };
        let size = |what: &str, value: f64| require(value.is_finite() && value >= 0.0, what, value, "at least 0");
        let part = |what: &str, value: f64| require((0.0..1.0).contains(&value), what, value, "at least 0 and below 1");
        size("learning_rate", self.optimiser.learning_rate())?;
        size("weight_decay", self.optimiser.weight_decay())?;
        match self.optimiser {
            Optimiser::Adam { betas, eps, .. } | Optimiser::AdamW { betas, eps, .. } => {
                part("the first of betas", betas.0)?;
                part("the second of betas", betas.1)?;
                size("eps", eps)?;
            }
            Optimiser::Sgd { momentum, nesterov, .. } => {
                size("momentum", momentum)?;
                require(!nesterov || momentum > 0.0, "momentum", momentum, "above 0 with nesterov")?;
            }
        }
        if let Some(norm) = self.clip {
            require(norm.is_finite() && norm > 0.0, "clip", norm, "above 0")?;
        }
        if let Some(decay) = self.ema {
            part("ema", decay)?;
        }
        require(self.accumulate >= 1, "accumulate", self.accumulate as f64, "at least 1")
    }
}

/// The graphs of an optimiser step.
///
/// Beside the forward graph's own, the inputs of the graph that updates are `learning_rate` (f scalar, after the schedule) and
/// `step` (f scalar, counting optimiser steps from 1).
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A batch is a step.
    Fused(Graph),
    /// `accumulate` runs `every` times, once a micro-batch, then `apply` once.
    Accumulated { accumulate: Graph, apply: Graph, every: usize },
}

impl Step {
    /// The step that the options ask for.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn build(forward: &Graph, options: &StepOptions) -> Result<Step, StepError> {
        if options.accumulate == 1 {
            return Ok(Step::Fused(Step::fused(forward, options)?));
        }
        let accumulate = Step::accumulate(forward, options)?;
        Ok(Step::Accumulated { accumulate, apply: Step::apply(forward, options)?, every: options.accumulate })
    }

    /// The graphs, in the order in which they run.
    pub fn graphs(&self) -> Vec<&Graph> {
        match self {
            Step::Fused(graph) => vec![graph],
            Step::Accumulated { accumulate, apply, .. } => vec![accumulate, apply],
        }
    }

    /// One graph from the inputs to the updated parameters: the forward graph's outputs and updates, `gradient_norm`, and the
    /// updates of the trained parameters, optimiser states and averages.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn fused(forward: &Graph, options: &StepOptions) -> Result<Graph, StepError> {
        let rules = prepare(forward, options)?;
        let b = Builder::resume(forward.clone());
        let trained = backward(&b, &rules)?;
        let states = forward.updates.iter().filter_map(|(name, new)| Some((state(forward, name)?, *new)));
        finish_step(&b, trained, states.collect(), options)?;
        Ok(b.finish())
    }

    /// The first half of an accumulated step: the forward graph, and its gradients added to the states `gradient.<parameter>`.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn accumulate(forward: &Graph, options: &StepOptions) -> Result<Graph, StepError> {
        let rules = prepare(forward, options)?;
        let b = Builder::resume(forward.clone());
        for t in backward(&b, &rules)? {
            let sum = gradient_state(&b, &t.rule.name, b.ty(t.parameter))?;
            let _scope = b.absolute_scope("accumulate");
            b.update(sum, b.add(sum, t.gradient)?)?;
        }
        b.look(verify)?;
        Ok(b.finish())
    }

    /// The second half: the mean of the accumulated gradients (their sum over the input `micro_batches`), clipped and applied;
    /// the sums return to zero. It gives `gradient_norm`.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn apply(forward: &Graph, options: &StepOptions) -> Result<Graph, StepError> {
        let rules = prepare(forward, options)?;
        let b = Builder::new(&format!("{}.apply", forward.name));
        let count = b.input(MICRO_BATCHES, TensorType::float([]))?;
        let mut trained = vec![];
        for rule in rules.iter().filter(|r| !r.frozen) {
            let parameter = declare(&b, forward, &rule.name)?;
            let sum = gradient_state(&b, &rule.name, b.ty(parameter))?;
            let _scope = b.absolute_scope("accumulate");
            b.update(sum, b.full_like(sum, 0.0)?)?;
            trained.push(Trained { rule, parameter, gradient: b.divide(sum, count)? });
        }
        let mut states = vec![];
        if options.ema.is_some() {
            // The micro-batches have moved the states already; the average follows where they stand now.
            for argument in forward.updates.iter().filter_map(|(name, _)| state(forward, name)) {
                states.push((argument, declare(&b, forward, &argument.name)?));
            }
        }
        b.look(verify)?;
        finish_step(&b, trained, states, options)?;
        Ok(b.finish())
    }
}

/// The same graph, reading the averaged weights: each argument that `has_average` says has one is renamed `ema.<name>`.
/// For evaluation on a store that a step with averages has filled.
#[must_use]
pub fn averaged(graph: &Graph, has_average: impl Fn(&str) -> bool) -> Graph {
    let mut graph = graph.clone();
    let renamed = |name: &str| format!("{EMA}{name}");
    for argument in graph.arguments.iter_mut().filter(|a| a.role != Role::Input) {
        if has_average(&renamed(&argument.name)) {
            for (target, _) in graph.updates.iter_mut().filter(|(target, _)| *target == argument.name) {
                *target = renamed(target);
            }
            argument.name = renamed(&argument.name);
        }
    }
    graph
}

/// Checks everything that can be wrong before a graph is built.
fn prepare(forward: &Graph, options: &StepOptions) -> Result<Vec<ParameterRule>, StepError> {
    options.check()?;
    verify(forward)?;
    if let Some(taken) = forward.arguments.iter().find(|a| is_training_state(&a.name)) {
        return Err(StepError::Reserved { name: taken.name.clone() });
    }
    let rules = parameter_rules(forward, &options.optimiser, &options.groups, options.layer_decay)?;
    if rules.iter().all(|r| r.frozen) {
        return Err(StepError::NothingToTrain);
    }
    Ok(rules)
}

/// Adds the gradients of the loss.
fn backward<'a>(b: &Builder, rules: &'a [ParameterRule]) -> Result<Vec<Trained<'a>>, StepError> {
    let loss = b.look(|g| g.output(LOSS)).ok_or(StepError::NoLoss)?;
    let rules: Vec<&ParameterRule> = rules.iter().filter(|r| !r.frozen).collect();
    let parameters: Vec<Value> =
        b.look(|g| rules.iter().filter_map(|r| g.argument(&r.name)).map(|a| a.value).collect());
    let found = gradients(b, loss, &parameters)?;
    let without: Vec<String> =
        rules.iter().zip(&found).filter(|(_, g)| g.is_none()).map(|(r, _)| r.name.clone()).collect();
    if !without.is_empty() {
        return Err(StepError::NoGradient { names: without });
    }
    b.look(verify)?;
    let trained = rules.into_iter().zip(parameters).zip(found);
    Ok(trained.filter_map(|((rule, parameter), g)| Some(Trained { rule, parameter, gradient: g? })).collect())
}

/// From gradients to updates. `states` are the model's own states and what they become in this step.
fn finish_step(
    b: &Builder,
    mut trained: Vec<Trained<'_>>,
    states: Vec<(&Argument, Value)>,
    options: &StepOptions,
) -> Result<(), StepError> {
    let norm = global_norm(b, &trained)?;
    b.output(GRADIENT_NORM, norm);
    if let Some(max_norm) = options.clip {
        clip(b, &mut trained, norm, max_norm)?;
    }
    b.look(verify)?;
    let mut rates = Rates::declare(b)?;
    let mut moved = Vec::with_capacity(trained.len());
    for t in &trained {
        let new = optimise(b, &options.optimiser, &mut rates, t)?;
        b.update(t.parameter, new)?;
        moved.push(new);
    }
    b.look(verify)?;
    if let Some(decay) = options.ema {
        for (t, &new) in trained.iter().zip(&moved) {
            let init = b.look(|g| g.argument(&t.rule.name).and_then(|a| a.init.clone())).unwrap_or(Init::Zeros);
            average(b, &t.rule.name, init, new, decay)?;
        }
        // Running statistics belong to the weights they were gathered with, so they are averaged alike (timm's ModelEma).
        for (argument, new) in states {
            average(b, &argument.name, argument.init.clone().unwrap_or(Init::Zeros), new, decay)?;
        }
        b.look(verify)?;
    }
    Ok(())
}

/// The float state of that name.
fn state<'a>(forward: &'a Graph, name: &str) -> Option<&'a Argument> {
    forward.argument(name).filter(|a| a.role == Role::State && forward.ty(a.value).dtype.is_float())
}

/// The forward graph's parameter or state, in another graph.
fn declare(b: &Builder, forward: &Graph, name: &str) -> Result<Value, StepError> {
    let known = forward.argument(name).ok_or_else(|| b.malformed("argument", format!("{name:?} is not declared")))?;
    Ok(b.argument_like(name, known, forward.ty(known.value))?)
}

fn gradient_state(b: &Builder, parameter: &str, ty: TensorType) -> Result<Value, StepError> {
    Ok(b.argument(&format!("{GRADIENT}{parameter}"), Role::State, ty, Some(Init::Zeros))?)
}
