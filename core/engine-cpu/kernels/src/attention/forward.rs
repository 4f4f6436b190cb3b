//! The result.

use std::{marker::PhantomData, ops::Range};

use rayon::prelude::*;

use super::{
    HeadsMut, Inputs, Shape,
    ahead::Ahead,
    block_rows,
    pack::{self, Pointer, Source},
    product::{Lefts, Packed, Target, WIDTH, contract, outer, words_room},
    softmax,
};
use crate::{
    factors::Kind,
    shared::Scratch,
    simd::{Isa, Kernel, Simd},
};

/// From so many matrices on, each is computed by one thread.
const MANY: usize = 64;
/// Operations of a task, about.
const TASK_FLOPS: u64 = 4 << 20;

pub fn run<K: Kind>(isa: Isa, inputs: &Inputs<'_>, out: &HeadsMut<'_>) {
    let shape = inputs.shape;
    if shape.count == 0 || shape.queries == 0 {
        return;
    }
    if shape.count < MANY {
        // Rows do not depend on each other, so it makes no difference who computes them.
        let rows = block_rows(shape);
        let blocks = shape.queries.div_ceil(rows);
        (0..shape.count * blocks).into_par_iter().for_each(|i| {
            let (index, first) = (i / blocks, i % blocks * rows);
            let rows = first..shape.queries.min(first + rows);
            isa.run(Matrices::<K> { inputs, out, indices: index..index + 1, rows, kind: PhantomData });
        });
        return;
    }
    let each = matrices_of_a_task(shape);
    (0..shape.count.div_ceil(each)).into_par_iter().for_each(|task| {
        let indices = task * each..shape.count.min((task + 1) * each);
        isa.run(Matrices::<K> { inputs, out, indices, rows: 0..shape.queries, kind: PhantomData });
    });
}

/// Enough of them to be worth a task.
pub fn matrices_of_a_task(shape: Shape) -> usize {
    let flops = Shape { count: 1, ..shape }.flops();
    (TASK_FLOPS / flops.max(1)).clamp(1, 64) as usize
}

/// Some rows of some matrices.
struct Matrices<'a, K> {
    inputs: &'a Inputs<'a>,
    out: &'a HeadsMut<'a>,
    indices: Range<usize>,
    rows: Range<usize>,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Matrices<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Matrices { inputs, out, indices, rows, .. } = self;
        let shape = inputs.shape;
        let (block, stride) = (block_rows(shape), pack::stride::<S>(shape.keys));
        let mut keys = Scratch::new(shape.width.min(WIDTH) * stride);
        let mut values = Scratch::new(shape.keys * pack::stride::<S>(shape.value_width.min(WIDTH)));
        let mut weights = Scratch::new(block * stride);
        let mut factors = Scratch::new(block);
        let wide = shape.width.min(WIDTH);
        let room = words_room::<K, S>(block.max(shape.keys), wide).max(words_room::<K, S>(block, shape.keys));
        let mut words = Scratch::new(room);
        let apart = pack::stride::<S>(shape.value_width);
        let mut result = out.room(block, apart);
        for index in indices {
            // Tasks are taken one after the other, mostly.
            let next = Some(index + 1).filter(|&next| next < shape.count);
            let (calls, width) = (rows.len(), shape.value_width);
            let mut ahead = [
                Ahead::new(&inputs.q, next, (shape.queries, shape.width), calls),
                Ahead::new(&inputs.k, next, (shape.keys, shape.width), calls),
                Ahead::new(&inputs.v, next, (shape.keys, width), calls),
                Ahead::of_result(Some(out), next, (shape.queries, width), calls),
            ];
            for first in rows.clone().step_by(block) {
                let count = block.min(rows.end - first);
                // What fits at once stays packed for the next block.
                let fresh = first == rows.start;
                // SAFETY: the matrices have been checked, and the scratch has room for a block; nobody else writes these rows.
                unsafe {
                    let packed = Packed { right: &mut keys, words: &mut words };
                    let queries = inputs.queries(index, first, count);
                    outer::<K, S>(s, inputs.scale, queries, inputs.keys(index), fresh, packed, &mut weights);
                    weigh(s, inputs, index, (first, count), &mut ahead, &mut weights, &mut factors);
                    let (data, stride) = out.target(index, first, &mut result, apart);
                    let target = Target { data, stride, factors: factors.as_ptr(), factor_step: 1, add: false };
                    let left = Source {
                        data: Pointer::F32(weights.as_ptr()),
                        stride: pack::stride::<S>(shape.keys),
                        rows: count,
                        columns: shape.keys,
                    };
                    let packed = Packed { right: &mut values, words: &mut words };
                    contract::<K, S>(s, Lefts::Plain(left), inputs.values(index), fresh, packed, target);
                    out.done(s, index, (first, count), shape.value_width, &result, apart);
                }
            }
        }
    }
}

/// Scores to exponentials; `factors` make probabilities of them.
///
/// # Safety
/// The matrices have been checked; `scores` and `factors` have room for the rows.
#[inline(always)]
unsafe fn weigh<S: Simd>(
    s: S,
    inputs: &Inputs<'_>,
    index: usize,
    rows: (usize, usize),
    ahead: &mut [Ahead],
    scores: &mut [f32],
    factors: &mut [f32],
) {
    let keys = inputs.shape.keys;
    let stride = pack::stride::<S>(keys);
    for (i, factor) in factors[..rows.1].iter_mut().enumerate() {
        // SAFETY: the caller's promises.
        unsafe {
            let row = scores.as_mut_ptr().add(i * stride);
            ahead.iter_mut().for_each(Ahead::wish);
            let bias = inputs.bias_row(index, rows.0 + i);
            let sum = softmax::exponentials(s, row, keys, bias);
            // Without keys there is nothing to divide.
            *factor = if keys == 0 { 1.0 } else { 1.0 / sum };
        }
    }
}
