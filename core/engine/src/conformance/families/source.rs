//! constant, rng_uniform, stop_gradient, convert, and dropout, which is made of random numbers.

use fer_graph::{Attributes, DType, GraphError};
use proptest::prelude::*;

use super::{emit, seed, shape};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

pub fn families() -> Vec<Family> {
    vec![
        Family::new("constant", (shape(0), seed(), any::<bool>()).prop_map(constant), constants()),
        Family::new("rng_uniform", (shape(0), seed(), 0i64..1 << 31).prop_map(rng_uniform), vec![]),
        Family::new("stop_gradient", (shape(0), seed()).prop_map(stop_gradient), vec![]),
        Family::new("convert", (shape(0), seed(), 0usize..5, 0usize..5).prop_map(convert), conversions()),
        Family::new("dropout", (shape(1), seed(), 0.0f64..0.9).prop_map(dropout), vec![]),
    ]
}

/// A constant alone, and added to an input: engines may treat the second apart.
fn constant((shape, seed, splat): (Vec<usize>, u64, bool)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let count = if splat { 1 } else { shape.iter().product() };
    let numbers: Vec<f64> = d.random().draw(count, Draw::Any).iter().map(|v| f64::from(*v as f32)).collect();
    let c = d.b.constant(&shape, numbers)?;
    let x = d.fixed("x", &shape, vec![0.0; shape.iter().product()])?;
    let sum = d.b.add(x, c)?;
    Ok(d.finish("constant", &[c, sum], Tolerance::EXACT))
}

fn constants() -> Vec<Result<Problem, GraphError>> {
    let of = |dtype: DType, numbers: Vec<f64>| {
        let d = Draft::new(0);
        let c = d.b.constant_of(dtype, &[numbers.len()], numbers)?;
        Ok(d.finish("constant", &[c], Tolerance::EXACT))
    };
    vec![
        of(DType::I32, vec![0.0, -1.0, f64::from(i32::MIN), f64::from(i32::MAX)]),
        of(DType::U8, vec![0.0, 255.0]),
        of(DType::Bool, vec![0.0, 1.0, 1.0]),
        of(DType::Bf16, vec![1.0 + 1.0 / 256.0, 3.0, -0.1]),
        of(DType::Float, vec![f64::INFINITY, f64::NEG_INFINITY, -0.0]),
    ]
}

fn rng_uniform((shape, seed, stream): (Vec<usize>, u64, i64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let key = d.integers("key", &[3], vec![seed as i32, (seed >> 16) as i32, -5])?;
    let attributes = Attributes::new().with("shape", shape.as_slice()).with("stream", stream);
    let y = emit(&d.b, "rng_uniform", &[key], attributes)?;
    Ok(d.finish("rng_uniform", &[y], Tolerance::EXACT))
}

fn stop_gradient((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let numbers = d.random().draw(shape.iter().product(), Draw::Any);
    let x = d.fixed("x", &shape, numbers)?;
    let y = d.b.stop_gradient(x)?;
    Ok(d.finish("stop_gradient", &[y], Tolerance::EXACT))
}

/// From f through one type into another: every pair, rounding to bfloat16 included.
fn convert((shape, seed, via, to): (Vec<usize>, u64, usize, usize)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let numbers = d.random().draw(shape.iter().product(), Draw::Any).iter().map(|v| v * 200.0).collect();
    let x = d.fixed("x", &shape, numbers)?;
    let middle = d.b.convert(x, DType::ALL[via])?;
    let y = d.b.convert(middle, DType::ALL[to])?;
    Ok(d.finish("convert", &[middle, y], Tolerance::EXACT))
}

fn conversions() -> Vec<Result<Problem, GraphError>> {
    let edge = vec![
        0.0,
        -0.0,
        0.9,
        -0.9,
        255.9,
        256.0,
        -1.0,
        3e9,
        -3e9,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1.00390625,
        1.01171875,
        3.4e38,
        1e-40,
    ];
    DType::ALL
        .into_iter()
        .map(|dtype| {
            let mut d = Draft::new(0);
            let x = d.fixed("x", &[edge.len()], edge.clone())?;
            let y = d.b.convert(x, dtype)?;
            Ok(d.finish("convert", &[y], Tolerance::EXACT))
        })
        .collect()
}

fn dropout((shape, seed, probability): (Vec<usize>, u64, f64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let x = d.input("x", &shape, Draw::Any)?;
    let key = d.integers("key", &[3], vec![seed as i32, 7, 1])?;
    let attributes = Attributes::new().with("probability", f64::from(probability as f32)).with("stream", 3i64);
    let y = emit(&d.b, "dropout", &[x, key], attributes)?;
    Ok(d.finish("dropout", &[y], Tolerance::ROUNDED))
}
