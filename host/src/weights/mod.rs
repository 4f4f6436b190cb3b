//! What a model starts from when it does not start from its seed: entries of a weight file are matched with parameters by name,
//! tables over positions are resampled, a classifier for other classes is left as drawn, and everything that happened is told.
//!
//! `layout` and `spelling` say which names mean the same, `matching` pairs them, `resample` brings tables to size, `adapt` decides
//! the fate of every parameter and entry, `pretrained` does this for each component of an experiment.

mod adapt;
mod layout;
mod matching;
mod pretrained;
mod resample;
mod spelling;

pub use adapt::Fates;
pub use layout::{Layout, layouts};
pub use matching::{Matched, match_names};
pub use pretrained::{Network, Pretrained, PretrainedRecord};
pub use spelling::classes_of;
