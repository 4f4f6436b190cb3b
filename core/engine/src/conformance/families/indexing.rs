//! gather and scatter_add; indices outside the axis are clamped.

use fer_graph::{Attributes, GraphError};
use proptest::prelude::*;

use super::{emit, seed, shape};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

pub fn families() -> Vec<Family> {
    let indices = || prop::collection::vec(1usize..4, 0..3);
    vec![
        Family::new("gather", (shape(1), indices(), seed()).prop_map(gather), vec![clamped()]),
        Family::new("scatter_add", (shape(1), indices(), seed()).prop_map(scatter_add), vec![]),
    ]
}

fn draw_indices(d: &mut Draft, count: usize, size: usize) -> Vec<i32> {
    (0..count).map(|_| d.random().below(size + 2) as i32 - 1).collect()
}

fn gather((shape, indices, seed): (Vec<usize>, Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let axis = d.random().below(shape.len());
    let x = d.input("x", &shape, Draw::Any)?;
    let numbers = draw_indices(&mut d, indices.iter().product(), shape[axis]);
    let i = d.integers("indices", &indices, numbers)?;
    let y = d.b.gather(x, i, axis)?;
    Ok(d.finish("gather", &[y], Tolerance::EXACT))
}

fn clamped() -> Result<Problem, GraphError> {
    let mut d = Draft::new(0);
    let x = d.input("x", &[3, 2], Draw::Any)?;
    let i = d.integers("indices", &[4], vec![i32::MIN, -1, 3, i32::MAX])?;
    let y = d.b.gather(x, i, 0)?;
    Ok(d.finish("gather", &[y], Tolerance::EXACT))
}

fn scatter_add((shape, indices, seed): (Vec<usize>, Vec<usize>, u64)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let axis = d.random().below(shape.len());
    let mut updates = shape[..axis].to_vec();
    updates.extend_from_slice(&indices);
    updates.extend_from_slice(&shape[axis + 1..]);
    let numbers = draw_indices(&mut d, indices.iter().product(), shape[axis]);
    let i = d.integers("indices", &indices, numbers)?;
    let numbers = d.random().draw(updates.iter().product(), Draw::Any);
    let u = d.fixed("updates", &updates, numbers)?;
    let attributes = Attributes::new().with("axis", axis).with("size", shape[axis]);
    let y = emit(&d.b, "scatter_add", &[i, u], attributes)?;
    Ok(d.finish("scatter_add", &[y], Tolerance::SUMMED))
}
