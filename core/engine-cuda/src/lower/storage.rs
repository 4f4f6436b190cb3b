//! What values are stored as: f32, or in precision `bf16` also bfloat16.
//!
//! Arithmetic is f32 wherever it is not a product on tensor cores, so this decides about memory alone. Activations and their cotangents
//! are bfloat16, from the first layer on: what layers give, and what is made of such values element by element. Parameters, their
//! gradients, statistics, sums, softmax and whatever is small (losses among it) are f32. It is the division of PyTorch's autocast,
//! but that norms and sums of activations are stored in bfloat16 too, as they are read by layers.

use fer_graph::{DType, Graph, Node, Value};
use fer_plan::{is_view, sources};

use crate::{Element, Options, Precision};

/// The element of each value of a graph.
pub(super) fn of(graph: &Graph, options: &Options) -> Vec<Element> {
    let mut stored: Vec<Element> = graph.values.iter().map(|v| Element::of(v.0.dtype)).collect();
    if options.precision != Precision::Bf16 {
        return stored;
    }
    for node in &graph.nodes {
        let rounded = results(graph, node, &stored);
        for (&result, rounded) in node.results.iter().zip(rounded) {
            let ty = graph.ty(result);
            // A view is as its source, whatever its size.
            let large = ty.elements() >= options.smallest_rounded || is_view(node);
            if ty.dtype == DType::Float && rounded && large {
                stored[result.index()] = Element::Bf16;
            }
        }
    }
    stored
}

/// Which results of a node may be rounded.
fn results(graph: &Graph, node: &Node, stored: &[Element]) -> Vec<bool> {
    let wrt = |activations: &[usize]| -> Vec<bool> {
        node.attributes.sizes("wrt").iter().map(|operand| activations.contains(operand)).collect()
    };
    let all = |rounded: bool| vec![rounded; node.results.len()];
    let first = |rounded: bool| (0..node.results.len()).map(|i| i == 0 && rounded).collect();
    if node.op.body().is_some() {
        // A plugin's kernel gives f32.
        return all(false);
    }
    match (node.op.def.name, node.op.adjoint) {
        ("linear" | "layer_norm" | "batch_norm_training", true) => wrt(&[0]),
        ("linear" | "convolution" | "convolution_input_grad" | "scaled_dot_product_attention", false) => all(true),
        ("layer_norm" | "batch_norm_training", false) => first(true),
        ("scaled_dot_product_attention", true) => wrt(&[0, 1, 2]),
        ("grid_sample", true) => wrt(&[0]),
        ("resize" | "grid_sample", _) => all(true),
        (
            "softmax"
            | "log_softmax"
            | "reduce_sum"
            | "convolution_kernel_grad"
            | "scatter_add"
            | "rng_uniform"
            | "adamw_update"
            | "constant",
            _,
        ) => all(false),
        _ => all(promoted(graph, node, stored)),
    }
}

/// Whether at least one operand is bfloat16, and every other one that has numbers of its own for each element.
fn promoted(graph: &Graph, node: &Node, stored: &[Element]) -> bool {
    let whole = node.results.first().map_or(0, |&r| graph.ty(r).elements());
    let mut any = false;
    for &operand in node.operands.iter().filter(|&&o| graph.ty(o).dtype == DType::Float) {
        match stored[operand.index()] {
            Element::Bf16 => any = true,
            _ if repeats(graph, operand, whole) => {}
            _ => return false,
        }
    }
    any
}

/// Whether a value is fewer numbers, repeated: a bias, a mask of samples, a constant.
fn repeats(graph: &Graph, value: Value, whole: usize) -> bool {
    sources(graph, value).iter().all(|&s| graph.ty(s).elements() < whole) && sources(graph, value).len() == 1
}
