//! A call that breaks it, for every constraint that any op declares.

use fer_graph::{
    Attribute, Attributes, GENERAL_CONSTRAINTS, GraphError, Op, TensorType, example,
    ops::{TABLE, lookup},
    parse,
};

/// `(constraint, inputs, call)`.
const NEGATIVE: &[(&str, &str, &str)] = &[
    ("constant_c1", "", "constant() {value: [1, 2], shape: [3]}"),
    ("constant_c2", "", "constant() {value: [0.5], shape: [3], dtype: \"i32\"}"),
    ("constant_c2", "", "constant() {value: [256], shape: [3], dtype: \"u8\"}"),
    ("constant_c2", "", "constant() {value: [NaN], shape: [], dtype: \"bool\"}"),
    ("constant_c2", "", "constant() {value: [0], shape: [3], dtype: \"f16\"}"),
    ("rng_uniform_c1", "rng: i32[2]", "rng_uniform(rng) {shape: [2], stream: 0}"),
    ("rng_uniform_c2", "rng: i32[3]", "rng_uniform(rng) {shape: [2], stream: -1}"),
    ("negate_c1", "x: i32[2]", "negate(x)"),
    ("exponential_c1", "x: bool[2]", "exponential(x)"),
    ("log_c1", "x: u8[2]", "log(x)"),
    ("sqrt_c1", "x: i32[2]", "sqrt(x)"),
    ("tanh_c1", "x: i32[2]", "tanh(x)"),
    ("erf_c1", "x: i32[2]", "erf(x)"),
    ("floor_c1", "x: i32[2]", "floor(x)"),
    ("convert_c1", "x: f[2]", "convert(x) {dtype: \"f64\"}"),
    ("add_c1", "x: f[2], y: f[3]", "add(x, y)"),
    ("add_c2", "x: bool[2]", "add(x, x)"),
    ("subtract_c1", "x: f[2], y: bf16[2]", "subtract(x, y)"),
    ("subtract_c2", "x: u8[2]", "subtract(x, x)"),
    ("multiply_c1", "x: f[2], y: f[2,1]", "multiply(x, y)"),
    ("multiply_c2", "x: u8[2]", "multiply(x, x)"),
    ("divide_c1", "x: f[2], y: f[]", "divide(x, y)"),
    ("divide_c2", "x: u8[2]", "divide(x, x)"),
    ("maximum_c1", "x: f[2], y: f[1]", "maximum(x, y)"),
    ("maximum_c2", "x: u8[2]", "maximum(x, x)"),
    ("power_c1", "x: f[2], y: i32[2]", "power(x, y)"),
    ("power_c2", "x: u8[2]", "power(x, x)"),
    ("compare_c1", "x: f[2], y: i32[2]", "compare(x, y) {direction: \"LT\"}"),
    ("compare_c2", "x: f[2]", "compare(x, x) {direction: \"lt\"}"),
    ("select_c1", "p: i32[2], x: f[2]", "select(p, x, x)"),
    ("select_c1", "p: bool[1], x: f[2]", "select(p, x, x)"),
    ("select_c2", "p: bool[2], x: f[2], y: bf16[2]", "select(p, x, y)"),
    ("reshape_c1", "x: f[2,3]", "reshape(x) {shape: [5]}"),
    ("transpose_c1", "x: f[2,3]", "transpose(x) {permutation: [0, 0]}"),
    ("transpose_c1", "x: f[2,3]", "transpose(x) {permutation: [0]}"),
    ("broadcast_in_dim_c1", "x: f[2,3]", "broadcast_in_dim(x) {shape: [2, 3], broadcast_dimensions: [1, 0]}"),
    ("broadcast_in_dim_c1", "x: f[2]", "broadcast_in_dim(x) {shape: [2, 3], broadcast_dimensions: [2]}"),
    ("broadcast_in_dim_c2", "x: f[2]", "broadcast_in_dim(x) {shape: [2, 3], broadcast_dimensions: [1]}"),
    ("slice_c1", "x: f[4]", "slice(x) {start: [0], limit: [4], strides: [0]}"),
    ("slice_c1", "x: f[4]", "slice(x) {start: [0, 0], limit: [4], strides: [1]}"),
    ("slice_c2", "x: f[4]", "slice(x) {start: [0], limit: [5], strides: [1]}"),
    ("slice_c2", "x: f[4]", "slice(x) {start: [2], limit: [2], strides: [1]}"),
    ("pad_c1", "x: f[4]", "pad(x) {low: [-1], high: [0], interior: [0], value: 0}"),
    ("pad_c1", "x: f[4]", "pad(x) {low: [1], high: [], interior: [0], value: 0}"),
    ("concatenate_c1", "x: f[4]", "concatenate(x, x) {axis: 1}"),
    ("concatenate_c2", "x: f[4,2], y: f[4,3]", "concatenate(x, y) {axis: 0}"),
    ("reduce_sum_c1", "x: i32[4]", "reduce_sum(x) {axes: [0]}"),
    ("reduce_sum_c2", "x: f[4,2]", "reduce_sum(x) {axes: [1, 0]}"),
    ("reduce_max_c1", "x: i32[4]", "reduce_max(x) {axes: [0]}"),
    ("reduce_max_c2", "x: f[4,2]", "reduce_max(x) {axes: [2]}"),
    (
        "dot_general_c1",
        "x: f[2,3]",
        "dot_general(x, x) {lhs_batch: [0], rhs_batch: [0], lhs_contract: [0], rhs_contract: [1]}",
    ),
    (
        "dot_general_c1",
        "x: f[2,3]",
        "dot_general(x, x) {lhs_batch: [], rhs_batch: [], lhs_contract: [2], rhs_contract: [1]}",
    ),
    (
        "dot_general_c2",
        "x: f[2,3], y: f[4,3]",
        "dot_general(x, y) {lhs_batch: [0], rhs_batch: [0], lhs_contract: [1], rhs_contract: [1]}",
    ),
    (
        "dot_general_c3",
        "x: f[2,3], y: f[4,5]",
        "dot_general(x, y) {lhs_batch: [], rhs_batch: [], lhs_contract: [1], rhs_contract: [1]}",
    ),
    (
        "dot_general_c4",
        "x: f[2,3], y: bf16[4,3]",
        "dot_general(x, y) {lhs_batch: [], rhs_batch: [], lhs_contract: [1], rhs_contract: [1]}",
    ),
    (
        "convolution_c1",
        "x: f[3,8,8], k: f[4,3,3,3]",
        "convolution(x, k) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1}",
    ),
    (
        "convolution_c2",
        "x: f[1,3,8,8], k: f[4,3,3,3]",
        "convolution(x, k) {stride: [1, 0], padding: [0, 0], dilation: [1, 1], groups: 1}",
    ),
    (
        "convolution_c2",
        "x: f[1,3,8,8], k: f[4,3,3,3]",
        "convolution(x, k) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 0}",
    ),
    (
        "convolution_c3",
        "x: f[1,4,8,8], k: f[3,2,3,3]",
        "convolution(x, k) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 2}",
    ),
    (
        "convolution_c4",
        "x: f[1,3,8,8], k: f[4,3,3,3]",
        "convolution(x, k) {stride: [1, 1], padding: [0, 0], dilation: [4, 1], groups: 1}",
    ),
    ("max_pool_c1", "x: f[3,8,8]", "max_pool(x) {kernel_size: [2, 2], stride: [2, 2], padding: [0, 0]}"),
    ("max_pool_c2", "x: f[1,3,8,8]", "max_pool(x) {kernel_size: [2, 2], stride: [2, 2], padding: [2, 0]}"),
    ("max_pool_c3", "x: f[1,3,8,8]", "max_pool(x) {kernel_size: [9, 2], stride: [2, 2], padding: [0, 0]}"),
    ("gather_c1", "x: f[3], i: i32[2]", "gather(x, i) {axis: 1}"),
    ("gather_c2", "x: f[3], i: f[2]", "gather(x, i) {axis: 0}"),
    ("linear_c1", "x: f[2,3], w: f[3]", "linear(x, w)"),
    ("linear_c2", "x: f[2,3], w: f[3,4]", "linear(x, w)"),
    ("linear_c3", "x: f[2,3], w: f[4,3], b: f[3]", "linear(x, w, b)"),
    ("leaky_relu_c1", "x: i32[2]", "leaky_relu(x) {negative_slope: 0.1}"),
    ("gelu_c1", "x: i32[2]", "gelu(x)"),
    ("softmax_c1", "x: i32[2]", "softmax(x) {axis: 0}"),
    ("softmax_c2", "x: f[2]", "softmax(x) {axis: -1}"),
    ("log_softmax_c1", "x: i32[2]", "log_softmax(x) {axis: 0}"),
    ("log_softmax_c2", "x: f[2]", "log_softmax(x) {axis: 1}"),
    ("layer_norm_c1", "x: f[], w: f[1]", "layer_norm(x, w, w) {epsilon: 1e-5}"),
    ("layer_norm_c2", "x: f[2,3], w: f[2]", "layer_norm(x, w, w) {epsilon: 1e-5}"),
    ("layer_norm_c3", "x: f[2,3], w: f[3]", "layer_norm(x, w, w) {epsilon: 0}"),
    ("batch_norm_training_c1", "x: f[2], w: f[2]", "batch_norm_training(x, w, w, w, w) {epsilon: 1e-5, momentum: 0.1}"),
    (
        "batch_norm_training_c2",
        "x: f[2,3], w: f[2]",
        "batch_norm_training(x, w, w, w, w) {epsilon: 1e-5, momentum: 0.1}",
    ),
    ("batch_norm_training_c3", "x: f[2,3], w: f[3]", "batch_norm_training(x, w, w, w, w) {epsilon: 1e-5, momentum: 2}"),
    (
        "batch_norm_training_c3",
        "x: f[2,3], w: f[3]",
        "batch_norm_training(x, w, w, w, w) {epsilon: inf, momentum: 0.1}",
    ),
    (
        "batch_norm_training_c4",
        "x: f[1,3], w: f[3]",
        "batch_norm_training(x, w, w, w, w) {epsilon: 1e-5, momentum: 0.1}",
    ),
    ("batch_norm_inference_c1", "x: i32[2,3], w: f[3]", "batch_norm_inference(x, w, w, w, w) {epsilon: 1e-5}"),
    ("batch_norm_inference_c2", "x: f[2,3], w: f[3,1]", "batch_norm_inference(x, w, w, w, w) {epsilon: 1e-5}"),
    ("batch_norm_inference_c3", "x: f[2,3], w: f[3]", "batch_norm_inference(x, w, w, w, w) {epsilon: -1}"),
    ("l2_normalize_c1", "x: i32[2]", "l2_normalize(x) {axis: 0, epsilon: 1e-12}"),
    ("l2_normalize_c2", "x: f[2]", "l2_normalize(x) {axis: 1, epsilon: 1e-12}"),
    ("l2_normalize_c3", "x: f[2]", "l2_normalize(x) {axis: 0, epsilon: NaN}"),
    (
        "scaled_dot_product_attention_c1",
        "q: f[2,3,4], k: f[2,5,3], v: f[2,5,6]",
        "scaled_dot_product_attention(q, k, v) {scale: 1}",
    ),
    (
        "scaled_dot_product_attention_c2",
        "q: f[2,3,4], k: f[2,5,4], v: f[2,5,6], b: f[3,3]",
        "scaled_dot_product_attention(q, k, v, b) {scale: 1}",
    ),
    (
        "scaled_dot_product_attention_c2",
        "q: f[3,4], k: f[5,4], v: f[5,6], b: f[1,3,5]",
        "scaled_dot_product_attention(q, k, v, b) {scale: 1}",
    ),
    ("avg_pool_c1", "x: i32[1,3,8,8]", "avg_pool(x) {kernel_size: [2, 2], stride: [2, 2], padding: [0, 0]}"),
    ("avg_pool_c2", "x: f[1,3,8,8]", "avg_pool(x) {kernel_size: [2], stride: [2, 2], padding: [0, 0]}"),
    ("avg_pool_c3", "x: f[1,3,8,8]", "avg_pool(x) {kernel_size: [2, 11], stride: [2, 2], padding: [0, 1]}"),
    ("resize_c1", "x: f[3,8,8]", "resize(x) {size: [4, 4], coordinate_mode: \"half_pixel\"}"),
    ("resize_c2", "x: f[1,3,8,8]", "resize(x) {size: [4, 0], coordinate_mode: \"half_pixel\"}"),
    ("resize_c2", "x: f[1,3,8,8]", "resize(x) {size: [4, 4], scales: [0.5], coordinate_mode: \"half_pixel\"}"),
    ("resize_c3", "x: f[1,3,8,8]", "resize(x) {size: [4, 4], coordinate_mode: \"corner\"}"),
    ("resize_c3", "x: f[1,3,8,8]", "resize(x) {size: [4, 4], scales: [0.5, 0.5], coordinate_mode: \"align_corners\"}"),
    ("grid_sample_c1", "x: f[3,8,8], g: f[1,4,4,2]", "grid_sample(x, g) {align_corners: true}"),
    ("grid_sample_c2", "x: f[1,3,8,8], g: f[1,4,4,3]", "grid_sample(x, g) {align_corners: true}"),
    ("dropout_c1", "x: i32[2], key: i32[3]", "dropout(x, key) {probability: 0.5, stream: 0}"),
    ("dropout_c2", "x: f[2], key: i32[3]", "dropout(x, key) {probability: 1, stream: 0}"),
    ("dropout_c3", "x: f[2], key: i32[4]", "dropout(x, key) {probability: 0.5, stream: 0}"),
    (
        "adamw_update_c1",
        "p: f[3], g: f[2], s: f[]",
        "adamw_update(p, g, p, p, s, s) {beta1: 0.9, beta2: 0.9, epsilon: 1e-8, weight_decay: 0, decoupled: false}",
    ),
    (
        "adamw_update_c2",
        "p: f[3], s: f[], t: i32[]",
        "adamw_update(p, p, p, p, s, t) {beta1: 0.9, beta2: 0.9, epsilon: 1e-8, weight_decay: 0, decoupled: false}",
    ),
    (
        "convolution_input_grad_c1",
        "k: f[4,3,3], g: f[1,4,6,6]",
        "convolution_input_grad(k, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, input_size: [8, 8]}",
    ),
    (
        "convolution_input_grad_c2",
        "k: f[4,3,3,3], g: f[1,4,6,6]",
        "convolution_input_grad(k, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, input_size: [8]}",
    ),
    (
        "convolution_input_grad_c3",
        "k: f[4,3,3,3], g: f[1,4,6,6]",
        "convolution_input_grad(k, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 3, input_size: [8, 8]}",
    ),
    (
        "convolution_input_grad_c4",
        "k: f[4,3,3,3], g: f[1,4,6,6]",
        "convolution_input_grad(k, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, input_size: [2, 8]}",
    ),
    (
        "convolution_input_grad_c5",
        "k: f[4,3,3,3], g: f[1,4,6,6]",
        "convolution_input_grad(k, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, input_size: [9, 9]}",
    ),
    (
        "convolution_kernel_grad_c1",
        "x: f[3,8,8], g: f[1,4,6,6]",
        "convolution_kernel_grad(x, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, kernel_size: [3, 3]}",
    ),
    (
        "convolution_kernel_grad_c2",
        "x: f[1,3,8,8], g: f[1,4,6,6]",
        "convolution_kernel_grad(x, g) {stride: [1, 1], padding: [-1, 0], dilation: [1, 1], groups: 1, kernel_size: [3, 3]}",
    ),
    (
        "convolution_kernel_grad_c3",
        "x: f[1,3,8,8], g: f[1,4,6,6]",
        "convolution_kernel_grad(x, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 2, kernel_size: [3, 3]}",
    ),
    (
        "convolution_kernel_grad_c4",
        "x: f[1,3,8,8], g: f[1,4,6,6]",
        "convolution_kernel_grad(x, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, kernel_size: [9, 3]}",
    ),
    (
        "convolution_kernel_grad_c5",
        "x: f[1,3,8,8], g: f[2,4,6,6]",
        "convolution_kernel_grad(x, g) {stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, kernel_size: [3, 3]}",
    ),
    (
        "max_pool_grad_c1",
        "x: f[8,8], g: f[4,4]",
        "max_pool_grad(x, g) {kernel_size: [2, 2], stride: [2, 2], padding: [0, 0]}",
    ),
    (
        "max_pool_grad_c2",
        "x: f[1,1,8,8], g: f[1,1,4,4]",
        "max_pool_grad(x, g) {kernel_size: [2, 2], stride: [2, 0], padding: [0, 0]}",
    ),
    (
        "max_pool_grad_c3",
        "x: f[1,1,8,8], g: f[1,1,4,4]",
        "max_pool_grad(x, g) {kernel_size: [2, 9], stride: [2, 2], padding: [0, 0]}",
    ),
    (
        "max_pool_grad_c4",
        "x: f[1,1,8,8], g: f[1,1,4,3]",
        "max_pool_grad(x, g) {kernel_size: [2, 2], stride: [2, 2], padding: [0, 0]}",
    ),
    ("scatter_add_c1", "i: i32[3], u: f[2,4]", "scatter_add(i, u) {axis: 0, size: 5}"),
    ("scatter_add_c1", "i: i32[3], u: f[3,4]", "scatter_add(i, u) {axis: 9223372036854775807, size: 5}"),
    ("scatter_add_c2", "i: f[3], u: f[3,4]", "scatter_add(i, u) {axis: 0, size: 5}"),
    // The general ones that a text can break.
    ("constant_shape", "", "constant() {value: [0], shape: [-1]}"),
    ("rng_uniform_shape", "rng: i32[3]", "rng_uniform(rng) {shape: [0], stream: 0}"),
    ("reshape_shape", "x: f[1]", "reshape(x) {shape: [1, 0]}"),
    ("broadcast_in_dim_shape", "x: f[1]", "broadcast_in_dim(x) {shape: [0], broadcast_dimensions: [0]}"),
    ("constant_size", "", "constant() {value: [0], shape: [68719476737]}"),
    ("constant_size", "", "constant() {value: [0], shape: [1, 1, 1, 1, 1, 1, 1, 1, 1]}"),
    ("constant_size", "", "constant() {value: [0], shape: [9223372036854775807, 9223372036854775807]}"),
    ("pad_size", "x: f[40]", "pad(x) {low: [4294967296], high: [4294967296], interior: [4294967296], value: 0}"),
    ("softmax_arity", "x: f[2]", "softmax(x, x) {axis: 0}"),
    ("softmax_attribute", "x: f[2]", "softmax(x)"),
    ("softmax_arity", "", "softmax_vjp() {axis: 0, wrt: [0], cotangents: [0]}"),
    ("softmax_cotangent", "x: f[2], g: f[3]", "softmax_vjp(x, g) {axis: 0, wrt: [0], cotangents: [0]}"),
    ("softmax_cotangent", "x: f[2], g: f[2]", "softmax_vjp(x, g) {axis: 0, wrt: [0], cotangents: [1]}"),
    ("softmax_cotangent", "x: f[2], g: f[2]", "softmax_vjp(x, g) {axis: 0, wrt: [0], cotangents: [-1]}"),
    ("softmax_wrt", "x: f[2], g: f[2]", "softmax_vjp(x, g) {axis: 0, wrt: [1], cotangents: [0]}"),
    (
        "dropout_wrt",
        "x: f[2], key: i32[3]",
        "dropout_vjp(x, key, x) {probability: 0.5, stream: 0, wrt: [1], cotangents: [0]}",
    ),
];

