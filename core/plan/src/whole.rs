//! Which composites and adjoints an engine with kernels takes whole, on which operands.

use fer_graph::{DType, Graph, Node};

/// The composites that may be taken whole.
pub const KERNELS: [&str; 12] = [
    "linear",
    "gelu",
    "leaky_relu",
    "softmax",
    "log_softmax",
    "layer_norm",
    "batch_norm_training",
    "l2_normalize",
    "scaled_dot_product_attention",
    "resize",
    "grid_sample",
    "adamw_update",
];

/// Whether the operands of a composite, or of the adjoint of one, are such as its kernel takes.
pub fn takes_whole(graph: &Graph, node: &Node) -> bool {
    let name = node.op.def.name;
    // What is rounded to bf16 on its way is rounded after each operation of the decomposition.
    let floats = node.operands.iter().chain(&node.results).all(|&v| graph.ty(v).dtype != DType::Bf16);
    let shape = |i: usize| graph.shape(node.operands[i]);
    floats
        && match name {
            "linear" | "gelu" | "leaky_relu" | "layer_norm" | "l2_normalize" | "resize" | "grid_sample" => true,
            "softmax" | "log_softmax" => node.attributes.int("axis") as usize + 1 == shape(0).len(),
            "batch_norm_training" => !node.op.adjoint || only_the_result(node),
            "adamw_update" => !node.op.adjoint,
            "scaled_dot_product_attention" => {
                let operands = node.operands.len() - usize::from(node.op.adjoint);
                let (queries, keys) = (shape(0), shape(1));
                // A bias that is broadcast over queries or keys has no matrices to walk through.
                operands == 3 || {
                    let bias = shape(3);
                    bias.len() >= 2
                        && bias[bias.len() - 2] == queries[queries.len() - 2]
                        && bias[bias.len() - 1] == keys[keys.len() - 2]
                }
            }
            _ => false,
        }
}

/// Whether an adjoint has a cotangent of the first result alone and gives those of the first three operands at most.
fn only_the_result(node: &Node) -> bool {
    node.attributes.ints("cotangents") == [0] && node.attributes.ints("wrt").iter().all(|&i| i < 3)
}
