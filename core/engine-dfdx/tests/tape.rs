//! dfdx's own tape as a second opinion on our gradients, on the ops where it is right (not: its accurate gelu, and the maximum of
//! equal numbers). Both compute in f64; they must agree to 1e-10.

use dfdx::prelude::*;
use fer_engine::{Engine, Feeds, Precision, Tensor as Host};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Result, TensorType, Value};

type Matrix = Tensor<(usize, usize), f64, Cpu>;
type Traced = Tensor<(usize, usize), f64, Cpu, OwnedTape<f64, Cpu>>;

/// Numbers within -1 to 1, all different.
fn numbers(count: usize, stream: u32) -> Vec<f64> {
    fer_engine::uniform([11, 0, 0], stream, count).map(|x| 2.0 * x - 1.0).collect()
}

/// The gradients of `objective` by inputs `x0`, `x1` ... of the given shapes, by our rules.
fn ours(
    shapes: &[[usize; 2]],
    data: &[Vec<f64>],
    objective: impl Fn(&Builder, &[Value]) -> Result<Value>,
) -> Vec<Vec<f64>> {
    let b = Builder::new("t");
    let inputs: Vec<Value> = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| b.input(&format!("x{i}"), TensorType::float(shape.as_slice())).unwrap())
        .collect();
    let value = objective(&b, &inputs).unwrap();
    for (i, gradient) in fer_autodiff::gradients(&b, value, &inputs).unwrap().into_iter().enumerate() {
        b.output(&format!("g{i}"), gradient.unwrap());
    }
    let feeds: Feeds =
        (0..shapes.len()).map(|i| (format!("x{i}"), Host::f64(shapes[i].as_slice(), data[i].clone()))).collect();
    let engine = DfdxEngine::new(Precision::F64);
    let outputs = engine.compile(&b.finish()).unwrap().run(engine.store().as_mut(), &feeds).unwrap();
    (0..shapes.len()).map(|i| outputs[&format!("g{i}")].to_f64()).collect()
}

/// Compares with the tape: `theirs` is given the inputs and gives the objective and, by it, their gradients.
fn agree<const N: usize>(
    name: &str,
    shapes: [[usize; 2]; N],
    objective: impl Fn(&Builder, &[Value]) -> Result<Value>,
    theirs: impl Fn(&[Matrix]) -> Gradients<f64, Cpu>,
) {
    let device = Cpu::default();
    let data: Vec<Vec<f64>> = (0..N).map(|i| numbers(shapes[i][0] * shapes[i][1], i as u32)).collect();
    let matrices: Vec<Matrix> =
        (0..N).map(|i| device.tensor_from_vec(data[i].clone(), (shapes[i][0], shapes[i][1]))).collect();
    let tape = theirs(&matrices);
    for (i, ours) in ours(&shapes, &data, objective).into_iter().enumerate() {
        let theirs = tape.get(&matrices[i]).as_vec();
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 1e-10 * b.abs().max(1.0), "{name}, input {i}: ours {a}, dfdx {b}");
        }
    }
}

/// A scalar that depends on every element in its own way: the sum of cubes.
fn cubes(b: &Builder, x: Value) -> Result<Value> {
    b.reduce_sum(b.multiply(x, b.multiply(x, x)?)?, &[0, 1])
}

fn traced_cubes(x: Traced) -> Gradients<f64, Cpu> {
    x.powi(3).sum::<Rank0, _>().backward()
}

#[test]
fn unary_ops() {
    type Ours = fn(&Builder, Value) -> Result<Value>;
    type Theirs = fn(Traced) -> Traced;
    let cases: [(&str, Ours, Theirs); 7] = [
        ("negate", |b, x| b.negate(x), |x| x.negate()),
        ("exponential", |b, x| b.exponential(x), |x| x.exp()),
        ("log", |b, x| b.log(b.add_scalar(x, 2.0)?), |x| (x + 2.0).ln()),
        ("sqrt", |b, x| b.sqrt(b.add_scalar(x, 2.0)?), |x| (x + 2.0).sqrt()),
        ("tanh", |b, x| b.tanh(x), |x| x.tanh()),
        ("sigmoid", |b, x| b.sigmoid(x), |x| x.sigmoid()),
        ("relu", |b, x| b.relu(x), |x| x.relu()),
    ];
    for (name, op, theirs) in cases {
        agree(name, [[4, 5]], |b, x| cubes(b, op(b, x[0])?), |x| traced_cubes(theirs(x[0].leaky_trace())));
    }
}

