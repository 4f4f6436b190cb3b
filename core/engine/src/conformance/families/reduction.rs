//! reduce_sum and reduce_max.

use fer_graph::GraphError;
use proptest::prelude::*;

use super::{seed, shape};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

pub fn families() -> Vec<Family> {
    vec![
        Family::new("reduce_sum", (shape(1), seed()).prop_map(reduce_sum), sums()),
        Family::new("reduce_max", (shape(1), seed()).prop_map(reduce_max), maxima()),
    ]
}

/// Any set of axes but the empty one.
fn axes(d: &mut Draft, rank: usize) -> Vec<usize> {
    let chosen: Vec<usize> = (0..rank).filter(|_| d.random().unit() < 0.5).collect();
    if chosen.is_empty() { vec![rank - 1] } else { chosen }
}

fn reduce_sum((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let axes = axes(&mut d, shape.len());
    let x = d.input("x", &shape, Draw::Any)?;
    let y = d.b.reduce_sum(x, &axes)?;
    Ok(d.finish("reduce_sum", &[y], Tolerance::SUMMED))
}

fn reduce_max((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let axes = axes(&mut d, shape.len());
    let x = d.input("x", &shape, Draw::Distinct)?;
    let y = d.b.reduce_max(x, &axes)?;
    Ok(d.finish("reduce_max", &[y], Tolerance::EXACT))
}

/// Longer sums over each axis of three, a splat, and infinities.
fn sums() -> Vec<Result<Problem, GraphError>> {
    let long = |axes: &[usize]| {
        let mut d = Draft::new(5);
        let x = d.input("x", &[7, 33, 9], Draw::Any)?;
        let y = d.b.reduce_sum(x, axes)?;
        Ok(d.finish("reduce_sum", &[y], Tolerance::SUMMED))
    };
    let splat = || {
        let d = Draft::new(0);
        let y = d.b.reduce_sum(d.b.full(&[3, 5], 0.1)?, &[1])?;
        Ok(d.finish("reduce_sum", &[y], Tolerance::SUMMED))
    };
    let infinite = || {
        let mut d = Draft::new(0);
        let inf = f64::INFINITY;
        let x = d.fixed("x", &[4, 2], vec![inf, 1.0, inf, -inf, f64::NAN, 1.0, -inf, 1.0])?;
        let y = d.b.reduce_sum(x, &[1])?;
        Ok(d.finish("reduce_sum", &[y], Tolerance::SUMMED))
    };
    vec![long(&[0]), long(&[1]), long(&[2]), long(&[0, 2]), long(&[0, 1, 2]), splat(), infinite()]
}

/// Ties share their gradient; NaN wins over all; of minus infinities one is the maximum.
fn maxima() -> Vec<Result<Problem, GraphError>> {
    let tied = || {
        let mut d = Draft::new(0);
        let x = d.differentiated("x", &[3, 3], vec![1.0, 1.0, 0.0, -0.0, 0.0, -1.0, 2.0, 2.0, 2.0])?;
        let y = d.b.reduce_max(x, &[1])?;
        Ok(d.finish("reduce_max", &[y], Tolerance::EXACT))
    };
    let odd = |axes: &[usize]| {
        let mut d = Draft::new(0);
        let inf = f64::INFINITY;
        let x = d.fixed("x", &[3, 3], vec![1.0, f64::NAN, inf, -inf, -inf, -inf, f64::NAN, -inf, inf])?;
        let y = d.b.reduce_max(x, axes)?;
        Ok(d.finish("reduce_max", &[y], Tolerance::EXACT))
    };
    vec![tied(), odd(&[0]), odd(&[1]), odd(&[0, 1])]
}
