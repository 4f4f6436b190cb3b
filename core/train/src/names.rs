//! Names of what training keeps beside the model's own parameters and states.
//!
//! They share one store and one checkpoint with the model, so no model may use these prefixes.

pub const FIRST_MOMENT: &str = "optimiser.first_moment.";
pub const SECOND_MOMENT: &str = "optimiser.second_moment.";
pub const MOMENTUM: &str = "optimiser.momentum.";
pub const EMA: &str = "ema.";
pub const GRADIENT: &str = "gradient.";

/// The first part of every name that belongs to training.
pub(crate) const RESERVED: [&str; 3] = ["optimiser.", EMA, GRADIENT];

/// Whether a name belongs to training and not to the model.
pub fn is_training_state(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// What an averaged weight is the average of.
pub fn averaged_name(name: &str) -> Option<&str> {
    name.strip_prefix(EMA)
}
