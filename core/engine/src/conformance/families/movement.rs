//! Ops that move elements: nothing may be rounded.

use fer_graph::GraphError;
use proptest::prelude::*;

use super::{seed, shape};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

pub fn families() -> Vec<Family> {
    vec![
        Family::new("reshape", (shape(0), seed()).prop_map(reshape), vec![]),
        Family::new("transpose", (shape(0), seed(), any::<bool>()).prop_map(transpose), vec![]),
        Family::new("broadcast_in_dim", (shape(0), seed()).prop_map(broadcast_in_dim), vec![]),
        Family::new("slice", (shape(0), seed()).prop_map(slice), vec![]),
        Family::new("pad", (shape(0), seed()).prop_map(pad), vec![]),
        Family::new("concatenate", (shape(1), seed(), 1usize..4).prop_map(concatenate), vec![]),
    ]
}

fn reshape((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let x = d.input("x", &shape, Draw::Any)?;
    let flat = d.b.reshape(x, &[1, shape.iter().product(), 1])?;
    let back = d.b.reshape(flat, &shape)?;
    Ok(d.finish("reshape", &[flat, back], Tolerance::EXACT))
}

fn transpose((shape, seed, whole): (Vec<usize>, u64, bool)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let order = d.random().order(shape.len());
    let x = if whole {
        let numbers = (0..shape.iter().product::<usize>() as i32).collect();
        d.integers("x", &shape, numbers)?
    } else {
        d.input("x", &shape, Draw::Any)?
    };
    let y = d.b.transpose(x, &order)?;
    if whole {
        d.hold();
    }
    Ok(d.finish_partly_smooth("transpose", &[y], usize::from(!whole), Tolerance::EXACT))
}

/// Some axes are new, some repeat a size of 1, some stay.
fn broadcast_in_dim((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let kept: Vec<usize> = (0..shape.len()).filter(|_| d.random().unit() < 0.6).collect();
    let from: Vec<usize> = kept.iter().map(|&a| if d.random().unit() < 0.3 { 1 } else { shape[a] }).collect();
    let x = d.input("x", &from, Draw::Any)?;
    let y = d.b.broadcast_in_dim(x, &shape, &kept)?;
    Ok(d.finish("broadcast_in_dim", &[y], Tolerance::EXACT))
}

fn slice((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let start: Vec<usize> = shape.iter().map(|&n| d.random().below(n)).collect();
    let limit: Vec<usize> = shape.iter().zip(&start).map(|(&n, &s)| s + 1 + d.random().below(n - s)).collect();
    let strides: Vec<usize> = shape.iter().map(|_| 1 + d.random().below(3)).collect();
    let x = d.input("x", &shape, Draw::Any)?;
    let y = d.b.slice(x, &start, &limit, &strides)?;
    Ok(d.finish("slice", &[y], Tolerance::EXACT))
}

fn pad((shape, seed): (Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let mut amounts = |most: usize| -> Vec<usize> { shape.iter().map(|_| d.random().below(most)).collect() };
    let (low, high, interior) = (amounts(3), amounts(3), amounts(3));
    let value = [0.0, -1.5, 7.0][seed as usize % 3];
    let x = d.input("x", &shape, Draw::Any)?;
    let y = d.b.pad(x, &low, &high, &interior, value)?;
    Ok(d.finish("pad", &[y], Tolerance::EXACT))
}

/// The same value may stand twice.
fn concatenate((shape, seed, parts): (Vec<usize>, u64, usize)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let axis = d.random().below(shape.len());
    let mut values = vec![];
    for i in 0..parts {
        let mut own = shape.clone();
        own[axis] = 1 + d.random().below(4);
        values.push(d.input(&format!("x{i}"), &own, Draw::Any)?);
    }
    values.push(values[0]);
    let y = d.b.concatenate(&values, axis)?;
    Ok(d.finish("concatenate", &[y], Tolerance::EXACT))
}