#[test]
fn binary_ops() {
    type Ours = fn(&Builder, Value, Value) -> Result<Value>;
    type Theirs = fn(Traced, Matrix) -> Traced;
    let cases: [(&str, Ours, Theirs); 6] = [
        ("add", |b, x, y| b.add(x, y), |x, y| x + y),
        ("subtract", |b, x, y| b.subtract(x, y), |x, y| x - y),
        ("multiply", |b, x, y| b.multiply(x, y), |x, y| x * y),
        ("divide", |b, x, y| b.divide(x, y), |x, y| x / y),
        ("maximum", |b, x, y| b.maximum(x, y), |x, y| x.maximum(y)),
        ("minimum", |b, x, y| b.minimum(x, y), |x, y| x.minimum(y)),
    ];
    for (name, op, theirs) in cases {
        let both = |x: &[Matrix]| traced_cubes(theirs(x[0].leaky_trace(), x[1].clone()));
        agree(name, [[4, 5], [4, 5]], |b, x| cubes(b, op(b, x[0], x[1])?), both);
    }
}

#[test]
fn matrix_product_and_reductions() {
    agree(
        "matmul",
        [[3, 4], [4, 5]],
        |b, x| cubes(b, b.matmul(x[0], x[1])?),
        |x| traced_cubes(x[0].leaky_trace().matmul(x[1].clone())),
    );
    agree(
        "reduce_sum",
        [[3, 4]],
        |b, x| {
            let sums = b.reduce_sum(x[0], &[1])?;
            b.reduce_sum(b.multiply(sums, sums)?, &[0])
        },
        |x| x[0].leaky_trace().sum::<(usize,), Axis<1>>().square().sum::<Rank0, _>().backward(),
    );
    agree(
        "reduce_max",
        [[3, 4]],
        |b, x| {
            let top = b.reduce_max(x[0], &[0])?;
            b.reduce_sum(b.multiply(top, top)?, &[0])
        },
        |x| x[0].leaky_trace().max::<(usize,), Axis<0>>().square().sum::<Rank0, _>().backward(),
    );
}

#[test]
fn softmax_and_log_softmax() {
    agree(
        "softmax",
        [[3, 6]],
        |b, x| cubes(b, b.softmax(x[0], 1)?),
        |x| traced_cubes(x[0].leaky_trace().softmax::<Axis<1>>()),
    );
    agree(
        "log_softmax",
        [[3, 6]],
        |b, x| cubes(b, b.log_softmax(x[0], 0)?),
        |x| traced_cubes(x[0].leaky_trace().log_softmax::<Axis<0>>()),
    );
}

#[test]
fn tanh_mlp() {
    agree(
        "mlp",
        [[5, 4], [6, 4], [3, 6]],
        |b, x| {
            let hidden = b.tanh(b.linear(x[0], x[1], None)?)?;
            cubes(b, b.linear(hidden, x[2], None)?)
        },
        |x| {
            let transposed = |w: &Matrix| w.clone().permute::<(usize, usize), Axes2<1, 0>>();
            let hidden = x[0].leaky_trace().matmul(transposed(&x[1])).tanh();
            traced_cubes(hidden.matmul(transposed(&x[2])))
        },
    );
}

/// Against dfdx's `normalize`, whose weight is one and bias zero.
#[test]
fn layer_norm() {
    agree(
        "layer_norm",
        [[4, 6]],
        |b, x| cubes(b, b.layer_norm(x[0], b.full(&[6], 1.0)?, b.full(&[6], 0.0)?, 1e-3)?),
        |x| traced_cubes(x[0].leaky_trace().normalize::<Axis<1>>(1e-3)),
    );
}
