//! Copies of a side's pieces in the order in which tiles read them.

use super::{Along, Rows, Side};
use crate::{
    shared::prefetch,
    simd::Simd,
    tile::{Left, TileSize},
};

/// Rows of a side that are packed together.
const TOGETHER: usize = 8;

/// All columns of the right side, steps `from..from + depth`: panels of a tile's width, one after the other, each as [`panel`] has it.
#[inline(always)]
pub fn panels<S: Simd>(s: S, b: &Side<'_>, n: usize, from: usize, depth: usize, to: &mut [f32]) {
    let width = TileSize::columns::<S>();
    if b.along == Along::Kept {
        for column in (0..n).step_by(width) {
            panel(s, b, n, column, from, depth, &mut to[column * depth..]);
        }
        return;
    }
    for k in (0..depth).step_by(TOGETHER) {
        let steps = TOGETHER.min(depth - k);
        for column in (0..n).step_by(width) {
            panel(s, b, n, column, from + k, steps, &mut to[column * depth + k * width..]);
        }
    }
}

/// Columns `column..` of the right side, as many as a tile has or as there are, steps `from..from + depth`: `[depth][columns]`,
/// zeros where there is no column.
#[inline(always)]
pub fn panel<S: Simd>(s: S, b: &Side<'_>, n: usize, column: usize, from: usize, depth: usize, to: &mut [f32]) {
    let width = TileSize::columns::<S>();
    let there = width.min(n - column);
    let to = &mut to[..depth * width];
    match b.along {
        Along::Contracted => {
            for (k, to) in to.chunks_exact_mut(width).enumerate() {
                let start = b.rows.start(from + k) + column;
                copy(s, &b.data[start..start + there], to);
                to[there..].fill(0.0);
            }
        }
        Along::Kept => {
            if there < width {
                to.fill(0.0);
            }
            // Eight rows at once, so that a line of the panel is filled while it is in the cache.
            for first in (0..there).step_by(8) {
                let rows = 8.min(there - first);
                let starts: [usize; 8] = std::array::from_fn(|i| match i < rows {
                    true => b.rows.start(column + first + i) + from,
                    false => 0,
                });
                if rows == 8 {
                    let sources: [&[f32]; 8] = std::array::from_fn(|i| &b.data[starts[i]..starts[i] + depth]);
                    for (k, to) in to.chunks_exact_mut(width).enumerate() {
                        let to: &mut [f32] = &mut to[first..first + 8];
                        for (to, source) in to.iter_mut().zip(&sources) {
                            *to = source[k];
                        }
                    }
                } else {
                    for i in 0..rows {
                        for (k, &x) in b.data[starts[i]..starts[i] + depth].iter().enumerate() {
                            to[k * width + first + i] = x;
                        }
                    }
                }
            }
        }
    }
}

/// A short copy: the call of a library's would cost more.
#[inline(always)]
fn copy<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    assert!(from.len() <= to.len());
    let mut at = 0;
    // SAFETY: the lanes that are touched lie within both.
    unsafe {
        while at + S::LANES <= from.len() {
            s.store(to.as_mut_ptr().add(at), s.load(from.as_ptr().add(at)));
            at += S::LANES;
        }
        if at < from.len() {
            let count = from.len() - at;
            s.store_first(to.as_mut_ptr().add(at), s.load_first(from.as_ptr().add(at), count), count);
        }
    }
}

/// `columns` (first and number, at most a tile's rows) of the rows `steps` (first and number), close together.
#[inline(always)]
fn narrow<S: Simd>(s: S, a: &Side<'_>, columns: (usize, usize), steps: (usize, usize), to: &mut [f32]) {
    let (column, width) = columns;
    let lanes = width.div_ceil(S::LANES) * S::LANES;
    for k in 0..steps.1 {
        let start = a.rows.start(steps.0 + k) + column;
        // Whole vectors where the slices go on long enough: what is copied too much, the next step covers. Masked stores are slow.
        let (there, room) = (a.data.len() - start, to.len() - k * width);
        if there >= lanes && room >= lanes {
            for at in (0..width).step_by(S::LANES) {
                // SAFETY: both slices hold `lanes` more elements.
                unsafe {
                    let x = s.load(a.data.as_ptr().add(start + at));
                    s.store(to.as_mut_ptr().add(k * width + at), x);
                }
            }
        } else {
            copy(s, &a.data[start..start + width], &mut to[k * width..]);
        }
    }
}

