//! Products whose contraction is long: gradients of weights, summed over all tokens.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::{
    Job,
    part::{self, DEPTH, EVEN, Part},
};
use crate::{
    factors::Kind,
    shared::{Scratch, SharedMut},
    simd::{Kernel, Simd},
};

/// Elements of a result up to which pieces of a long contraction have sums of their own.
const OWN_SUMS: usize = 1 << 18;
/// Such pieces.
const PIECES: usize = 8;

#[inline(always)]
pub fn multiply<K: Kind, S: Simd>(job: &Job<'_>, c: SharedMut<'_, f32>) {
    let size = job.size;
    let elements = size.m * size.n;
    if elements == 0 {
        return;
    }
    // By shape alone: how sums are grouped decides their last bits.
    if elements > OWN_SUMS || size.k < 2 * DEPTH * PIECES {
        part::multiply::<K, S>(job, c);
        return;
    }
    let steps = size.k.div_ceil(PIECES).next_multiple_of(EVEN);
    let pieces = size.k.div_ceil(steps);
    let mut sums = Scratch::new(pieces * elements);
    sums.par_chunks_mut(elements).enumerate().for_each(|(i, c)| {
        let from = i * steps;
        let part = Part {
            job,
            kind: PhantomData::<K>,
            rows: (0, size.m),
            columns: (0, size.n),
            steps: (from, steps.min(size.k - from)),
            add: false,
            c: SharedMut::new(c),
        };
        S::ISA.run(part);
    });
    let sums = &*sums;
    let share = elements.div_ceil(4 * rayon::current_num_threads());
    (0..elements.div_ceil(share)).into_par_iter().for_each(|i| {
        let at = i * share;
        // SAFETY: these elements are this task's alone.
        let c = unsafe { c.part(at, share.min(elements - at)) };
        S::ISA.run(Sum { sums, elements, at, add: job.add, c });
    });
}

/// Adds the pieces' sums, in order.
struct Sum<'a> {
    sums: &'a [f32],
    elements: usize,
    at: usize,
    add: bool,
    c: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sum { sums, elements, at, add, c } = self;
        for i in (0..c.len()).step_by(S::LANES) {
            let count = S::LANES.min(c.len() - i);
            // SAFETY: `count` elements are left in c and in each piece's sums.
            unsafe {
                let to = c.as_mut_ptr().add(i);
                let mut sum = if add { s.load_first(to, count) } else { s.splat(0.0) };
                for piece in sums.chunks_exact(elements) {
                    sum = s.add(sum, s.load_first(piece.as_ptr().add(at + i), count));
                }
                s.store_first(to, sum, count);
            }
        }
    }
}
