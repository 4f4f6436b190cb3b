//! Parts of a result: a block of the left side stays in the second cache while the panels of the right side pass by, each packed
//! just before it is used. It never travels to memory and back, and what it is packed from is fetched while the panel before is
//! multiplied.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::{Along, Job, Side, Size, ahead::Ahead, pack};
use crate::{
    factors::Kind,
    shared::{Scratch, SharedMut},
    simd::{Kernel, Simd},
    tile::{Right, Target, TileSize, product},
};

/// Words of the contraction that are packed at once, at most: with them a panel of the right side fills much of the first cache.
pub const DEPTH: usize = 256;
/// And at least: fewer are not worth to add sums to memory for.
const SHALLOW: usize = 96;
/// Steps that a piece of the contraction is a multiple of.
pub const EVEN: usize = 32;
/// Tiles of a part, one below the other, at most: so many share what it costs to pack a panel.
const TILES: usize = 28;
/// Rows of a result, at most, for which to pack the right side once for each part costs less than to send all of it to memory.
pub const LOW: usize = 1 << 9;
/// Numbers that are to stay in the second cache, less than half of a usual one: of the left side as it is packed and as the next
/// piece is fetched meanwhile, of the panels, and of a small result.
const NEAR: usize = 98304;
/// Panels before the end of a piece of the contraction at which the left side of the next is begun to be fetched: its lines are at
/// most as many as two panels have steps, so that neither comes too late, nor is it gone again when it is needed.
const SOON: usize = 3;

/// [`multiply`], and then what is to be done with the rows: few rows are still in the third cache when the last of their columns
/// is there.
#[inline(always)]
pub fn multiply_then<K: Kind, S: Simd>(job: &Job<'_>) {
    let Size { m, n, .. } = job.size;
    let mut own = Scratch::new(if job.c.is_none() { m * n } else { 0 });
    let c = job.c.unwrap_or_else(|| SharedMut::new(&mut own));
    multiply::<K, S>(job, c);
    if let Some(finish) = job.finish {
        let share = m.div_ceil(8 * rayon::current_num_threads()).max(1);
        (0..m.div_ceil(share)).into_par_iter().for_each(|i| {
            let rows = i * share..m.min((i + 1) * share);
            // SAFETY: these rows are this task's alone, and all of them have been written.
            let part = unsafe { c.part(rows.start * n, rows.len() * n) };
            finish(rows, part);
        });
    }
}

/// All of the result, cut in both directions. Where it is cut changes no bit.
#[inline(always)]
pub fn multiply<K: Kind, S: Simd>(job: &Job<'_>, c: SharedMut<'_, f32>) {
    let (size, tile, width) = (job.size, TileSize::of::<S>().rows, TileSize::columns::<S>());
    let (tiles, panels) = (size.m.div_ceil(tile), size.n.div_ceil(width));
    if tiles * panels == 0 {
        return;
    }
    let (down, across) = cuts(tiles, panels, tiles.div_ceil(TILES), rayon::current_num_threads());
    (0..down * across).into_par_iter().for_each(|i| {
        let range = |i: usize, parts: usize, whole: usize, unit: usize, end: usize| {
            let (from, to) = (i * whole / parts * unit, ((i + 1) * whole / parts * unit).min(end));
            (from, to - from)
        };
        let part = Part {
            job,
            kind: PhantomData::<K>,
            rows: range(i / across, down, tiles, tile, size.m),
            columns: range(i % across, across, panels, width, size.n),
            steps: (0, size.k),
            add: job.add,
            c,
        };
        S::ISA.run(part);
    });
}

/// In how many parts rows (at least `least`) and columns are cut, so that threads have much the same to do, and little to pack.
fn cuts(tiles: usize, panels: usize, least: usize, threads: usize) -> (usize, usize) {
    let cut = |across: usize| {
        let even = (1..=threads).find(|n| (n * across).is_multiple_of(threads)).unwrap_or(1);
        (least.next_multiple_of(even).min(tiles), across)
    };
    // In halves of tiles' products: to pack a panel takes about one, to stage a tile two.
    let cost = |&(down, across): &(usize, usize)| {
        let (tiles, panels) = (tiles.div_ceil(down), panels.div_ceil(across));
        (down * across).div_ceil(threads) * (2 * tiles * panels + panels + 2 * tiles)
    };
    (1..=panels.min(threads)).map(cut).min_by_key(cost).unwrap_or((least, 1))
}

