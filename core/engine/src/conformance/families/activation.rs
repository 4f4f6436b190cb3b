//! leaky_relu, gelu, softmax, log_softmax.

use fer_graph::GraphError;
use proptest::prelude::*;

use super::{seed, shape};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

pub fn families() -> Vec<Family> {
    vec![
        Family::new("leaky_relu", (shape(0), seed(), 0usize..3).prop_map(leaky_relu), vec![relu_edges()]),
        Family::new("gelu", (shape(0), seed()).prop_map(gelu), vec![gelu_edges()]),
        Family::new("softmax", (shape(1), seed()).prop_map(|p| softmax(p, false)), soft_edges(false)),
        Family::new("log_softmax", (shape(1), seed()).prop_map(|p| softmax(p, true)), soft_edges(true)),
    ]
}

fn leaky_relu((shape, seed, slope): (Vec<usize>, u64, usize)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let x = d.input("x", &shape, Draw::NotZero)?;
    let y = d.b.leaky_relu(x, [0.0, 0.25, 1.5][slope])?;
    Ok(d.finish("leaky_relu", &[y], Tolerance::ROUNDED))
}

/// relu of an infinity is 0 or that infinity, never 0 * inf.
fn relu_edges() -> Result<Problem, GraphError> {
    let mut d = Draft::new(0);
    let x = d.fixed("x", &[4], vec![f64::NEG_INFINITY, f64::INFINITY, 0.0, -0.0])?;
    let y = d.b.relu(x)?;
    Ok(d.finish("leaky_relu", &[y], Tolerance::EXACT))
}

fn gelu((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let x = d.input("x", &shape, Draw::Any)?;
    let y = d.b.gelu(x)?;
    // 1 + erf cancels where x is negative, so digits are counted from the largest.
    Ok(d.finish("gelu", &[y], Tolerance::SUMMED))
}

fn gelu_edges() -> Result<Problem, GraphError> {
    let mut d = Draft::new(0);
    let x = d.differentiated("x", &[7], vec![0.0, 1.0, -1.0, 6.0, -6.0, 40.0, -40.0])?;
    let y = d.b.gelu(x)?;
    Ok(d.finish("gelu", &[y], Tolerance::SUMMED))
}

fn softmax((shape, seed): (Vec<usize>, u64), log: bool) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let axis = d.random().below(shape.len()) as isize;
    let x = d.input("x", &shape, Draw::Any)?;
    let (op, y) = if log { ("log_softmax", d.b.log_softmax(x, axis)?) } else { ("softmax", d.b.softmax(x, axis)?) };
    Ok(d.finish(op, &[y], Tolerance::SUMMED))
}

/// Numbers whose powers overflow, equal numbers, a masked entry, a row wider than any vector register.
fn soft_edges(log: bool) -> Vec<Result<Problem, GraphError>> {
    let of = |shape: [usize; 2], numbers: Vec<f64>| {
        let mut d = Draft::new(0);
        let x = d.fixed("x", &shape, numbers)?;
        let (op, y) = if log { ("log_softmax", d.b.log_softmax(x, -1)?) } else { ("softmax", d.b.softmax(x, -1)?) };
        Ok(d.finish(op, &[y], Tolerance::SUMMED))
    };
    let wide = (0..2 * 131).map(|i| f64::from(i % 17) * 0.25 - 2.0).collect();
    vec![
        of([2, 3], vec![1000.0, 1000.0, 999.0, -1000.0, -1000.0, -1001.0]),
        of([1, 3], vec![0.0, f64::NEG_INFINITY, 1.0]),
        of([2, 1], vec![5.0, -5.0]),
        of([1, 2], vec![f64::NAN, 0.0]),
        of([2, 131], wide),
    ]
}
