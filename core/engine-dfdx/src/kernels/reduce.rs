//! reduce_sum and reduce_max. Axes that stand side by side are reduced together, as the middle of `[outer, r, inner]`.

use rayon::prelude::*;

use super::{Kernel, Site, elementwise::larger, operands};
use crate::{
    element::{Element, Flat, Product},
    value::Value,
};

/// One reduction of the middle axis.
#[derive(Clone, Copy, Debug)]
struct Stage {
    outer: usize,
    r: usize,
    inner: usize,
}

/// Runs of neighbouring axes, from the last to the first; axes of size 1 belong to no run.
fn stages(shape: &[usize], axes: &[usize]) -> Vec<Stage> {
    let mut sizes: Vec<(usize, bool)> = vec![];
    for (axis, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
        let reduced = axes.contains(&axis);
        match sizes.last_mut() {
            Some((so_far, same)) if *same == reduced => *so_far *= size,
            _ => sizes.push((size, reduced)),
        }
    }
    let mut stages = vec![];
    let mut inner = 1;
    for i in (0..sizes.len()).rev() {
        let (size, reduced) = sizes[i];
        if reduced {
            let outer = sizes[..i].iter().map(|(n, _)| n).product();
            stages.push(Stage { outer, r: size, inner });
        } else {
            inner *= size;
        }
    }
    stages
}

pub fn reduce_sum<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let count = site.ty(0).elements();
    let summed = count / site.result().elements();
    let stages = stages(site.shape(0), &site.attributes().sizes("axes"));
    Box::new(move |v| {
        let [x] = operands(v);
        match x {
            Value::Splat(x) => Value::Splat(E::of(x.get() * summed as f64)),
            x => from_tensor(stages.iter().fold(x.tensor(count), |x, stage| sum(x, *stage))),
        }
    })
}

fn from_tensor<E: Element>(x: Flat<E>) -> Value<E> {
    let values = E::copy(&x);
    match values.as_slice() {
        [one] => Value::Splat(*one),
        _ => Value::Dense(x),
    }
}

/// As a product with ones: dfdx's own sum walks column by column, one add after the other, which is several times slower
/// than its matrix product and loses more digits of a long f32 sum.
fn sum<E: Element>(x: Flat<E>, Stage { outer, r, inner }: Stage) -> Flat<E> {
    let ones = E::tensor(vec![E::of(1.0); r]);
    let shape = Product { batch: 1, m: outer, k: r, n: 1, lhs_transposed: false, rhs_transposed: false };
    match (outer, inner) {
        (_, 1) => E::matmul(x, ones, shape),
        (1, _) => E::matmul(ones, x, Product { m: 1, n: inner, ..shape }),
        _ => E::sum(x, outer, r, inner),
    }
}

pub fn reduce_max<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let count = site.ty(0).elements();
    let stages = stages(site.shape(0), &site.attributes().sizes("axes"));
    Box::new(move |v| {
        let [x] = operands(v);
        match x {
            Value::Splat(x) => Value::Splat(x),
            x => {
                let values = x.floats(count);
                drop(x);
                Value::dense(stages.iter().fold(values, |x, stage| max(&x, *stage)))
            }
        }
    })
}

/// Plain, since dfdx's maximum overlooks NaN. The order of comparisons does not matter, so threads may share it.
fn max<E: Element>(x: &[E], Stage { r, inner, .. }: Stage) -> Vec<E> {
    x.par_chunks(r * inner)
        .with_min_len((1usize << 14).div_ceil(r * inner))
        .flat_map_iter(|block| {
            let mut top = block[..inner].to_vec();
            for row in block[inner..].chunks_exact(inner) {
                top.iter_mut().zip(row).for_each(|(t, v)| *t = larger(*t, *v));
            }
            top
        })
        .collect()
}
