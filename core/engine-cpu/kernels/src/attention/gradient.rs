//! The gradients of some rows of some matrices.

use std::{marker::PhantomData, ops::Range};

use super::{
    Heads, HeadsMut, Inputs,
    ahead::Ahead,
    block_rows,
    pack::{self, Pointer, Source},
    product::{Lefts, Packed, Target, WIDTH, contract, outer, words_room},
    softmax,
};
use crate::{
    factors::Kind,
    shared::{Scratch, SharedMut},
    simd::{Kernel, Simd},
};

/// What all tasks share.
pub struct Job<'a> {
    pub inputs: &'a Inputs<'a>,
    pub grad_out: Heads<'a>,
    pub q: Option<&'a HeadsMut<'a>>,
    pub k: Option<&'a HeadsMut<'a>>,
    pub v: Option<&'a HeadsMut<'a>>,
    /// Tasks that share a matrix, each with rows of its own.
    pub parts: usize,
    /// `[count, parts, keys, stride]`, where there is more than one part.
    pub key_sums: SharedMut<'a, f32>,
    pub value_sums: SharedMut<'a, f32>,
    /// `[runs, queries, stride]`; empty where nobody wants the gradient of the bias.
    pub bias_sums: SharedMut<'a, f32>,
}

/// Rows `rows` of the matrices that `members` has in its lower halves. Nobody else has the same run and part.
pub struct Matrices<'a, K> {
    pub job: &'a Job<'a>,
    pub run: usize,
    pub members: &'a [u64],
    pub part: usize,
    pub rows: Range<usize>,
    pub kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Matrices<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Matrices { job, run, members, part, rows, .. } = self;
        let shape = job.inputs.shape;
        let block = block_rows(shape);
        let stride = pack::stride::<S>(shape.keys);
        let mut scratch = Pieces {
            keys: Scratch::new(shape.width.min(WIDTH) * stride),
            values: Scratch::new(shape.value_width.min(WIDTH) * stride),
            plain: Scratch::new(
                shape.keys.max(block) * pack::stride::<S>(shape.width.max(shape.value_width).min(WIDTH)),
            ),
            weights: Scratch::new(block * stride),
            grads: Scratch::new(block * stride),
            words: Scratch::new(
                words_room::<K, S>(block.max(shape.keys), shape.width.max(shape.value_width).min(WIDTH))
                    .max(words_room::<K, S>(block, shape.keys)),
            ),
            of_q: room::<S>(job.q, block, shape.width),
            of_k: room::<S>(job.k.filter(|_| job.parts == 1), shape.keys, shape.width),
            of_v: room::<S>(job.v.filter(|_| job.parts == 1), shape.keys, shape.value_width),
        };
        let index = |member: &u64| (member & 0xffff_ffff) as usize;
        for (n, member) in members.iter().enumerate() {
            let (index, next) = (index(member), members.get(n + 1).map(index));
            let (calls, width) = (rows.len(), shape.value_width);
            let mut ahead = [
                Ahead::new(&job.inputs.q, next, (shape.queries, shape.width), calls),
                Ahead::new(&job.inputs.k, next, (shape.keys, shape.width), calls),
                Ahead::new(&job.inputs.v, next, (shape.keys, width), calls),
                Ahead::new(&job.grad_out, next, (shape.queries, width), calls),
                Ahead::of_result(job.q, next, (shape.queries, shape.width), calls),
                Ahead::of_result(job.k, next, (shape.keys, shape.width), calls),
                Ahead::of_result(job.v, next, (shape.keys, width), calls),
            ];
            // Once even without rows: sums over them are 0 then.
            for first in (rows.start..rows.end.max(rows.start + 1)).step_by(block) {
                let count = block.min(rows.end - first);
                let biases = match job.bias_sums.is_empty() {
                    true => std::ptr::null_mut(),
                    false => job.bias_sums.at((run * shape.queries + first) * stride, count * stride),
                };
                let last = first + block >= rows.end;
                let step = Step { index, first, count, fresh: first == rows.start, last, biases, add: n > 0 };
                // SAFETY: the matrices have been checked; this task alone has these rows of dq and of the bias' sums, and these
                // sums of dk and dv.
                unsafe { gradients::<K, S>(s, job, &step, part, &mut ahead, &mut scratch) };
            }
        }
    }
}

/// A block of rows.
struct Step {
    index: usize,
    first: usize,
    count: usize,
    /// The first of its matrix.
    fresh: bool,
    /// The last of its matrix.
    last: bool,
    /// Sums of the gradient of the bias for these rows; null for none.
    biases: *mut f32,
    /// Whether there are such sums yet.
    add: bool,
}

