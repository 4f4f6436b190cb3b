//! Products of many rows.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    Tall,
    pack::{self, Staged},
};
use crate::{
    shared::Scratch,
    simd::{Kernel, Simd},
    tile::{Right, Target, TileSize, product},
};

/// What is done with rows of the result as soon as they are there: their range, and where they stand, dense.
pub type Finish<'a> = &'a (dyn Fn(Range<usize>, &mut [f32]) + Sync);

/// Steps of the contraction that are taken at once: a panel of the right side then fills half of the first cache.
const DEPTH: usize = 256;
/// Rows of a block, at most: with `DEPTH` steps they fill a quarter of a usual second cache.
const ROWS: usize = 224;

#[inline(always)]
pub fn multiply<S: Simd>(job: &Tall<'_>) {
    let (size, width) = (job.size, TileSize::columns::<S>());
    if size.m == 0 || size.n == 0 {
        return;
    }
    let panels = size.n.div_ceil(width);
    let mut packed = Scratch::new(panels * width * size.k);
    packed.par_chunks_mut((width * size.k).max(1)).enumerate().for_each(|(p, to)| {
        S::ISA.run(Pack { job, column: p * width, to });
    });
    let mut bias = Scratch::new(if job.bias.is_some() { panels * width } else { 0 });
    if let Some(given) = job.bias {
        bias[..size.n].copy_from_slice(given);
        bias[size.n..].fill(0.0);
    }
    let (packed, bias) = (&*packed, &*bias);
    let rows = block_rows::<S>(size.m);
    (0..size.m.div_ceil(rows)).into_par_iter().for_each(|block| {
        let first = block * rows;
        let range = first..size.m.min(first + rows);
        S::ISA.run(Block { job, packed, bias, range });
    });
}

/// Blocks are alike and as many as threads, or a multiple: rows do not depend on each other, so this changes no bit.
fn block_rows<S: Simd>(m: usize) -> usize {
    let threads = rayon::current_num_threads();
    let tile = TileSize::of::<S>().rows;
    let blocks = m.div_ceil(ROWS).next_multiple_of(threads);
    m.div_ceil(blocks).next_multiple_of(tile)
}

struct Pack<'a> {
    job: &'a Tall<'a>,
    column: usize,
    to: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        pack::panel(s, &self.job.b, self.job.size.n, self.column, 0, self.job.size.k, self.to);
    }
}

struct Block<'a> {
    job: &'a Tall<'a>,
    packed: &'a [f32],
    bias: &'a [f32],
    range: Range<usize>,
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Block { job, packed, bias, range } = self;
        let (size, count) = (job.size, range.len());
        let mut own = Scratch::new(if job.c.is_none() { count * size.n } else { 0 });
        let c = match job.c {
            Some(c) => c.at(range.start * size.n, count * size.n),
            None => own.as_mut_ptr(),
        };
        let mut room = Scratch::new(pack::room::<S>(count, size.k.min(DEPTH)));
        let mut from = 0;
        loop {
            let depth = DEPTH.min(size.k - from);
            let staged = pack::rows(s, &job.a, range.start, count, from, depth, &mut room);
            let last = from + depth == size.k;
            let step = Step { from, depth, add: job.add || from > 0, bias: if last { bias } else { &[] } };
            // SAFETY: the block's rows of c are this task's alone.
            unsafe { block(s, size.n, size.k, count, packed, staged, step, c) };
            from += depth;
            if last {
                break;
            }
        }
        if let Some(finish) = job.finish {
            // SAFETY: these rows are this task's alone, and all of them have been written.
            let rows = unsafe { std::slice::from_raw_parts_mut(c, count * size.n) };
            finish(range, rows);
        }
    }
}

/// A piece of the contraction.
struct Step<'a> {
    from: usize,
    depth: usize,
    add: bool,
    bias: &'a [f32],
}

/// # Safety
/// `c` is valid for `count` rows of `n`, which nobody else touches; `staged` holds `count` rows.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the innermost loops, without a struct to build for each")]
unsafe fn block<S: Simd>(
    s: S,
    n: usize,
    k: usize,
    count: usize,
    packed: &[f32],
    staged: Staged,
    step: Step<'_>,
    c: *mut f32,
) {
    let (tile, width) = (TileSize::of::<S>().rows, TileSize::columns::<S>());
    for column in (0..n).step_by(width) {
        let panel = &packed[column * k + step.from * width..][..step.depth * width];
        let right = Right { data: panel.as_ptr(), stride: width };
        let bias = if step.bias.is_empty() { std::ptr::null() } else { step.bias[column..column + width].as_ptr() };
        for first in (0..count).step_by(tile) {
            let rows = tile.min(count - first);
            // SAFETY: the caller's promises; the panel holds `depth` rows of a tile.
            unsafe {
                let target = Target {
                    data: c.add(first * n + column),
                    stride: n,
                    columns: width.min(n - column),
                    add: step.add,
                    bias,
                };
                product(s, rows, step.depth, staged.tile(first / tile, rows), right, target);
            }
        }
    }
}

/// One of several products, on one thread.
#[inline(always)]
pub fn multiply_alone<S: Simd>(s: S, job: &Tall<'_>) {
    let (size, width) = (job.size, TileSize::columns::<S>());
    let mut packed = Scratch::new(size.n.next_multiple_of(width) * size.k);
    for column in (0..size.n).step_by(width) {
        pack::panel(s, &job.b, size.n, column, 0, size.k, &mut packed[column * size.k..]);
    }
    for first in (0..size.m).step_by(ROWS) {
        let range = first..size.m.min(first + ROWS);
        Block { job, packed: &packed, bias: &[], range }.run(s);
    }
}
