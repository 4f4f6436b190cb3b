//! The words in which an experiment names its training: optimiser, schedule, parameter groups, limits.
//!
//! Plain data with `serde` derives. Field names are the RON keys and follow PyTorch's (`betas`, `eps`, `weight_decay`).

use serde::{Deserialize, Serialize};

/// The update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Optimiser {
    /// Kingma & Ba 2015; `weight_decay` is added to the gradient.
    Adam {
        learning_rate: f64,
        #[serde(default = "betas")]
        betas: (f64, f64),
        #[serde(default = "adam_eps")]
        eps: f64,
        #[serde(default)]
        weight_decay: f64,
    },
    /// Loshchilov & Hutter 2019; decay is decoupled from the gradient.
    AdamW {
        learning_rate: f64,
        #[serde(default = "betas")]
        betas: (f64, f64),
        #[serde(default = "adam_eps")]
        eps: f64,
        #[serde(default = "adamw_decay")]
        weight_decay: f64,
    },
    Sgd {
        learning_rate: f64,
        #[serde(default)]
        momentum: f64,
        #[serde(default)]
        nesterov: bool,
        #[serde(default)]
        weight_decay: f64,
    },
}

fn betas() -> (f64, f64) {
    (0.9, 0.999)
}
fn adam_eps() -> f64 {
    1e-8
}
fn adamw_decay() -> f64 {
    0.01
}

/// The learning rate's factor over time; epochs count from 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Schedule {
    #[default]
    Constant,
    /// `factor^(epoch / every)`, changing at epoch boundaries.
    Step { every: usize, factor: f64 },
    /// `factor^epoch`.
    Exponential { factor: f64 },
    /// Half a cosine from 1 to `final_factor` over the run, changing every step.
    Cosine {
        #[serde(default)]
        final_factor: f64,
    },
    /// Smith & Topin 2018: cosine up over `warm` of the run from `1/start_divisor`, cosine down to `1/end_divisor`.
    OneCycle {
        #[serde(default = "one_cycle_warm")]
        warm: f64,
        #[serde(default = "one_cycle_start")]
        start_divisor: f64,
        #[serde(default = "one_cycle_end")]
        end_divisor: f64,
    },
}

fn one_cycle_warm() -> f64 {
    0.3
}
fn one_cycle_start() -> f64 {
    25.0
}
fn one_cycle_end() -> f64 {
    1e4
}

/// A linear ramp of the learning rate at the start of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    pub epochs: f64,
    /// Factor at the first step.
    #[serde(default)]
    pub start_factor: f64,
}

/// Parameters whose name matches `pattern` (a glob) train differently. The first matching group wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub pattern: String,
    #[serde(default = "one")]
    pub learning_rate_scale: f64,
    /// `None` keeps the optimiser's.
    #[serde(default)]
    pub weight_decay: Option<f64>,
    #[serde(default)]
    pub frozen: bool,
}

fn one() -> f64 {
    1.0
}

/// Which validation number chooses the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Criterion {
    #[default]
    Accuracy,
    BalancedAccuracy,
    MacroF1,
    /// Smaller is better.
    Loss,
}

/// Stop when the criterion has not improved for `patience` epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    pub patience: usize,
    #[serde(default)]
    pub min_delta: f64,
}
