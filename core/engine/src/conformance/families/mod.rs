//! One file a group of ops: what is drawn, which cases are fixed, how close an answer must be and why.

mod activation;
mod attention;
mod convolution;
mod elementwise;
mod image;
mod indexing;
mod movement;
mod normalisation;
mod optimiser;
mod pooling;
mod product;
mod reduction;
mod source;

use fer_graph::{Attributes, Builder, GraphError, Value, ops};
use proptest::prelude::*;

use super::Family;

/// A group's name and what makes its families.
pub type Group = (&'static str, fn() -> Vec<Family>);

/// Families by group, under the names that `conformance_tests!` gives its tests.
pub const GROUPS: &[Group] = &[
    ("source", source::families),
    ("elementwise", elementwise::families),
    ("movement", movement::families),
    ("reduction", reduction::families),
    ("product", product::families),
    ("convolution", convolution::families),
    ("pooling", pooling::families),
    ("indexing", indexing::families),
    ("activation", activation::families),
    ("normalisation", normalisation::families),
    ("attention", attention::families),
    ("image", image::families),
    ("optimiser", optimiser::families),
];

/// A shape of few, small axes; scalars and axes of size 1 included.
fn shape(least_rank: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..5, least_rank..5)
}

/// Where the drawn numbers start.
fn seed() -> impl Strategy<Value = u64> {
    0u64..1 << 32
}

/// Emits an op by its name, for those without a builder method.
fn emit(b: &Builder, op: &str, operands: &[Value], attributes: Attributes) -> Result<Value, GraphError> {
    let op = ops::lookup(op).ok_or_else(|| b.malformed("op", format!("there is no op {op:?}")))?;
    b.emit1(op, operands, attributes)
}
