//! layer_norm, batch_norm_training, batch_norm_inference, l2_normalize.

use fer_graph::GraphError;
use proptest::prelude::*;

use super::{seed, shape};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

/// Large enough that the derivatives of nearly constant rows stay of order one: differences see fourth powers of them.
const EPSILON: f64 = 0.1;

pub fn families() -> Vec<Family> {
    let images = || (2usize..4, 1usize..4, prop::collection::vec(1usize..4, 0..3), seed());
    vec![
        Family::new("layer_norm", (shape(1), seed()).prop_map(layer_norm), vec![usual_layer_norm(), constant_rows()]),
        Family::new("batch_norm_training", images().prop_map(training), vec![]),
        Family::new("batch_norm_inference", images().prop_map(inference), vec![]),
        Family::new("l2_normalize", (shape(1), seed()).prop_map(l2_normalize), vec![zero_norm()]),
    ]
}

fn layer_norm((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let last = shape[shape.len() - 1];
    let x = d.input("x", &shape, Draw::Any)?;
    let weight = d.input("weight", &[last], Draw::Any)?;
    let bias = d.input("bias", &[last], Draw::Any)?;
    let y = d.b.layer_norm(x, weight, bias, EPSILON)?;
    Ok(d.finish("layer_norm", &[y], Tolerance::NORMALISED))
}

/// A model's width and epsilon.
fn usual_layer_norm() -> Result<Problem, GraphError> {
    let mut d = Draft::new(4);
    let x = d.input("x", &[3, 96], Draw::Any)?;
    let weight = d.input("weight", &[96], Draw::Any)?;
    let bias = d.input("bias", &[96], Draw::Any)?;
    let y = d.b.layer_norm(x, weight, bias, 1e-5)?;
    Ok(d.finish("layer_norm", &[y], Tolerance::NORMALISED))
}

/// A large mean: the naive variance E[x^2] - E[x]^2 loses every digit of it in f32. Dyadic numbers keep the mean exact.
fn constant_rows() -> Result<Problem, GraphError> {
    let mut d = Draft::new(0);
    let x = d.fixed("x", &[2, 4], vec![0.5, 0.5, 0.5, 0.5, 4096.0, 4097.0, 4096.0, 4097.0])?;
    let weight = d.fixed("weight", &[4], vec![1.0, 2.0, 3.0, 4.0])?;
    let bias = d.fixed("bias", &[4], vec![0.0, 1.0, 0.0, 1.0])?;
    let y = d.b.layer_norm(x, weight, bias, 1e-5)?;
    Ok(d.finish("layer_norm", &[y], Tolerance::NORMALISED))
}

type Images = (usize, usize, Vec<usize>, u64);

fn draft((n, c, rest, seed): &Images) -> Result<(Draft, [fer_graph::Value; 5]), GraphError> {
    let mut d = Draft::new(*seed);
    let shape: Vec<usize> = [*n, *c].into_iter().chain(rest.iter().copied()).collect();
    let x = d.input("x", &shape, Draw::Any)?;
    let weight = d.input("weight", &[*c], Draw::Any)?;
    let bias = d.input("bias", &[*c], Draw::Any)?;
    let mean = d.input("running_mean", &[*c], Draw::Any)?;
    let variance = d.input("running_var", &[*c], Draw::Positive)?;
    Ok((d, [x, weight, bias, mean, variance]))
}

/// The new statistics are held constant by differentiation, so only the first result is smooth.
fn training(images: Images) -> Result<Problem, GraphError> {
    let (d, operands) = draft(&images)?;
    let results = d.b.batch_norm_training(operands, EPSILON, 0.125)?;
    Ok(d.finish_partly_smooth("batch_norm_training", &results, 1, Tolerance::NORMALISED))
}

fn inference(images: Images) -> Result<Problem, GraphError> {
    let (d, operands) = draft(&images)?;
    let y = d.b.batch_norm_inference(operands, EPSILON)?;
    Ok(d.finish("batch_norm_inference", &[y], Tolerance::NORMALISED))
}

fn l2_normalize((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let axis = d.random().below(shape.len()) as isize;
    let x = d.input("x", &shape, Draw::NotZero)?;
    let y = d.b.l2_normalize(x, axis, 1e-6)?;
    Ok(d.finish("l2_normalize", &[y], Tolerance::NORMALISED))
}

/// A zero vector stays zero, with a finite gradient.
fn zero_norm() -> Result<Problem, GraphError> {
    let mut d = Draft::new(0);
    let x = d.differentiated("x", &[2, 3], vec![0.0, 0.0, 0.0, 3.0, 0.0, 4.0])?;
    let y = d.b.l2_normalize(x, 1, 0.5)?;
    Ok(d.finish("l2_normalize", &[y], Tolerance::NORMALISED))
}