#[test]
fn every_case_breaks_its_constraint() {
    for (code, inputs, call) in NEGATIVE {
        let error = parse(&format!("graph case({inputs}) {{ %0 = {call} : f[] }}")).expect_err(call);
        assert_eq!(error.code(), *code, "{call}: {error}");
        assert!(is_declared(&error), "{code} is not declared");
    }
}

#[test]
fn every_constraint_has_a_case() {
    let covered = |code: &str| NEGATIVE.iter().any(|(c, ..)| *c == code);
    let declared =
        TABLE.iter().flat_map(|def| def.constraints.iter().map(|(label, _)| format!("{}_{label}", def.name)));
    let missing: Vec<String> = declared.filter(|code| !covered(code)).collect();
    assert!(missing.is_empty(), "no case breaks {missing:?}");
    for (label, _) in GENERAL_CONSTRAINTS {
        assert!(NEGATIVE.iter().any(|(code, ..)| code.ends_with(&format!("_{label}"))), "no case breaks {label}");
    }
}

/// Whether the constraint an error names is one that its op declares, or a general one.
pub fn is_declared(error: &GraphError) -> bool {
    let GraphError::Constraint { op, constraint, .. } = error else { return true };
    let Some(Op { def, .. }) = lookup(op) else { return false };
    let label = constraint.strip_prefix(def.name).and_then(|rest| rest.strip_prefix('_'));
    def.constraints.iter().chain(GENERAL_CONSTRAINTS).any(|(known, _)| Some(*known) == label)
}

