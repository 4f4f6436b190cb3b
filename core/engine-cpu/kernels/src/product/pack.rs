//! Copies of a side's pieces in the order in which tiles read them, in words of their [`Kind`].

use super::{Along, Rows, Side};
use crate::{
    factors::Kind,
    numbers::{Numbers, Stored},
    simd::Simd,
    square::{SQUARE, square},
    tile::{Left, TileSize},
};

/// Words of a few rows that are transposed at a time.
const STAGE: usize = 64;

/// A side whose numbers' type the compiler sees.
#[derive(Clone, Copy)]
struct Typed<'a, T> {
    data: &'a [T],
    rows: Rows<'a>,
}

/// Runs `$go` with a [`Typed`] side, whatever its numbers are.
macro_rules! typed {
    ($side:expr, |$typed:ident| $go:expr) => {
        match $side.data {
            Numbers::F32(data) => {
                let $typed = Typed { data, rows: $side.rows };
                $go
            }
            Numbers::Bf16(data) => {
                let $typed = Typed { data, rows: $side.rows };
                $go
            }
        }
    };
}

/// All columns of the right side, steps `from..from + depth`: panels of a tile's width, one after the other, each as [`panel`] has it.
#[inline(always)]
pub fn panels<K: Kind, S: Simd>(s: S, b: &Side<'_>, n: usize, from: usize, depth: usize, to: &mut [f32]) {
    let (width, words) = (TileSize::columns::<S>(), K::words::<S>(depth));
    if b.along == Along::Kept {
        for column in (0..n).step_by(width) {
            panel::<K, S>(s, b, n, column, from, depth, &mut to[column * words..]);
        }
        return;
    }
    typed!(b, |b| for word in 0..words {
        let rows = pair::<K, S, _>(&b, (from + word * K::steps::<S>(), from + depth), (0, n));
        for column in (0..n).step_by(width) {
            let to = &mut to[column * words + word * width..][..width];
            across::<K, S, _>(s, rows, (column, width.min(n - column)), to);
        }
    });
}

/// Columns `column..` of the right side, as many as a tile has or as there are, steps `from..from + depth`: `[words][columns]`, zeros
/// where there is no column and no step.
#[inline(always)]
pub fn panel<K: Kind, S: Simd>(s: S, b: &Side<'_>, n: usize, column: usize, from: usize, depth: usize, to: &mut [f32]) {
    let (width, words) = (TileSize::columns::<S>(), K::words::<S>(depth));
    let there = width.min(n - column);
    let to = &mut to[..words * width];
    match b.along {
        Along::Contracted => typed!(b, |b| for (word, to) in to.chunks_exact_mut(width).enumerate() {
            let rows = pair::<K, S, _>(&b, (from + word * K::steps::<S>(), from + depth), (column, there));
            across::<K, S, _>(s, rows, (0, there), to);
        }),
        Along::Kept => typed!(b, |b| turn::<K, S, _>(s, &b, (column, there), from, depth, to)),
    }
}

/// The panel of columns (first and number) that stand in rows: they are transposed.
#[inline(always)]
fn turn<K: Kind, S: Simd, T: Stored>(
    s: S,
    b: &Typed<'_, T>,
    (column, there): (usize, usize),
    from: usize,
    depth: usize,
    to: &mut [f32],
) {
    let (width, words) = (TileSize::columns::<S>(), K::words::<S>(depth));
    let mut stage = [0.0; SQUARE * STAGE];
    for first in (0..width).step_by(SQUARE) {
        let rows = SQUARE.min(there.saturating_sub(first));
        // Where a row is missing, those before it may have left something.
        stage[rows * STAGE..].fill(0.0);
        for word in (0..words).step_by(STAGE) {
            let (step, count) = (word * K::steps::<S>(), STAGE.min(words - word));
            let steps = (STAGE * K::steps::<S>()).min(depth - step);
            for (i, stage) in stage.chunks_exact_mut(STAGE).take(rows).enumerate() {
                let start = b.rows.start(column + first + i) + from + step;
                along::<K, S, _>(s, &b.data[start..start + steps], stage);
            }
            let whole = count / SQUARE * SQUARE;
            let to = &mut to[word * width..(word + count) * width];
            for k in (0..whole).step_by(SQUARE) {
                // SAFETY: the stage holds 8 rows of `STAGE`, `to` 8 more rows as wide as a tile.
                unsafe { square(s, stage.as_ptr().add(k), STAGE, to.as_mut_ptr().add(k * width + first), width) };
            }
            for k in whole..count {
                for i in 0..SQUARE {
                    to[k * width + first + i] = stage[i * STAGE + k];
                }
            }
        }
    }
}

