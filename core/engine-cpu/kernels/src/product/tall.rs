//! Products of many rows.

use std::{marker::PhantomData, ops::Range};

use rayon::prelude::*;

use super::{
    Along, Job,
    ahead::Ahead,
    pack::{self, Staged},
};
use crate::{
    factors::Kind,
    shared::Scratch,
    simd::{Kernel, Simd},
    tile::{Right, Target, TileSize, product},
};

/// What is done with rows of the result as soon as they are there: their range, and where they stand, dense.
pub type Finish<'a> = &'a (dyn Fn(Range<usize>, &mut [f32]) + Sync);

/// Words of the contraction that are taken at once: a panel of the right side then fills half of the first cache.
const DEPTH: usize = 256;
/// Rows of a block, at most: with `DEPTH` words they fill a quarter of a usual second cache.
const ROWS: usize = 224;
/// Words of the right side that a usual second cache keeps beside a block.
const NEAR: usize = 1 << 16;

#[inline(always)]
pub fn multiply<K: Kind, S: Simd>(job: &Job<'_>) {
    let (size, width) = (job.size, TileSize::columns::<S>());
    if size.m == 0 || size.n == 0 {
        return;
    }
    let panels = size.n.div_ceil(width);
    let words = K::words::<S>(size.k);
    let mut packed = Scratch::new(panels * width * words);
    packed.par_chunks_mut((width * words).max(1)).enumerate().for_each(|(p, to)| {
        S::ISA.run(Pack { job, kind: PhantomData::<K>, column: p * width, to });
    });
    let mut bias = Scratch::new(if job.bias.is_some() { panels * width } else { 0 });
    if let Some(given) = job.bias {
        bias[..size.n].copy_from_slice(given);
        bias[size.n..].fill(0.0);
    }
    let (packed, bias) = (&*packed, &*bias);
    let tile = TileSize::of::<S>().rows;
    let tiles = size.m.div_ceil(tile);
    let blocks = blocks(size.m).min(tiles);
    // Whole tiles, dealt out evenly.
    let first = |block: usize| size.m.min(block * tiles / blocks * tile);
    (0..blocks).into_par_iter().for_each(|block| {
        let range = first(block)..first(block + 1);
        S::ISA.run(Block { job, kind: PhantomData::<K>, packed, bias, range });
    });
}

/// As many as threads, or a multiple, so that none waits for another; rows do not depend on each other, so this changes no bit.
fn blocks(m: usize) -> usize {
    m.div_ceil(ROWS).next_multiple_of(rayon::current_num_threads())
}

struct Pack<'a, K> {
    job: &'a Job<'a>,
    kind: PhantomData<K>,
    column: usize,
    to: &'a mut [f32],
}

impl<K: Kind> Kernel for Pack<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        pack::panel::<K, S>(s, &self.job.b, self.job.size.n, self.column, 0, self.job.size.k, self.to);
    }
}

struct Block<'a, K> {
    job: &'a Job<'a>,
    kind: PhantomData<K>,
    packed: &'a [f32],
    bias: &'a [f32],
    range: Range<usize>,
}

impl<K: Kind> Kernel for Block<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Block { job, kind: _, packed, bias, range } = self;
        let (size, count) = (job.size, range.len());
        let mut own = Scratch::new(if job.c.is_none() { count * size.n } else { 0 });
        let c = match job.c {
            Some(c) => c.at(range.start * size.n, count * size.n),
            None => own.as_mut_ptr(),
        };
        let most = DEPTH * K::steps::<S>();
        let mut room = Scratch::new(pack::room::<K, S>(count, size.k.min(most)));
        let mut from = 0;
        loop {
            let depth = most.min(size.k - from);
            let staged = pack::rows::<K, S>(s, &job.a, range.start, count, from, depth, &mut room);
            let last = from + depth == size.k;
            let words = K::words::<S>(depth);
            let step = Step {
                words: (K::words::<S>(from), words),
                add: job.add || from > 0,
                bias: if last { bias } else { &[] },
                wishes: [next(job, &range, from + depth, most)],
            };
            // SAFETY: the block's rows of c are this task's alone.
            unsafe { block::<K, S>(s, size.n, K::words::<S>(size.k), count, packed, staged, step, c) };
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

/// What will probably be packed after a block's steps before `from`: the next of them, at most `most`, or else the first of as many
/// rows below.
fn next<'a>(job: &Job<'a>, range: &Range<usize>, from: usize, most: usize) -> Ahead<'a> {
    let size = job.size;
    let (rows, steps) = match from < size.k {
        true => ((range.start, range.len()), (from, most.min(size.k - from))),
        false => ((range.end, range.len().min(size.m - range.end)), (0, most.min(size.k))),
    };
    match job.a.along {
        Along::Kept => Ahead::new(job.a, rows, steps),
        Along::Contracted => Ahead::new(job.a, steps, rows),
    }
}

/// A piece of the contraction.
struct Step<'a> {
    /// First and number.
    words: (usize, usize),
    add: bool,
    bias: &'a [f32],
    wishes: [Ahead<'a>; 1],
}

/// # Safety
/// `c` is valid for `count` rows of `n`, which nobody else touches; `staged` holds `count` rows.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the innermost loops, without a struct to build for each")]
unsafe fn block<K: Kind, S: Simd>(
    s: S,
    n: usize,
    words: usize,
    count: usize,
    packed: &[f32],
    staged: Staged,
    mut step: Step<'_>,
    c: *mut f32,
) {
    let (tile, width) = (TileSize::of::<S>().rows, TileSize::columns::<S>());
    let (tiles, panels) = (count.div_ceil(tile), n.div_ceil(width));
    // Panels that are near are all gone through for each few rows, which are then written from end to end, as memory likes it.
    let by_rows = panels * width * step.words.1 <= NEAR;
    for i in 0..tiles * panels {
        let (first, column) = if by_rows { (i / panels, i % panels) } else { (i % tiles, i / tiles) };
        let (first, column) = (first * tile, column * width);
        let panel = &packed[column * words + step.words.0 * width..][..step.words.1 * width];
        let right = Right { data: panel.as_ptr(), stride: width };
        let bias = if step.bias.is_empty() { std::ptr::null() } else { step.bias[column..column + width].as_ptr() };
        let rows = tile.min(count - first);
        // SAFETY: the caller's promises; the panel holds as many rows of a tile.
        unsafe {
            let target = Target {
                data: c.add(first * n + column),
                stride: n,
                columns: width.min(n - column),
                add: step.add,
                bias,
            };
            product::<K, S>(s, rows, step.words.1, staged.tile(first / tile), right, target, &mut step.wishes);
        }
    }
}

/// One of several products, on one thread.
#[inline(always)]
pub fn multiply_alone<K: Kind, S: Simd>(s: S, job: &Job<'_>) {
    let (size, width) = (job.size, TileSize::columns::<S>());
    let words = K::words::<S>(size.k);
    let mut packed = Scratch::new(size.n.next_multiple_of(width) * words);
    pack::panels::<K, S>(s, &job.b, size.n, 0, size.k, &mut packed);
    for first in (0..size.m).step_by(ROWS) {
        let range = first..size.m.min(first + ROWS);
        Block { job, kind: PhantomData::<K>, packed: &packed, bias: &[], range }.run(s);
    }
}
