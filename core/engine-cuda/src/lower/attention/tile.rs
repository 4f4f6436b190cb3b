//! How attention's kernels for tensor cores cut matrices to tiles, and the shared memory that these take.

use std::ops::RangeInclusive;

use super::Shape;
use crate::lower::factor::Factor;

/// The widest matrices that tensor cores are used for, in words: a lane keeps half as many of each factor in registers.
const WIDEST: usize = 64;
/// Warps of a block at most, with 16 rows each.
const WARPS: usize = 7;
/// Queries and keys of windows whose gradients one block computes, and their width in numbers.
pub(super) const WINDOW: usize = 64;
/// Words of a row of biases, see attention_tiles.cuh.
pub(super) const BIAS_ROW: usize = 72;

/// Words of a row of a window's sums, see attention_backward.cuh.
pub(super) fn sums_row(columns: usize) -> usize {
    if columns <= 56 { 56 } else { 72 }
}

/// Parts of a tile of keys, for rows of so many words: as many as a thread has registers for, and few enough for each thread to load at
/// once.
pub(super) fn forward_tiles(words: usize) -> RangeInclusive<usize> {
    if words == 16 { 5..=8 } else { 5..=6 }
}

/// The same where there are two products.
pub(super) fn backward_tiles(words: usize) -> RangeInclusive<usize> {
    if words == 16 { 5..=7 } else { 4..=5 }
}

/// A tile of keys as attention_tiles.cuh has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    factor: Factor,
    /// Numbers of a row.
    pub(super) depth: usize,
    /// Keys, eight at a time.
    pub(super) parts: usize,
}

impl Tile {
    /// One for all keys of a window; else the one of which the fewest parts are beyond the last key.
    pub(super) fn of(shape: Shape, factor: Factor, parts: impl Fn(usize) -> RangeInclusive<usize>) -> Tile {
        let depth = depth(shape);
        let all = |parts: usize| shape.keys.div_ceil(8 * parts) * parts;
        let best = parts(depth / factor.numbers()).rev().min_by_key(|&parts| all(parts)).unwrap_or(4);
        Tile { factor, depth, parts: if shape.keys <= WINDOW { shape.keys.div_ceil(8) } else { best } }
    }

    /// As kernels are told of it.
    pub(super) fn arguments(self) -> [String; 2] {
        [self.depth, self.parts].map(|n| n.to_string())
    }

    /// Keys in whole steps of a product over them.
    fn keys(self) -> usize {
        let of_step = 8 * self.factor.numbers();
        (8 * self.parts).next_multiple_of(of_step)
    }

    /// Words of so many rows.
    fn rows(self, count: usize) -> usize {
        let words = self.depth / self.factor.numbers();
        count * (words + if words.is_multiple_of(32) { 16 } else { 0 })
    }

    /// Words of so many rows in lines.
    fn lines(self, count: usize) -> usize {
        count / self.factor.numbers() * (self.depth + 4 * self.factor.numbers())
    }

    /// Words of shared memory of the result's tiles, and of those of the passes of the gradients.
    pub(super) fn forward(self) -> usize {
        self.rows(self.keys()) + self.lines(self.keys())
    }

    pub(super) fn query_pass(self) -> usize {
        self.rows(2 * self.keys()) + self.lines(self.keys())
    }

    pub(super) fn key_pass(self) -> usize {
        self.rows(64) + self.lines(64)
    }
}

/// Numbers of a row of a tile.
fn depth(shape: Shape) -> usize {
    shape.width.max(shape.value_width).next_multiple_of(32)
}

/// Whether tensor cores' kernels have room for rows as wide as these.
pub(super) fn has_room(shape: Shape, factor: Factor) -> bool {
    depth(shape) / factor.numbers() <= WIDEST
}

/// Whether one block computes all gradients of a matrix, on tensor cores.
pub(super) fn is_window(shape: Shape) -> bool {
    shape.queries <= WINDOW && shape.keys <= WINDOW && depth(shape) <= WINDOW
}

/// How many blocks, of how many warps, have 16 rows a warp: few idle ones. Where they walk through many others, there are enough warps to
/// load those, whatever the rows.
pub(super) fn blocks(rows: usize, others: usize) -> (usize, usize) {
    let all = rows.div_ceil(16);
    let blocks = all.div_ceil(WARPS);
    (blocks, all.div_ceil(blocks).max(if others > WINDOW { 4 } else { 1 }))
}