#[test]
fn operands_and_attributes_are_counted_and_typed_for_every_op() {
    let x = TensorType::float([2]);
    for def in TABLE {
        let op = Op::from(*def);
        let graph = example(def.name).expect("every op has an example");
        let node = &graph.nodes[0];
        let types = graph.operand_types(node);
        let code = |operands: &[&TensorType], attributes: &Attributes| {
            op.infer(operands, attributes).expect_err(def.name).code().to_owned()
        };
        if !def.operands.variadic {
            let many = vec![&x; def.operands.names.len() + 1];
            assert_eq!(code(&many, &node.attributes), format!("{}_arity", def.name));
        }
        if def.operands.required > 0 {
            assert_eq!(code(&types[..def.operands.required - 1], &node.attributes), format!("{}_arity", def.name));
        }
        let stranger = node.attributes.clone().with("colour", "green");
        assert_eq!(code(&types, &stranger), format!("{}_attribute", def.name));
        for attribute in def.attributes {
            let other: Attribute = if matches!(node.attributes.get(attribute.name), Some(Attribute::Bool(_))) {
                Attribute::Int(1)
            } else {
                Attribute::Bool(true)
            };
            let wrong = node.attributes.clone().with(attribute.name, other);
            assert_eq!(code(&types, &wrong), format!("{}_attribute", def.name), "{}", attribute.name);
        }
        for missing in def.attributes.iter().filter(|a| a.required) {
            let rest = node.attributes.iter().filter(|(name, _)| *name != missing.name);
            let rest = rest.fold(Attributes::new(), |all, (name, value)| all.with(name, value.clone()));
            assert_eq!(code(&types, &rest), format!("{}_attribute", def.name), "{}", missing.name);
        }
    }
}
