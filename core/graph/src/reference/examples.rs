//! One small call of every op, for the reference and for whoever wants to try each op once.

use crate::{Graph, parse};

/// `(op, inputs, call, result types)`.
type Example = (&'static str, &'static str, &'static str, &'static str);

const EXAMPLES: &[Example] = &[
    ("constant", "", "constant() {value: [0.0, 0.5, 1.0], shape: [3]}", "f[3]"),
    ("rng_uniform", "rng: i32[3]", "rng_uniform(rng) {shape: [2, 3], stream: 7}", "f[2,3]"),
    ("stop_gradient", "x: f[2,3]", "stop_gradient(x)", "f[2,3]"),
    ("negate", "x: f[2,3]", "negate(x)", "f[2,3]"),
    ("exponential", "x: f[2,3]", "exponential(x)", "f[2,3]"),
    ("log", "x: f[2,3]", "log(x)", "f[2,3]"),
    ("sqrt", "x: f[2,3]", "sqrt(x)", "f[2,3]"),
    ("tanh", "x: f[2,3]", "tanh(x)", "f[2,3]"),
    ("erf", "x: f[2,3]", "erf(x)", "f[2,3]"),
    ("floor", "x: f[2,3]", "floor(x)", "f[2,3]"),
    ("convert", "x: u8[2,3]", "convert(x) {dtype: \"f\"}", "f[2,3]"),
    ("add", "lhs: f[2,3], rhs: f[2,3]", "add(lhs, rhs)", "f[2,3]"),
    ("subtract", "lhs: f[2,3], rhs: f[2,3]", "subtract(lhs, rhs)", "f[2,3]"),
    ("multiply", "lhs: f[2,3], rhs: f[2,3]", "multiply(lhs, rhs)", "f[2,3]"),
    ("divide", "lhs: f[2,3], rhs: f[2,3]", "divide(lhs, rhs)", "f[2,3]"),
    ("maximum", "lhs: f[2,3], rhs: f[2,3]", "maximum(lhs, rhs)", "f[2,3]"),
    ("power", "lhs: f[2,3], rhs: f[2,3]", "power(lhs, rhs)", "f[2,3]"),
    ("compare", "lhs: f[2,3], rhs: f[2,3]", "compare(lhs, rhs) {direction: \"LT\"}", "bool[2,3]"),
    (
        "select",
        "predicate: bool[2,3], on_true: f[2,3], on_false: f[2,3]",
        "select(predicate, on_true, on_false)",
        "f[2,3]",
    ),
    ("reshape", "x: f[2,3]", "reshape(x) {shape: [3, 2]}", "f[3,2]"),
    ("transpose", "x: f[2,3,4]", "transpose(x) {permutation: [2, 0, 1]}", "f[4,2,3]"),
    ("broadcast_in_dim", "x: f[3]", "broadcast_in_dim(x) {shape: [2, 3, 4], broadcast_dimensions: [1]}", "f[2,3,4]"),
    ("slice", "x: f[4,6]", "slice(x) {start: [1, 0], limit: [3, 6], strides: [1, 2]}", "f[2,3]"),
    ("pad", "x: f[2,3]", "pad(x) {low: [0, 1], high: [1, 0], interior: [0, 1], value: 0.0}", "f[3,6]"),
    ("concatenate", "a: f[2,3], b: f[2,1]", "concatenate(a, b) {axis: 1}", "f[2,4]"),
    ("reduce_sum", "x: f[2,3,4]", "reduce_sum(x) {axes: [0, 2]}", "f[3]"),
    ("reduce_max", "x: f[2,3,4]", "reduce_max(x) {axes: [0, 2]}", "f[3]"),
    (
        "dot_general",
        "lhs: f[2,3,4], rhs: f[2,4,5]",
        "dot_general(lhs, rhs) {lhs_batch: [0], rhs_batch: [0], lhs_contract: [2], rhs_contract: [1]}",
        "f[2,3,5]",
    ),
    (
        "convolution",
        "x: f[1,4,8,8], kernel: f[6,2,3,3]",
        "convolution(x, kernel) {stride: [2, 2], padding: [1, 1], dilation: [1, 1], groups: 2}",
        "f[1,6,4,4]",
    ),
    ("max_pool", "x: f[1,2,4,4]", "max_pool(x) {kernel_size: [2, 2], stride: [2, 2], padding: [0, 0]}", "f[1,2,2,2]"),
    ("gather", "x: f[5,4], indices: i32[3]", "gather(x, indices) {axis: 0}", "f[3,4]"),
    ("linear", "x: f[2,3], weight: f[4,3], bias: f[4]", "linear(x, weight, bias)", "f[2,4]"),
    ("leaky_relu", "x: f[2,3]", "leaky_relu(x) {negative_slope: 0.2}", "f[2,3]"),
    ("gelu", "x: f[2,3]", "gelu(x)", "f[2,3]"),
    ("softmax", "x: f[2,3]", "softmax(x) {axis: 1}", "f[2,3]"),
    ("log_softmax", "x: f[2,3]", "log_softmax(x) {axis: 1}", "f[2,3]"),
    ("layer_norm", "x: f[2,3], weight: f[3], bias: f[3]", "layer_norm(x, weight, bias) {epsilon: 1e-5}", "f[2,3]"),
    (
        "batch_norm_training",
        "x: f[4,3], weight: f[3], bias: f[3], running_mean: f[3], running_var: f[3]",
        "batch_norm_training(x, weight, bias, running_mean, running_var) {epsilon: 1e-5, momentum: 0.1}",
        "f[4,3], f[3], f[3]",
    ),
    (
        "batch_norm_inference",
        "x: f[4,3], weight: f[3], bias: f[3], running_mean: f[3], running_var: f[3]",
        "batch_norm_inference(x, weight, bias, running_mean, running_var) {epsilon: 1e-5}",
        "f[4,3]",
    ),
    ("l2_normalize", "x: f[2,3]", "l2_normalize(x) {axis: 1, epsilon: 1e-12}", "f[2,3]"),
    (
        "scaled_dot_product_attention",
        "query: f[2,3,4], key: f[2,5,4], value: f[2,5,6], bias: f[3,5]",
        "scaled_dot_product_attention(query, key, value, bias) {scale: 0.5}",
        "f[2,3,6]",
    ),
    ("avg_pool", "x: f[1,2,4,4]", "avg_pool(x) {kernel_size: [2, 2], stride: [2, 2], padding: [0, 0]}", "f[1,2,2,2]"),
    ("resize", "x: f[1,1,2,2]", "resize(x) {size: [3, 4], coordinate_mode: \"half_pixel\"}", "f[1,1,3,4]"),
    ("grid_sample", "x: f[1,2,4,4], grid: f[1,3,3,2]", "grid_sample(x, grid) {align_corners: false}", "f[1,2,3,3]"),
    ("dropout", "x: f[2,3], key: i32[3]", "dropout(x, key) {probability: 0.5, stream: 7}", "f[2,3]"),
    (
        "adamw_update",
        "parameter: f[3], gradient: f[3], first_moment: f[3], second_moment: f[3], learning_rate: f[], step: f[]",
        "adamw_update(parameter, gradient, first_moment, second_moment, learning_rate, step) \
         {beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true}",
        "f[3], f[3], f[3]",
    ),
    (
        "convolution_input_grad",
        "kernel: f[6,2,3,3], cotangent: f[1,6,4,4]",
        "convolution_input_grad(kernel, cotangent) \
         {stride: [2, 2], padding: [1, 1], dilation: [1, 1], groups: 2, input_size: [8, 8]}",
        "f[1,4,8,8]",
    ),
    (
        "convolution_kernel_grad",
        "x: f[1,4,8,8], cotangent: f[1,6,4,4]",
        "convolution_kernel_grad(x, cotangent) \
         {stride: [2, 2], padding: [1, 1], dilation: [1, 1], groups: 2, kernel_size: [3, 3]}",
        "f[6,2,3,3]",
    ),
    (
        "max_pool_grad",
        "x: f[1,2,4,4], cotangent: f[1,2,2,2]",
        "max_pool_grad(x, cotangent) {kernel_size: [2, 2], stride: [2, 2], padding: [0, 0]}",
        "f[1,2,4,4]",
    ),
    ("scatter_add", "indices: i32[3], updates: f[3,4]", "scatter_add(indices, updates) {axis: 0, size: 5}", "f[5,4]"),
];

/// A graph with one node, of that op; `None` when there is no such op.
///
/// # Panics
/// When the op does not accept its example: a fault of this table, which a test excludes.
pub fn example(op: &str) -> Option<Graph> {
    let (name, inputs, call, types) = EXAMPLES.iter().find(|(name, ..)| *name == op)?;
    let results = types.matches('[').count();
    let defined = (0..results).map(|i| format!("%{i}")).collect::<Vec<_>>().join(", ");
    let outputs: String = (0..results).map(|i| format!("  output {} = %{i}\n", result_name(i))).collect();
    let text = format!("graph {name}({inputs}) {{\n  {defined} = {call} : {types}\n{outputs}}}\n");
    Some(parse(&text).unwrap_or_else(|e| panic!("the example of {op}: {e}")))
}

/// What the examples call result `i`.
pub(super) fn result_name(i: usize) -> String {
    if i == 0 { "result".to_owned() } else { format!("result_{i}") }
}
