//! Answers worked out by hand or known from the definition: what a composite means does not rest on its own decomposition.

use fer_engine::{Engine, Feeds, Precision, Tensor};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, DType, Result, TensorType, Value};

/// What the graph gives in f64 for inputs `x0`, `x1` ...
fn run(inputs: &[(&[usize], &[f64])], compute: impl Fn(&Builder, &[Value]) -> Result<Value>) -> Vec<f64> {
    let b = Builder::new("t");
    let name = |i: usize| format!("x{i}");
    let values: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(i, (shape, _))| b.input(&name(i), TensorType::float(*shape)).unwrap())
        .collect();
    b.output("y", compute(&b, &values).unwrap());
    let feeds: Feeds =
        inputs.iter().enumerate().map(|(i, (shape, data))| (name(i), Tensor::f64(*shape, data.to_vec()))).collect();
    let engine = DfdxEngine::new(Precision::F64);
    engine.compile(&b.finish()).unwrap().run(engine.store().as_mut(), &feeds).unwrap()["y"].to_f64()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= 1e-12 * e.abs().max(1.0), "found {found:?}, expected {expected:?}");
    }
}

#[test]
fn softmax_of_logarithms_gives_their_shares() {
    let x = [1f64.ln(), 2f64.ln(), 5f64.ln()];
    assert_close(&run(&[(&[3], &x)], |b, x| b.softmax(x[0], 0)), &[0.125, 0.25, 0.625]);
    let logs = [0.125f64.ln(), 0.25f64.ln(), 0.625f64.ln()];
    assert_close(&run(&[(&[3], &x)], |b, x| b.log_softmax(x[0], 0)), &logs);
}

#[test]
fn layer_norm_of_two_numbers() {
    // Mean 2, variance 1, epsilon 3: deviation 2.
    let y = run(&[(&[2], &[1.0, 3.0]), (&[2], &[2.0, 4.0]), (&[2], &[10.0, 20.0])], |b, x| {
        b.layer_norm(x[0], x[1], x[2], 3.0)
    });
    assert_close(&y, &[9.0, 22.0]);
}

#[test]
fn batch_norm_normalises_by_the_biased_and_keeps_the_unbiased_variance() {
    let inputs: [(&[usize], &[f64]); 5] =
        [(&[2, 1], &[1.0, 3.0]), (&[1], &[2.0]), (&[1], &[1.0]), (&[1], &[0.0]), (&[1], &[1.0])];
    let result =
        |which: usize| run(&inputs, |b, x| Ok(b.batch_norm_training([x[0], x[1], x[2], x[3], x[4]], 3.0, 0.5)?[which]));
    assert_close(&result(0), &[0.0, 2.0]);
    assert_close(&result(1), &[1.0]);
    // The unbiased variance of 1 and 3 is 2.
    assert_close(&result(2), &[1.5]);
}

#[test]
fn gelu_at_known_points() {
    // x Phi(x), with Phi(1) = 0.841344746068542948...
    let phi = 0.841_344_746_068_542_9;
    assert_close(&run(&[(&[3], &[0.0, 1.0, -1.0])], |b, x| b.gelu(x[0])), &[0.0, phi, phi - 1.0]);
}

#[test]
fn resize_two_to_four() {
    let y = run(&[(&[1, 1, 2, 2], &[0.0, 4.0, 8.0, 12.0])], |b, x| b.resize(x[0], [4, 4]));
    // Half-pixel centres: weights 1, 3/4, 1/4, 0 of the first pixel.
    let rows = [0.0, 2.0, 6.0, 8.0];
    let expected: Vec<f64> = rows.iter().flat_map(|r| [0.0, 1.0, 3.0, 4.0].map(|c| r + c)).collect();
    assert_close(&y, &expected);
}

#[test]
fn the_identity_grid_gives_the_image_back() {
    let image: Vec<f64> = (0..18).map(|i| f64::from(i) * 0.5 - 3.0).collect();
    let theta = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    for corners in [false, true] {
        let y = run(&[(&[1, 2, 3, 3], &image), (&[1, 2, 3], &theta)], |b, x| {
            b.grid_sample(x[0], b.affine_grid(x[1], 3, 3, corners)?, corners)
        });
        assert_close(&y, &image);
    }
}

#[test]
fn attention_with_equal_keys_averages_the_values() {
    let query = [0.3, -1.0, 2.0, 0.5];
    let key = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let value = [1.0, 2.0, 6.0];
    let y = run(&[(&[2, 2], &query), (&[3, 2], &key), (&[3, 1], &value)], |b, x| {
        b.scaled_dot_product_attention(x[0], x[1], x[2], None, 0.7)
    });
    assert_close(&y, &[3.0, 3.0]);
}

#[test]
fn convolution_sums_its_window() {
    let image: Vec<f64> = (1..=9).map(f64::from).collect();
    let window = fer_graph::ops::Window { padding: [1, 1], ..Default::default() };
    let y = run(&[(&[1, 1, 3, 3], &image), (&[1, 1, 3, 3], &[1.0; 9])], |b, x| b.convolution(x[0], x[1], window));
    assert_close(&y, &[12.0, 21.0, 16.0, 27.0, 45.0, 33.0, 24.0, 39.0, 28.0]);
}

#[test]
fn the_first_adam_step_has_the_length_of_the_rate() {
    let constants =
        fer_graph::ops::AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: true };
    let inputs: [(&[usize], &[f64]); 6] =
        [(&[2], &[1.0, 1.0]), (&[2], &[0.5, -4.0]), (&[2], &[0.0; 2]), (&[2], &[0.0; 2]), (&[], &[0.1]), (&[], &[1.0])];
    let y = run(&inputs, |b, x| Ok(b.adamw_update([x[0], x[1], x[2], x[3], x[4], x[5]], constants)?[0]));
    assert_close(&y, &[1.0 - 0.1 * 0.5 / (0.5 + 1e-8), 1.0 + 0.1 * 4.0 / (4.0 + 1e-8)]);
}

/// What differences cannot show: a rounded copy passes its gradient on, a stopped one passes none.
#[test]
fn gradients_through_convert_and_stop_gradient() {
    let gradient = |objective: fn(&Builder, Value) -> Result<Value>| {
        run(&[(&[2], &[1.5, -2.0])], |b, x| {
            let sum = b.reduce_sum(objective(b, x[0])?, &[0])?;
            Ok(fer_autodiff::gradients(b, sum, &[x[0]])?[0].expect("the objective depends on x"))
        })
    };
    assert_eq!(gradient(|b, x| b.multiply(x, b.stop_gradient(x)?)), [1.5, -2.0]);
    assert_eq!(gradient(|b, x| b.scale(b.convert(b.convert(x, DType::Bf16)?, DType::Float)?, 3.0)), [3.0, 3.0]);
}