struct Pieces {
    /// Keys and values, transposed.
    keys: Scratch,
    values: Scratch,
    /// One matrix at a time, as it is.
    plain: Scratch,
    /// Probabilities, and their gradients.
    weights: Scratch,
    grads: Scratch,
    /// Factors that are rounded, before and after they are turned.
    words: Scratch,
    /// Results that are rounded when they are done, until then: rows of dq, and whole dk and dv.
    of_q: Scratch,
    of_k: Scratch,
    of_v: Scratch,
}

/// Room for rows of a result, where it needs some.
fn room<S: Simd>(heads: Option<&HeadsMut<'_>>, rows: usize, width: usize) -> Scratch {
    heads.map_or_else(|| Scratch::new(0), |heads| heads.room(rows, pack::stride::<S>(width)))
}

/// # Safety
/// The matrices have been checked; nobody else has these rows, or this part.
#[inline(always)]
unsafe fn gradients<K: Kind, S: Simd>(
    s: S,
    job: &Job<'_>,
    step: &Step,
    part: usize,
    ahead: &mut [Ahead],
    scratch: &mut Pieces,
) {
    let inputs = job.inputs;
    let Step { index, first, count, fresh, last, biases, add } = *step;
    let Pieces { keys, values, plain, weights, grads, words, of_q, of_k, of_v } = scratch;
    let (shape, stride) = (inputs.shape, pack::stride::<S>(inputs.shape.keys));
    // SAFETY: the caller's promises; the scratch has room for a block.
    unsafe {
        let queries = inputs.queries(index, first, count);
        let given = job.grad_out.rows(index, (first, count), shape.value_width);
        let packed = Packed { right: keys, words };
        outer::<K, S>(s, inputs.scale, queries, inputs.keys(index), fresh, packed, weights);
        let packed = Packed { right: values, words };
        outer::<K, S>(s, 1.0, given, inputs.values(index), fresh, packed, grads);
        for i in 0..count {
            ahead.iter_mut().for_each(Ahead::wish);
            let (row, grad) = (weights.as_mut_ptr().add(i * stride), grads.as_mut_ptr().add(i * stride));
            let sums = if biases.is_null() { biases } else { biases.add(i * stride) };
            softmax::with_gradient(s, row, grad, shape.keys, inputs.bias_row(index, first + i), sums, add);
        }

        if let Some(to) = job.v {
            let target = sums::<S>(job, to, &job.value_sums, (index, part), shape.value_width, of_v);
            let target = Target { add: !fresh, ..target };
            let left = Source { data: Pointer::F32(weights.as_ptr()), stride, rows: count, columns: shape.keys };
            contract::<K, S>(s, Lefts::Turned(left), given, true, Packed { right: plain, words }, target);
            if last && job.parts == 1 {
                to.done(s, index, (0, shape.keys), shape.value_width, of_v, pack::stride::<S>(shape.value_width));
            }
        }
        if let Some(to) = job.q {
            let apart = pack::stride::<S>(shape.width);
            let (data, distance) = to.target(index, first, of_q, apart);
            let target = Target { data, stride: distance, factors: &inputs.scale, factor_step: 0, add: false };
            let left = Source { data: Pointer::F32(grads.as_ptr()), stride, rows: count, columns: shape.keys };
            let packed = Packed { right: plain, words };
            contract::<K, S>(s, Lefts::Plain(left), inputs.keys(index), true, packed, target);
            to.done(s, index, (first, count), shape.width, of_q, apart);
        }
        if let Some(to) = job.k {
            let target = sums::<S>(job, to, &job.key_sums, (index, part), shape.width, of_k);
            let target = Target { add: !fresh, factors: &inputs.scale, ..target };
            let left = Source { data: Pointer::F32(grads.as_ptr()), stride, rows: count, columns: shape.keys };
            contract::<K, S>(s, Lefts::Turned(left), queries, true, Packed { right: plain, words }, target);
            if last && job.parts == 1 {
                to.done(s, index, (0, shape.keys), shape.width, of_k, pack::stride::<S>(shape.width));
            }
        }
    }
}

/// Where dk or dv of a matrix goes: to the result, by `room` if need be, or to sums of this part.
///
/// # Safety
/// There are this matrix and this part.
#[inline(always)]
unsafe fn sums<S: Simd>(
    job: &Job<'_>,
    to: &HeadsMut<'_>,
    parts: &SharedMut<'_, f32>,
    (index, part): (usize, usize),
    width: usize,
    room: &mut [f32],
) -> Target {
    let stride = pack::stride::<S>(width);
    let (data, stride) = if job.parts == 1 {
        // SAFETY: the caller's promise.
        unsafe { to.target(index, 0, room, stride) }
    } else {
        let size = job.inputs.shape.keys * stride;
        (parts.at((index * job.parts + part) * size, size), stride)
    };
    Target { data, stride, factors: &1.0, factor_step: 0, add: false }
}
