//! max_pool, its adjoint, and avg_pool.

use fer_graph::{Attributes, GraphError};
use proptest::prelude::*;

use super::{emit, seed};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: [usize; 4],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let pair = |range: std::ops::Range<usize>| (range.clone(), range).prop_map(|(a, b)| [a, b]);
    (pair(1..3), pair(1..7), pair(1..5), pair(1..5), any::<bool>(), seed()).prop_map(
        |([n, c], input, kernel, stride, padded, seed)| {
            let padding = kernel.map(|k| if padded { k / 2 } else { 0 });
            let grown = |a: usize| input[a].max(kernel[a].saturating_sub(2 * padding[a])).max(1);
            Case { shape: [n, c, grown(0), grown(1)], kernel, stride, padding, seed }
        },
    )
}

impl Case {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn attributes(&self) -> Attributes {
        Attributes::new()
            .with("kernel_size", self.kernel.as_slice())
            .with("stride", self.stride.as_slice())
            .with("padding", self.padding.as_slice())
    }
}

pub fn families() -> Vec<Family> {
    let edge = Case { shape: [1, 2, 5, 5], kernel: [3, 3], stride: [2, 2], padding: [1, 1], seed: 1 };
    let apart = Case { kernel: [2, 2], stride: [3, 3], padding: [0, 0], ..edge };
    vec![
        Family::new("max_pool", case().prop_map(max_pool), vec![tied(edge), tied(apart), odd(edge)]),
        Family::new("max_pool_grad", case().prop_map(max_pool_grad), vec![max_pool_grad(edge), max_pool_grad(apart)]),
        Family::new("avg_pool", case().prop_map(avg_pool), vec![avg_pool(edge), avg_pool(apart)]),
    ]
}

fn max_pool(case: Case) -> Result<Problem, GraphError> {
    let mut d = Draft::new(case.seed);
    let x = d.input("x", &case.shape, Draw::Distinct)?;
    let y = d.b.max_pool(x, case.kernel, case.stride, case.padding)?;
    Ok(d.finish("max_pool", &[y], Tolerance::EXACT))
}

/// The gradient of a tie goes to the first element.
fn tied(case: Case) -> Result<Problem, GraphError> {
    let mut d = Draft::new(case.seed);
    let numbers = (0..case.count()).map(|_| d.random().below(2) as f64 - 1.0).collect();
    let x = d.differentiated("x", &case.shape, numbers)?;
    let y = d.b.max_pool(x, case.kernel, case.stride, case.padding)?;
    Ok(d.finish("max_pool", &[y], Tolerance::EXACT))
}

/// Minus infinities are not padding, NaN wins.
fn odd(case: Case) -> Result<Problem, GraphError> {
    let mut d = Draft::new(case.seed);
    let choices = [f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY, 1.0, f64::NAN];
    let numbers = (0..case.count()).map(|_| choices[d.random().below(5)]).collect();
    let x = d.fixed("x", &case.shape, numbers)?;
    let y = d.b.max_pool(x, case.kernel, case.stride, case.padding)?;
    Ok(d.finish("max_pool", &[y], Tolerance::EXACT))
}

fn max_pool_grad(case: Case) -> Result<Problem, GraphError> {
    let mut d = Draft::new(case.seed);
    let numbers = (0..case.count()).map(|_| d.random().below(4) as f64).collect();
    let x = d.fixed("x", &case.shape, numbers)?;
    let y = d.b.max_pool(x, case.kernel, case.stride, case.padding)?;
    let shape = d.b.shape(y);
    let numbers = d.random().draw(shape.iter().product(), Draw::Any);
    let g = d.fixed("cotangent", &shape, numbers)?;
    let result = emit(&d.b, "max_pool_grad", &[x, g], case.attributes())?;
    Ok(d.finish("max_pool_grad", &[result], Tolerance::SUMMED))
}

fn avg_pool(case: Case) -> Result<Problem, GraphError> {
    let mut d = Draft::new(case.seed);
    let x = d.input("x", &case.shape, Draw::Any)?;
    let y = d.b.avg_pool(x, case.kernel, case.stride, case.padding)?;
    Ok(d.finish("avg_pool", &[y], Tolerance::SUMMED))
}
