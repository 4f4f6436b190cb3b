//! One forward pass, and backward, on given tensors: the tool for comparing with another framework.
//!
//! The inputs may be the graph's own (`images`, `labels`, `targets`, `weights`, `rng`) or any named value (`logits`, `prior`,
//! `resizers.0`), at which the graph is then cut; `cotangent/<value>` asks for the gradient of `sum(value * cotangent)` instead of
//! the loss's. A component alone is traced from the [`reproduction`] that a failed property leaves.

mod cut;
mod reproduction;
mod request;

pub use cut::cut;
pub use reproduction::{Reproduced, reproduce, reproduction};
pub use request::{Mode, TraceRequest, trace};
