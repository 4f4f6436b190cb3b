//! dot_general over any axes, and linear.

use fer_graph::{DType, GraphError, ops::DotAxes};
use proptest::prelude::*;

use super::seed;
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

pub fn families() -> Vec<Family> {
    let sizes = || prop::collection::vec(1usize..4, 0..3);
    vec![
        Family::new(
            "dot_general",
            (sizes(), sizes(), sizes(), sizes(), seed()).prop_map(dot_general),
            vec![larger([1, 70, 40, 90]), larger([6, 17, 33, 5]), larger([3, 1, 64, 1]), bfloat16()],
        ),
        Family::new("linear", (sizes(), 1usize..6, 1usize..6, seed()).prop_map(linear), vec![]),
    ]
}

/// Batch, contracted and free axes stand anywhere in either operand, in any order.
fn dot_general(
    (batch, contract, left, right, seed): (Vec<usize>, Vec<usize>, Vec<usize>, Vec<usize>, u64),
) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let mut side = |free: &[usize]| -> (Vec<usize>, Vec<usize>, Vec<usize>) {
        let all: Vec<usize> = batch.iter().chain(&contract).chain(free).copied().collect();
        let order = d.random().order(all.len());
        let shape = order.iter().map(|&i| all[i]).collect();
        let place = |i: usize| order.iter().position(|&o| o == i).unwrap_or(0);
        let batch_axes = (0..batch.len()).map(place).collect();
        let contract_axes = (batch.len()..batch.len() + contract.len()).map(place).collect();
        (shape, batch_axes, contract_axes)
    };
    let (left_shape, lhs_batch, lhs_contract) = side(&left);
    let (right_shape, rhs_batch, rhs_contract) = side(&right);
    let x = d.input("lhs", &left_shape, Draw::Any)?;
    let y = d.input("rhs", &right_shape, Draw::Any)?;
    let z = d.b.dot_general(x, y, &DotAxes { lhs_batch, rhs_batch, lhs_contract, rhs_contract })?;
    Ok(d.finish("dot_general", &[z], Tolerance::SUMMED))
}

/// Sizes that fill more than one tile of a blocked product.
fn larger([batch, m, k, n]: [usize; 4]) -> Result<Problem, GraphError> {
    let mut d = Draft::new(9);
    let x = d.input("lhs", &[batch, m, k], Draw::Any)?;
    let y = d.input("rhs", &[batch, k, n], Draw::Any)?;
    let z = d.b.matmul(x, y)?;
    Ok(d.finish("dot_general", &[z], Tolerance::SUMMED))
}

fn bfloat16() -> Result<Problem, GraphError> {
    let mut d = Draft::new(9);
    let numbers = d.random().draw(60, Draw::Any);
    let x = d.fixed("x", &[6, 10], numbers)?;
    let x = d.b.convert(x, DType::Bf16)?;
    let z = d.b.matmul(x, d.b.transpose(x, &[1, 0])?)?;
    let z = d.b.convert(z, DType::Float)?;
    Ok(d.finish("dot_general", &[z], Tolerance::BFLOAT16))
}

fn linear((lead, from, to, seed): (Vec<usize>, usize, usize, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let mut shape = lead;
    shape.push(from);
    let x = d.input("x", &shape, Draw::Any)?;
    let weight = d.input("weight", &[to, from], Draw::Any)?;
    let bias = if seed % 3 == 0 { None } else { Some(d.input("bias", &[to], Draw::Any)?) };
    let y = d.b.linear(x, weight, bias)?;
    Ok(d.finish("linear", &[y], Tolerance::SUMMED))
}
