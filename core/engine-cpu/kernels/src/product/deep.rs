//! Products whose contraction is long: gradients of weights, summed over all tokens.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::{Along, Job, Side, ahead::Ahead, pack};
use crate::{
    factors::Kind,
    shared::{Scratch, SharedMut},
    simd::{Kernel, Simd},
    tile::{Right, Target, TileSize, product},
};

/// Words of the contraction that are packed at once.
pub const DEPTH: usize = 256;
/// Elements of a result up to which each piece of the contraction has sums of its own.
const OWN_SUMS: usize = 1 << 18;
/// Steps that a piece is a multiple of.
const EVEN: usize = 32;
/// Numbers that are packed at once, if that makes [`MANY`] steps.
const NEAR: usize = 1 << 17;
const MANY: usize = 128;
/// Pieces of the contraction, at most.
const PIECES: usize = 8;

#[inline(always)]
pub fn multiply<K: Kind, S: Simd>(job: &Job<'_>, c: SharedMut<'_, f32>) {
    let size = job.size;
    let elements = size.m * size.n;
    if elements == 0 {
        return;
    }
    // By shape alone: how sums are grouped decides their last bits.
    let pieces = if elements <= OWN_SUMS { (size.k / (2 * DEPTH)).clamp(1, PIECES) } else { 1 };
    if pieces == 1 {
        // Threads take rows of the result; each packs all of the right side, so there are no more than threads.
        let tile = TileSize::of::<S>().rows;
        let rows = size.m.div_ceil(rayon::current_num_threads()).next_multiple_of(tile);
        (0..size.m.div_ceil(rows)).into_par_iter().for_each(|block| {
            let first = block * rows;
            let rows = rows.min(size.m - first);
            // SAFETY: these rows are this task's alone.
            let c = unsafe { c.part(first * size.n, rows * size.n) };
            S::ISA.run(Piece { job, kind: PhantomData::<K>, steps: (0, size.k), rows: (first, rows), add: job.add, c });
        });
        return;
    }
    let steps = size.k.div_ceil(pieces).next_multiple_of(EVEN);
    let pieces = size.k.div_ceil(steps);
    let mut sums = Scratch::new(pieces * elements);
    sums.par_chunks_mut(elements).enumerate().for_each(|(i, c)| {
        let from = i * steps;
        let steps = (from, steps.min(size.k - from));
        S::ISA.run(Piece { job, kind: PhantomData::<K>, steps, rows: (0, size.m), add: false, c });
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

/// Some steps of the contraction, for some rows of the result.
struct Piece<'a, K> {
    job: &'a Job<'a>,
    kind: PhantomData<K>,
    /// First and number.
    steps: (usize, usize),
    rows: (usize, usize),
    add: bool,
    c: &'a mut [f32],
}

impl<K: Kind> Kernel for Piece<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Piece { job, kind: _, steps: (start, steps), rows: (top, count), add, c } = self;
        let (n, tile, width) = (job.size.n, TileSize::of::<S>().rows, TileSize::columns::<S>());
        // Parts that are alike. While one is multiplied the next is fetched, and the second cache holds both.
        let near = (NEAR / (job.size.m + n)).next_multiple_of(EVEN).max(MANY);
        let most = near.min(DEPTH * K::steps::<S>());
        let most = steps.div_ceil(steps.div_ceil(most)).next_multiple_of(EVEN);
        let mut room = Scratch::new(pack::room::<K, S>(count, most));
        let mut packed = Scratch::new(n.next_multiple_of(width) * K::words::<S>(most));
        for from in (0..steps).step_by(most) {
            let depth = most.min(steps - from);
            let words = K::words::<S>(depth);
            let staged = pack::rows::<K, S>(s, &job.a, top, count, start + from, depth, &mut room);
            pack::panels::<K, S>(s, &job.b, n, start + from, depth, &mut packed);
            // The contraction streams through memory: the next steps are fetched while these are summed.
            let next = (start + from + depth, most.min(steps - from - depth));
            let mut wishes =
                [Ahead::new(job.a, ahead(job.a, next), (top, count)), Ahead::new(job.b, ahead(job.b, next), (0, n))];
            for column in (0..n).step_by(width) {
                let right = Right { data: packed[column * words..].as_ptr(), stride: width };
                for first in (0..count).step_by(tile) {
                    let rows = tile.min(count - first);
                    let target = Target {
                        data: c[first * n + column..].as_mut_ptr(),
                        stride: n,
                        columns: width.min(n - column),
                        add: add || from > 0,
                        bias: std::ptr::null(),
                    };
                    // SAFETY: the tile was staged, the panel packed, and the target lies within c.
                    unsafe { product::<K, S>(s, rows, words, staged.tile(first / tile), right, target, &mut wishes) };
                }
            }
        }
    }
}

/// Steps to fetch ahead; none of a side whose rows run the other way, which the processor fetches ahead by itself.
fn ahead(side: Side<'_>, steps: (usize, usize)) -> (usize, usize) {
    if side.along == Along::Contracted { steps } else { (0, 0) }
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
