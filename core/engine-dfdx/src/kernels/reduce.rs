//! reduce_sum and reduce_max. Axes that stand side by side are reduced together, as the middle of `[outer, r, inner]`.

use super::{Kernel, Site, elementwise::larger, operands};
use crate::{
    buffer::Buffer,
    chunks::{CHUNK, in_pieces},
    element::{Element, Product},
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
            x => staged(x, count, &stages, sum),
        }
    })
}

/// Stage after stage.
fn staged<E: Element>(x: Value<E>, count: usize, stages: &[Stage], reduce: fn(&[E], Stage) -> Buffer<E>) -> Value<E> {
    let x = x.shared(count);
    let Some((first, rest)) = stages.split_first() else { return Value::Dense(x) };
    Value::dense(rest.iter().fold(reduce(&x, *first), |x, stage| reduce(&x, *stage)))
}

/// As a product with ones: dfdx's own sum adds one element after the other, which is slower than its matrix product and loses
/// more digits of a long f32 sum. Blocks too small to be worth a product are summed the plain way.
fn sum<E: Element>(x: &[E], Stage { outer, r, inner }: Stage) -> Buffer<E> {
    let mut sums = Buffer::scratch(outer * inner);
    let ones = Buffer::filled(r, E::of(1.0));
    let product = Product { batch: 1, m: 1, k: r, n: 1, lhs_transposed: false, rhs_transposed: false };
    let block = r * inner;
    if inner == 1 && r >= 16 {
        in_pieces(&mut sums, CHUNK.div_ceil(r), |at, sums| {
            E::matmul(&x[at * r..][..sums.len() * r], &ones, Product { m: sums.len(), ..product }, sums);
        });
    } else if block >= CHUNK / 2 {
        in_pieces(&mut sums, inner, |at, sums| {
            E::matmul(&ones, &x[at * r..][..block], Product { n: inner, ..product }, sums);
        });
    } else {
        in_pieces(&mut sums, inner * CHUNK.div_ceil(block), |at, sums| {
            E::sum(&x[at * r..][..sums.len() * r], sums.len() / inner, r, inner, sums);
        });
    }
    sums
}

pub fn reduce_max<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let count = site.ty(0).elements();
    let stages = stages(site.shape(0), &site.attributes().sizes("axes"));
    Box::new(move |v| {
        let [x] = operands(v);
        match x {
            Value::Splat(x) => Value::Splat(x),
            x => staged(x, count, &stages, max),
        }
    })
}

/// Plain, since dfdx's maximum overlooks NaN. The order of comparisons does not matter.
fn max<E: Element>(x: &[E], Stage { outer, r, inner }: Stage) -> Buffer<E> {
    let mut top = Buffer::scratch(outer * inner);
    in_pieces(&mut top, inner * CHUNK.div_ceil(r * inner), |at, top| {
        for (top, block) in top.chunks_exact_mut(inner).zip(x[at * r..].chunks_exact(r * inner)) {
            if inner == 1 {
                top[0] = block.iter().copied().fold(block[0], larger);
                continue;
            }
            top.copy_from_slice(&block[..inner]);
            for row in block[inner..].chunks_exact(inner) {
                top.iter_mut().zip(row).for_each(|(t, v)| *t = larger(*t, *v));
            }
        }
    });
    top
}
