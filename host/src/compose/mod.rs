//! Composes `pixels -> resizers -> backbone -> head -> loss` into one graph.
//!
//! Plugins give fragments; what stands between them (normalisation, heads, the truth) is built here. Parameters are named by
//! place: `resizers.1.conv1.weight`, `backbone.layers.0...`, `head.weight`.

mod forward;
mod fragment;
mod head;
mod recipe;

pub use forward::{Entry, Part, Spec, Truth, colours, forward};
pub use fragment::uses_prior;
pub use recipe::{Part as RecipePart, Recipe, did_you_mean};