/// Words of consecutive steps, zeros behind the last; whole vectors of them are written.
#[inline(always)]
fn along<K: Kind, S: Simd, T: Stored>(s: S, from: &[T], to: &mut [f32]) {
    let (words, steps) = (K::words::<S>(from.len()), K::steps::<S>());
    assert!(words.next_multiple_of(S::LANES) <= to.len());
    // SAFETY: the vectors lie within `to`, and what is read of them lies within `from`.
    unsafe {
        for word in (0..words).step_by(S::LANES) {
            let at = word * steps;
            let to = to.as_mut_ptr().add(word);
            if from.len() - at >= steps * S::LANES {
                s.store(to, T::along::<K, S>(s, from.as_ptr().add(at)));
                continue;
            }
            let load = |at: usize| match from.len().saturating_sub(at) {
                left if left >= S::LANES => T::load(s, from.as_ptr().add(at)),
                0 => s.splat(0.0),
                left => T::load_first(s, from.as_ptr().add(at), left),
            };
            let second = if steps == 2 { load(at + S::LANES) } else { s.splat(0.0) };
            s.store(to, K::along(s, load(at), second));
        }
    }
}

/// The rows of a word's steps, in a side whose rows are steps: its first step, and the end of steps; columns, first and number.
#[inline(always)]
fn pair<'a, K: Kind, S: Simd, T: Stored>(
    side: &Typed<'a, T>,
    (step, end): (usize, usize),
    (column, count): (usize, usize),
) -> (&'a [T], Option<&'a [T]>) {
    let row = |step: usize| {
        let start = side.rows.start(step) + column;
        &side.data[start..start + count]
    };
    (row(step), (K::steps::<S>() == 2 && step + 1 < end).then(|| row(step + 1)))
}

/// A word of each of some columns (first and number) of the rows of [`pair`], zeros behind them; `to` is of whole vectors.
#[inline(always)]
fn across<K: Kind, S: Simd, T: Stored>(
    s: S,
    (first, second): (&[T], Option<&[T]>),
    (column, count): (usize, usize),
    to: &mut [f32],
) {
    let part = |row: &'_ [T]| row[column..column + count].as_ptr();
    let (first, second) = (part(first), second.map(part));
    let load = |row: *const T, at: usize| {
        // SAFETY: as many lanes are read as there are.
        unsafe {
            match count.saturating_sub(at) {
                left if left >= S::LANES => T::load(s, row.add(at)),
                0 => s.splat(0.0),
                left => T::load_first(s, row.add(at), left),
            }
        }
    };
    for (i, to) in to.chunks_exact_mut(S::LANES).enumerate() {
        let at = i * S::LANES;
        let whole = at + S::LANES <= count;
        // SAFETY: `to` is a vector, and so is what is read at once.
        unsafe {
            let words = match second {
                Some(second) if whole => T::across::<K, S>(s, first.add(at), second.add(at)),
                None if whole && K::steps::<S>() == 1 => T::across::<K, S>(s, first.add(at), first.add(at)),
                _ => K::across(s, load(first, at), second.map_or(s.splat(0.0), |row| load(row, at))),
            };
            s.store(to.as_mut_ptr(), words);
        }
    }
}

/// The distance of packed rows of so many words: an odd number of lines, so that the rows of a tile share none of the first cache.
fn stride(words: usize) -> usize {
    (words.div_ceil(16) | 1) * 16
}

/// Rows of a tile that stand side by side, in whole vectors.
fn side_by_side<S: Simd>() -> usize {
    TileSize::of::<S>().rows.next_multiple_of(S::LANES)
}

