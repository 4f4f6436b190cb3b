//! The op set: one home an op. Each file holds a family: table row (constraints, shape rule, derivative or decomposition, cost) and the
//! builder's methods.
//!
//! Primitives take StableHLO's names, composites PyTorch's functional names.

mod activation;
mod attention;
mod convolution;
mod dot;
mod dropout;
mod elementwise;
mod gather;
mod grid_sample;
mod linear;
mod norm;
mod optimiser;
mod pooling;
mod reduce;
mod resize;
mod shape;
mod softmax;
mod source;

pub use convolution::Window;
pub use dot::DotAxes;
pub use optimiser::AdamConstants;
pub use resize::interpolation_matrix;

use crate::{ADJOINT_SUFFIX, AttributeDef, AttributeKind, Call, Meaning, Op, OpDef, TensorType};

/// Every op, in the order of the reference.
pub static TABLE: &[&OpDef] = &[
    // sources
    &source::CONSTANT,
    &source::RNG_UNIFORM,
    &source::STOP_GRADIENT,
    // elementwise, one operand
    &elementwise::NEGATE,
    &elementwise::EXPONENTIAL,
    &elementwise::LOG,
    &elementwise::SQRT,
    &elementwise::TANH,
    &elementwise::ERF,
    &elementwise::FLOOR,
    &source::CONVERT,
    // elementwise, two operands
    &elementwise::ADD,
    &elementwise::SUBTRACT,
    &elementwise::MULTIPLY,
    &elementwise::DIVIDE,
    &elementwise::MAXIMUM,
    &elementwise::POWER,
    &elementwise::COMPARE,
    &elementwise::SELECT,
    // shape
    &shape::RESHAPE,
    &shape::TRANSPOSE,
    &shape::BROADCAST_IN_DIM,
    &shape::SLICE,
    &shape::PAD,
    &shape::CONCATENATE,
    // reductions, products, windows, indexing
    &reduce::REDUCE_SUM,
    &reduce::REDUCE_MAX,
    &dot::DOT_GENERAL,
    &convolution::CONVOLUTION,
    &pooling::MAX_POOL,
    &gather::GATHER,
    // composites
    &linear::LINEAR,
    &activation::LEAKY_RELU,
    &activation::GELU,
    &softmax::SOFTMAX,
    &softmax::LOG_SOFTMAX,
    &norm::LAYER_NORM,
    &norm::BATCH_NORM_TRAINING,
    &norm::BATCH_NORM_INFERENCE,
    &norm::L2_NORMALIZE,
    &attention::SCALED_DOT_PRODUCT_ATTENTION,
    &pooling::AVG_POOL,
    &resize::RESIZE,
    &grid_sample::GRID_SAMPLE,
    &dropout::DROPOUT,
    &optimiser::ADAMW_UPDATE,
    // adjoint-only
    &convolution::CONVOLUTION_INPUT_GRAD,
    &convolution::CONVOLUTION_KERNEL_GRAD,
    &pooling::MAX_POOL_GRAD,
    &gather::SCATTER_ADD,
];

/// The op of that name; `layer_norm_vjp` gives the adjoint of `layer_norm`.
pub fn lookup(name: &str) -> Option<Op> {
    let find = |name: &str| TABLE.iter().find(|d| d.name == name).copied();
    if let Some(def) = find(name) {
        return Some(Op { def, adjoint: false });
    }
    let def = find(name.strip_suffix(ADJOINT_SUFFIX)?)?;
    matches!(def.meaning, Meaning::Composite(_)).then_some(Op { def, adjoint: true })
}

const fn required(name: &'static str, kind: AttributeKind, doc: &'static str) -> AttributeDef {
    AttributeDef { name, kind, required: true, doc }
}

const fn optional(name: &'static str, kind: AttributeKind, doc: &'static str) -> AttributeDef {
    AttributeDef { name, kind, required: false, doc }
}

/// Costs nothing worth counting.
fn no_flops(_: &Call<'_>, _: &[TensorType]) -> u64 {
    0
}

/// One operation an element of the result.
fn elementwise_flops(_: &Call<'_>, results: &[TensorType]) -> u64 {
    results[0].elements() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (i, def) in TABLE.iter().enumerate() {
            assert!(TABLE[..i].iter().all(|d| d.name != def.name), "{} is listed twice", def.name);
            assert_eq!(lookup(def.name).map(|op| op.name()), Some(def.name.to_owned()));
        }
        assert_eq!(TABLE.iter().filter(|d| d.class == crate::Class::Primitive).count(), 31);
        assert!(lookup("softmax_vjp").is_some_and(|op| op.adjoint));
        assert!(lookup("add_vjp").is_none());
    }
}
