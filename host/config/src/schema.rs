//! An experiment: everything that decides what a run does. Field names are the RON keys.

use std::path::PathBuf;

use fer_data::spec::{Augmentation, DataSpec, ImageSpec, Sampling};
use fer_train::spec::{Criterion, EarlyStopping, Group, Optimiser, Schedule, WarmUp};
use serde::{Deserialize, Serialize};

use crate::component::Component;

/// One experiment, as a run folder keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Names the run folder.
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    pub data: DataSpec,
    #[serde(default)]
    pub images: ImageSpec,
    /// Random changes to training images, in this order.
    #[serde(default)]
    pub augment: Vec<Augmentation>,
    #[serde(default)]
    pub normalise: Normalise,
    #[serde(default)]
    pub sampling: Sampling,
    pub model: Model,
    pub loss: Component,
    #[serde(default)]
    pub prior: Prior,
    #[serde(default)]
    pub class_weights: ClassWeights,
    pub optimiser: Optimiser,
    #[serde(default)]
    pub groups: Vec<Group>,
    /// The learning rate's factor from one layer of the backbone to the layer below it.
    #[serde(default)]
    pub layer_decay: Option<f64>,
    #[serde(default)]
    pub schedule: Schedule,
    #[serde(default)]
    pub warm_up: Option<WarmUp>,
    pub epochs: usize,
    /// Images in one forward pass.
    pub batch: usize,
    /// Forward passes whose gradients make one update.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Largest global norm of the gradient.
    #[serde(default)]
    pub clip: Option<f64>,
    /// Decay of the exponential moving average of the parameters.
    #[serde(default)]
    pub ema: Option<f64>,
    #[serde(default)]
    pub early_stopping: Option<EarlyStopping>,
    #[serde(default)]
    pub criterion: Criterion,
    pub seed: u64,
    #[serde(default)]
    pub precision: Precision,
    #[serde(default)]
    pub engine: Engine,
    /// Ops that an engine computes by their decompositions instead of its own kernels.
    #[serde(default)]
    pub no_fuse: Vec<String>,
    /// Threads that load images.
    #[serde(default = "one")]
    pub workers: usize,
    /// Follow the paper's code: random augmentation at test time, accuracy as a mean over batches, the epoch chosen on the test
    /// set, the schedule stepped before the first epoch.
    #[serde(default)]
    pub paper_compat: bool,
    /// Steps between checkpoints; an epoch's end always writes one.
    #[serde(default)]
    pub checkpoint_every: Option<usize>,
    #[serde(default)]
    pub plugins: Plugins,
    /// The folder that run folders go to.
    #[serde(default)]
    pub out: Option<PathBuf>,
}

fn one() -> usize {
    1
}

/// Resizers, then the backbone, then the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    #[serde(default)]
    pub resizers: Vec<Component>,
    pub backbone: Component,
    #[serde(default)]
    pub head: Head,
}

/// What turns the backbone's features into logits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Head {
    #[default]
    Linear,
    /// Linear, batch norm, ReLU, dropout, linear.
    Mlp {
        #[serde(default = "hidden")]
        hidden: usize,
        #[serde(default = "dropout")]
        dropout: f64,
    },
}

fn hidden() -> usize {
    512
}
fn dropout() -> f64 {
    0.5
}

/// The table of vote shares by label that distribution losses smooth with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Prior {
    /// The paper's FERPlus table, mapped to the data set's classes by name.
    #[default]
    Paper,
    /// A CSV file.
    File(PathBuf),
    /// Estimated from the votes of the training images.
    Votes,
}

/// How much each class counts in the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum ClassWeights {
    #[default]
    None,
    /// Inverse to the class's frequency in the training set.
    Balanced,
    /// By class name; classes left out count 1.
    Values(Vec<(String, f64)>),
}

/// What is subtracted from and divides the channels of images in `0..=1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Normalise {
    #[default]
    ImageNet,
    None,
    Values {
        mean: [f64; 3],
        std: [f64; 3],
    },
}

/// Whose code is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Plugins {
    /// Any library that is found.
    #[default]
    Any,
    /// The libraries that a lock file accepts, and no other.
    Lock(PathBuf),
}

/// The floating-point type that is computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    #[default]
    F32,
    F64,
    /// f32, but factors of products, convolutions and attention are rounded to ten bits of mantissa for the tensor cores of a card.
    Tf32,
    /// Products of numbers rounded to bfloat16; their sums, statistics, losses and weights are f32.
    Bf16,
}

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Engine {
    /// The fastest engine that this machine has.
    #[default]
    Auto,
    /// The reference.
    Dfdx,
    Cpu,
    /// A card of NVIDIA's, by its number.
    Cuda {
        #[serde(default)]
        device: usize,
    },
}

impl Engine {
    /// The variants' names.
    pub const NAMES: [&str; 4] = ["Auto", "Dfdx", "Cpu", "Cuda"];
}
