//! How each op family is added to a graph.

use fer_graph::{
    Attributes, Builder, DType, Op, TensorType, Value, ops,
    ops::{AdamConstants, DotAxes, Window},
};

use super::{Made, Pen};

const UNARY: &[fn(&Builder, Value) -> Made] = &[
    Builder::negate,
    Builder::exponential,
    Builder::log,
    Builder::sqrt,
    Builder::tanh,
    Builder::erf,
    Builder::floor,
    Builder::stop_gradient,
    Builder::gelu,
];

const BINARY: &[fn(&Builder, Value, Value) -> Made] =
    &[Builder::add, Builder::subtract, Builder::multiply, Builder::divide, Builder::maximum, Builder::power];

/// One entry a family; adjoints stand last.
pub(super) const MAKERS: &[fn(&mut Pen<'_, '_>)] = &[
    |p| {
        let op = UNARY[p.pick(UNARY.len())];
        let x = p.any_float(0);
        p.made1(op(p.b(), x));
    },
    |p| {
        let op = BINARY[p.pick(BINARY.len())];
        let x = p.any_float(0);
        let y = p.float(&p.b().shape(x));
        p.made1(op(p.b(), x, y));
    },
    |p| {
        let op = BINARY[p.pick(BINARY.len())];
        let x = p.exactly(TensorType::new(DType::I32, [2, 3]));
        let y = p.exactly(TensorType::new(DType::I32, [3]));
        p.made1(op(p.b(), x, y));
    },
    |p| {
        let x = p.anything();
        let y = p.exactly(p.b().ty(x));
        let direction = ["EQ", "NE", "LT", "LE", "GT", "GE"][p.pick(6)];
        p.made1(p.b().compare(x, y, direction));
    },
    |p| {
        let x = p.anything();
        let ty = p.b().ty(x);
        let predicate = p.exactly(TensorType::new(DType::Bool, ty.shape.clone()));
        let y = p.exactly(ty);
        p.made1(p.b().select(predicate, x, y));
    },
    |p| {
        let x = p.anything();
        let dtype = DType::ALL[p.pick(5)];
        p.made1(p.b().convert(x, dtype));
    },
    |p| {
        let rank = p.pick(3);
        let shape = p.sizes(rank);
        let count = if p.pick(2) == 0 { 1 } else { shape.iter().product() };
        let step = [1.0, 0.1, -1e-9, 3e20][p.pick(4)];
        let values: Vec<f64> = (0..count).map(|i| i as f64 * step).collect();
        p.made1(p.b().constant(&shape, values));
    },
    |p| {
        let dtype = DType::ALL[p.pick(5)];
        let shape = p.sizes(1);
        let bit = p.pick(2) as f64;
        p.made1(p.b().constant_of(dtype, &shape, vec![bit]));
    },
    |p| {
        let shape = p.sizes(2);
        p.made1(p.b().rng_uniform(&shape));
    },
    |p| {
        let x = p.anything();
        let mut shape = p.b().shape(x);
        shape.reverse();
        shape.push(1);
        p.made1(p.b().reshape(x, &shape));
    },
    |p| {
        let x = p.anything();
        let mut permutation: Vec<usize> = (0..p.b().rank(x)).collect();
        for i in (1..permutation.len()).rev() {
            permutation.swap(i, p.pick(i + 1));
        }
        p.made1(p.b().transpose(x, &permutation));
    },
    |p| {
        let x = p.anything();
        let mut shape = p.b().shape(x);
        shape.insert(0, p.size());
        p.made1(p.b().broadcast_to(x, &shape));
    },
    |p| {
        let x = p.anything();
        let shape = p.b().shape(x);
        let start: Vec<usize> = shape.iter().map(|&d| p.pick(d)).collect();
        let strides = p.sizes(shape.len());
        p.made1(p.b().slice(x, &start, &shape, &strides));
    },
    |p| {
        let x = p.anything();
        let rank = p.b().rank(x);
        let mut some = || (0..rank).map(|_| p.pick(3)).collect::<Vec<_>>();
        let (low, high, interior) = (some(), some(), some());
        p.made1(p.b().pad(x, &low, &high, &interior, -0.5));
    },
    |p| {
        let x = p.any_float(1);
        let axis = p.axis(x);
        let mut shape = p.b().shape(x);
        shape[axis] = p.size();
        let y = p.float(&shape);
        p.made1(p.b().concatenate(&[x, y, x], axis));
    },
    |p| {
        let x = p.any_float(0);
        let axes = p.axes(x);
        let result = if p.pick(2) == 0 { p.b().reduce_sum(x, &axes) } else { p.b().reduce_max(x, &axes) };
        p.made1(result);
    },
    |p| {
        let x = p.any_float(2);
        let shape = p.b().shape(x);
        let last = shape.len() - 1;
        let axes = DotAxes { lhs_batch: vec![0], rhs_batch: vec![1], lhs_contract: vec![last], rhs_contract: vec![0] };
        let size = p.size();
        let y = p.float(&[shape[last], shape[0], size]);
        p.made1(p.b().dot_general(x, y, &axes));
    },
    |p| {
        let x = p.images();
        let channels = p.b().shape(x)[1];
        let (kh, kw) = p.window();
        let window = Window { stride: [p.size(), p.size()], padding: [kh, kw], dilation: [1, 2], groups: channels };
        let kernel = p.float(&[2 * channels, 1, kh, kw]);
        p.made1(p.b().convolution(x, kernel, window));
    },
    |p| {
        let x = p.images();
        let kernel = [p.pick(2) + 1, 1];
        let (sy, sx) = p.window();
        let padding = [kernel[0] / 2, 0];
        let pool = if p.pick(2) == 0 { Builder::max_pool } else { Builder::avg_pool };
        p.made1(pool(p.b(), x, kernel, [sy, sx], padding));
    },
    |p| {
        let x = p.any_float(1);
        let axis = p.axis(x);
        let rank = p.pick(3);
        let shape = p.sizes(rank);
        let indices = p.exactly(TensorType::new(DType::I32, shape));
        p.made1(p.b().gather(x, indices, axis));
    },
    |p| {
        let x = p.any_float(1);
        let last = *p.b().shape(x).last().expect("at least one axis");
        let out = p.size();
        let weight = p.float(&[out, last]);
        let bias = if p.pick(2) == 0 { None } else { Some(p.float(&[out])) };
        p.made1(p.b().linear(x, weight, bias));
    },
    |p| {
        let x = p.any_float(0);
        let slope = [0.0, 0.2, 1e-3][p.pick(3)];
        p.made1(p.b().leaky_relu(x, slope));
    },
    |p| {
        let x = p.any_float(1);
        let axis = p.axis(x) as isize;
        let op = [Builder::softmax, Builder::log_softmax][p.pick(2)];
        p.made1(op(p.b(), x, axis));
    },
    |p| {
        let x = p.any_float(1);
        let axis = p.axis(x) as isize;
        p.made1(p.b().l2_normalize(x, axis, 1e-12));
    },
    |p| {
        let x = p.any_float(1);
        let last = *p.b().shape(x).last().expect("at least one axis");
        let (weight, bias) = (p.float(&[last]), p.float(&[last]));
        p.made1(p.b().layer_norm(x, weight, bias, 1e-6));
    },
    |p| {
        let (channels, size) = (p.size(), p.size());
        let x = p.float(&[2, channels, size]);
        let operands = [x, p.float(&[channels]), p.float(&[channels]), p.float(&[channels]), p.float(&[channels])];
        if p.pick(2) == 0 {
            p.made(p.b().batch_norm_training(operands, 1e-5, 0.1));
        } else {
            p.made1(p.b().batch_norm_inference(operands, 1e-5));
        }
    },
    |p| {
        let [n, m, d, e] = [p.size(), p.size(), p.size(), p.size()];
        let (q, k, v) = (p.float(&[2, n, d]), p.float(&[2, m, d]), p.float(&[2, m, e]));
        let bias = if p.pick(2) == 0 { None } else { Some(p.float(&[1, m])) };
        p.made1(p.b().scaled_dot_product_attention(q, k, v, bias, 0.125));
    },
    |p| {
        let x = p.images();
        let size = [p.size(), p.size()];
        let result = if p.pick(2) == 0 { p.b().resize(x, size) } else { p.b().resize_by(x, size, [2.0, 0.5]) };
        p.made1(result);
    },
    |p| {
        let x = p.images();
        let n = p.b().shape(x)[0];
        let (height, width) = p.window();
        let grid = p.float(&[n, height, width, 2]);
        let corners = p.pick(2) == 0;
        p.made1(p.b().grid_sample(x, grid, corners));
    },
    |p| {
        let x = p.any_float(1);
        let path = p.pick(2) == 0;
        let result = if path { p.b().drop_path(x, 0.1) } else { p.b().dropout(x, 0.1) };
        p.made1(result);
    },
    |p| {
        let shape = p.sizes(1);
        let four = [p.float(&shape), p.float(&shape), p.float(&shape), p.float(&shape)];
        let (rate, step) = (p.float(&[]), p.float(&[]));
        let decoupled = p.pick(2) == 0;
        let constants = AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.05, decoupled };
        p.made(p.b().adamw_update([four[0], four[1], four[2], four[3], rate, step], constants));
    },
    |p| {
        let x = p.any_float(1);
        let cotangent = p.float(&p.b().shape(x));
        let axis = p.axis(x);
        let softmax = Op { adjoint: true, ..ops::lookup("softmax").expect("softmax is in the table") };
        let wrt: &[usize] = if p.pick(2) == 0 { &[0] } else { &[] };
        let attributes = Attributes::new().with("axis", axis).with("wrt", wrt).with("cotangents", vec![0usize]);
        p.made(p.b().emit(softmax, &[x, cotangent], attributes));
    },
];