/// Floats that [`rows`] may need for so many rows and steps.
pub fn room<S: Simd>(rows: usize, depth: usize) -> usize {
    rows.next_multiple_of(TileSize::of::<S>().rows) * (depth + 16)
}

/// Rows `first..first + count` of the left side, steps `from..from + depth`, ready for tiles: where they stand if that is well, else
/// in `room`. Tile i begins with row `i * TileSize::rows` of them: see [`Staged::tile`].
#[inline(always)]
pub fn rows<S: Simd>(
    s: S,
    a: &Side<'_>,
    first: usize,
    count: usize,
    from: usize,
    depth: usize,
    room: &mut [f32],
) -> Staged {
    let tile = TileSize::of::<S>().rows;
    match (a.along, a.rows) {
        // Rows a multiple of 4 KiB apart would all want the same few lines of the first cache.
        (Along::Kept, Rows::Every(stride)) if !stride.is_multiple_of(512) => {
            let data = &a.data[first * stride + from..];
            Staged { left: Left { data: data.as_ptr(), row: stride, step: 1 }, tile: tile * stride, packed: 0 }
        }
        (Along::Kept, _) => {
            let even = depth.next_multiple_of(16);
            let stride = if even.is_multiple_of(512) { even + 16 } else { even };
            for i in 0..count {
                let start = a.rows.start(first + i) + from;
                room[i * stride..i * stride + depth].copy_from_slice(&a.data[start..start + depth]);
            }
            Staged { left: Left { data: room.as_ptr(), row: stride, step: 1 }, tile: tile * stride, packed: 0 }
        }
        // Read in place: each step's numbers stand side by side, and to copy them costs more than it brings.
        (Along::Contracted, Rows::Every(stride)) => {
            let data = &a.data[from * stride + first..];
            Staged { left: Left { data: data.as_ptr(), row: 1, step: stride }, tile, packed: 0 }
        }
        (Along::Contracted, Rows::At(_)) => {
            // A few steps at a time: their rows are then read from end to end, as memory likes it.
            for k in (0..depth).step_by(TOGETHER) {
                let steps = TOGETHER.min(depth - k);
                for done in (0..count).step_by(tile) {
                    let width = tile.min(count - done);
                    let panel = &mut room[done * depth..][..width * depth];
                    narrow(s, a, (first + done, width), (from + k, steps), &mut panel[k * width..]);
                }
            }
            Staged { left: Left { data: room.as_ptr(), row: 1, step: 0 }, tile: tile * depth, packed: 1 }
        }
    }
}

/// Rows that stand ready.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    left: Left,
    /// From one tile to the next.
    tile: usize,
    /// 1 where the rows of a tile stand side by side, so that a step is as long as the tile has rows.
    packed: usize,
}

impl Staged {
    /// Tile `index`, which has `rows` rows.
    ///
    /// # Safety
    /// The tile was staged, and what it was staged from or to is still there.
    #[inline(always)]
    pub unsafe fn tile(&self, index: usize, rows: usize) -> Left {
        // SAFETY: the caller's promise.
        let data = unsafe { self.left.data.add(index * self.tile) };
        Left { data, row: self.left.row, step: if self.packed == 1 { rows } else { self.left.step } }
    }
}

/// Wishes for the rows of a side that will be packed next, spread over the work before.
#[derive(Clone, Copy, Debug)]
pub struct Ahead<'a> {
    side: Side<'a>,
    next: usize,
    end: usize,
    column: usize,
    columns: usize,
    /// Rows for each call.
    share: usize,
}

impl<'a> Ahead<'a> {
    /// Rows `from..end`, `columns` from `column` on, within so many calls.
    #[inline(always)]
    pub fn new(side: Side<'a>, rows: (usize, usize), columns: (usize, usize), calls: usize) -> Ahead<'a> {
        let (next, end) = rows;
        Ahead { side, next, end, column: columns.0, columns: columns.1, share: (end - next).div_ceil(calls.max(1)) }
    }

    #[inline(always)]
    pub fn step(&mut self) {
        let end = self.end.min(self.next + self.share);
        for row in self.next..end {
            let start = self.side.rows.start(row) + self.column;
            prefetch(self.side.data.as_ptr().wrapping_add(start), self.columns);
        }
        self.next = end;
    }
}