/// Some rows and columns of the result, and some steps of the contraction: each first and number.
pub struct Part<'a, K> {
    pub job: &'a Job<'a>,
    pub kind: PhantomData<K>,
    pub rows: (usize, usize),
    pub columns: (usize, usize),
    pub steps: (usize, usize),
    pub add: bool,
    /// The whole result. This part of it is this task's alone.
    pub c: SharedMut<'a, f32>,
}

impl<K: Kind> Kernel for Part<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Part { job, rows: (top, count), columns, steps: (start, steps), add, c, .. } = self;
        let (n, tile, width) = (job.size.n, TileSize::of::<S>().rows, TileSize::columns::<S>());
        let (left, end) = (columns.0, columns.0 + columns.1);
        let depth = depth::<K, S>(job.size);
        // Pieces that are alike.
        let pieces = steps.div_ceil(depth).max(1);
        let most = steps.div_ceil(pieces).next_multiple_of(EVEN);
        let mut bias = Scratch::new(if job.bias.is_some() { width } else { 0 });
        let mut room = Scratch::new(pack::room::<K, S>(count, most.min(steps)));
        let mut packed = Scratch::new(width * K::words::<S>(most));
        let mut from = 0;
        loop {
            let depth = most.min(steps - from);
            let (words, at) = (K::words::<S>(depth), start + from);
            let last = from + depth == steps;
            let next = (at + depth, most.min(steps - from - depth));
            let staged = pack::rows::<K, S>(s, &job.a, top, count, at, depth, &mut room);
            let mut wishes = [nothing(job.b), nothing(job.a)];
            for column in (left..end).step_by(width) {
                let columns = width.min(end - column);
                pack::panel::<K, S>(s, &job.b, n, column, at, depth, &mut packed);
                let after = column + width;
                wishes[0] = match after < end {
                    true => wish(job.b, (after, width.min(end - after)), (at, depth)),
                    false => wish(job.b, (left, width.min(end - left)), next),
                };
                if (end - column).div_ceil(width) == SOON.min((end - left).div_ceil(width)) {
                    wishes[1] = wish(job.a, (top, count), next);
                }
                let bias = match job.bias {
                    Some(given) if last => {
                        bias[..columns].copy_from_slice(&given[column..column + columns]);
                        bias[columns..].fill(0.0);
                        bias.as_ptr()
                    }
                    _ => std::ptr::null(),
                };
                let right = Right { data: packed.as_ptr(), stride: width };
                for first in (0..count).step_by(tile) {
                    let rows = tile.min(count - first);
                    let target = Target {
                        data: c.at((top + first) * n + column, (rows - 1) * n + columns),
                        stride: n,
                        columns,
                        add: add || from > 0,
                        bias,
                    };
                    // SAFETY: the tile was staged, the panel packed, and the target is this task's alone.
                    unsafe { product::<K, S>(s, rows, words, staged.tile(first / tile), right, target, &mut wishes) };
                }
            }
            from += depth;
            if last {
                break;
            }
        }
    }
}

/// Steps of the contraction that are taken at once. By shape alone: how sums are grouped decides their last bits.
fn depth<K: Kind, S: Simd>(size: Size) -> usize {
    let rows = size.m.min(TILES * TileSize::of::<S>().rows);
    let result = Some(rows * size.n).filter(|&c| c < NEAR / 3).unwrap_or(0);
    let words = (NEAR - result) / (rows * (1 + K::steps::<S>()) + 2 * TileSize::columns::<S>());
    words.clamp(SHALLOW, DEPTH) * K::steps::<S>()
}

/// A part of a side, by what the result keeps of it and by its steps.
#[inline(always)]
fn wish<'a>(side: Side<'a>, kept: (usize, usize), steps: (usize, usize)) -> Ahead<'a> {
    match side.along {
        Along::Kept => Ahead::new(side, kept, steps),
        Along::Contracted => Ahead::new(side, steps, kept),
    }
}

#[inline(always)]
fn nothing(side: Side<'_>) -> Ahead<'_> {
    Ahead::new(side, (0, 0), (0, 0))
}