/// Floats that [`rows`] may need for so many rows and steps.
pub fn room<K: Kind, S: Simd>(rows: usize, depth: usize) -> usize {
    rows.div_ceil(TileSize::of::<S>().rows) * side_by_side::<S>() * stride(K::words::<S>(depth))
}

/// Rows `first..first + count` of the left side, steps `from..from + depth`, ready for tiles: where they stand if that is well, else
/// in `room`. Tile i begins with row `i * TileSize::rows` of them: see [`Staged::tile`].
#[inline(always)]
pub fn rows<K: Kind, S: Simd>(
    s: S,
    a: &Side<'_>,
    first: usize,
    count: usize,
    from: usize,
    depth: usize,
    room: &mut [f32],
) -> Staged {
    let tile = TileSize::of::<S>().rows;
    if let Some(staged) = in_place::<K, S>(a, first, from, depth) {
        return staged;
    }
    typed!(a, |typed| match a.along {
        Along::Kept => {
            let stride = stride(K::words::<S>(depth));
            for (i, room) in room.chunks_exact_mut(stride).take(count).enumerate() {
                let start = a.rows.start(first + i) + from;
                along::<K, S, _>(s, &typed.data[start..start + depth], room);
            }
            Staged { left: Left { data: room.as_ptr(), row: stride, step: 1 }, tile: tile * stride }
        }
        Along::Contracted => {
            let (words, width, steps) = (K::words::<S>(depth), side_by_side::<S>(), K::steps::<S>());
            for word in 0..words {
                let rows = pair::<K, S, _>(&typed, (from + word * steps, from + depth), (first, count));
                for done in (0..count).step_by(tile) {
                    let at = done / tile * width * words + word * width;
                    // Whole vectors, for what stands behind the tile's rows may be anything.
                    across::<K, S, _>(s, rows, (done, width.min(count - done)), &mut room[at..at + width]);
                }
            }
            Staged { left: Left { data: room.as_ptr(), row: 1, step: width }, tile: width * words }
        }
    })
}

/// Rows from `first` on, from step `from` on, where they stand, if tiles can read them there and that is well.
#[inline(always)]
fn in_place<K: Kind, S: Simd>(a: &Side<'_>, first: usize, from: usize, depth: usize) -> Option<Staged> {
    let tile = TileSize::of::<S>().rows;
    let Rows::Every(stride) = a.rows else { return None };
    // Rows a multiple of 4 KiB apart would all want the same few lines of the first cache.
    let apart = |words: usize| !words.is_multiple_of(512);
    match (a.along, a.data) {
        (Along::Kept, Numbers::F32(data)) if !K::BF16 && apart(stride) => {
            let data = data[first * stride + from..].as_ptr();
            Some(Staged { left: Left { data, row: stride, step: 1 }, tile: tile * stride })
        }
        // Two halves side by side are a word already.
        (Along::Kept, Numbers::Bf16(data)) if K::BF16 && K::steps::<S>() == 2 => {
            let data = data[first * stride + from..].as_ptr().cast::<f32>();
            let words = stride / 2;
            let fits = stride.is_multiple_of(2) && depth.is_multiple_of(2) && data.is_aligned() && apart(words);
            fits.then_some(Staged { left: Left { data, row: words, step: 1 }, tile: tile * words })
        }
        // Each step's numbers stand side by side, and to copy them costs more than it brings.
        (Along::Contracted, Numbers::F32(data)) if !K::BF16 => {
            let data = data[from * stride + first..].as_ptr();
            Some(Staged { left: Left { data, row: 1, step: stride }, tile })
        }
        _ => None,
    }
}

/// Rows that stand ready.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    left: Left,
    /// From one tile to the next.
    tile: usize,
}

impl Staged {
    /// Tile `index`.
    ///
    /// # Safety
    /// The tile was staged, and what it was staged from or to is still there.
    #[inline(always)]
    pub unsafe fn tile(&self, index: usize) -> Left {
        // SAFETY: the caller's promise.
        Left { data: unsafe { self.left.data.add(index * self.tile) }, ..self.left }
    }
}
