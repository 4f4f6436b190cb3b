//! Copies of matrices as tiles read them: rows of whole vectors, zeros behind the last column.

use crate::{
    factors::Kind,
    numbers::Stored,
    simd::Simd,
    square::{SQUARE, square},
    tile::Right,
};

/// The distance of rows of `columns` numbers that are packed: whole vectors, and no multiple of a KiB, for then the rows would fall
/// on few lines of the first cache.
pub fn stride<S: Simd>(columns: usize) -> usize {
    let whole = columns.next_multiple_of(S::LANES);
    if whole.is_multiple_of(256) { whole + 16 } else { whole }
}

/// Where numbers stand.
#[derive(Clone, Copy)]
pub enum Pointer {
    F32(*const f32),
    /// Of bfloat16: only factors that are rounded are read from there.
    Bf16(*const u16),
}

impl Pointer {
    /// # Safety
    /// As of a pointer's `add`.
    #[inline(always)]
    pub unsafe fn add(self, count: usize) -> Pointer {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Pointer::F32(data) => Pointer::F32(data.add(count)),
                Pointer::Bf16(data) => Pointer::Bf16(data.add(count)),
            }
        }
    }

    /// # Panics
    /// When these are numbers in bfloat16.
    #[inline(always)]
    pub fn plain(self) -> *const f32 {
        match self {
            Pointer::F32(data) => data,
            Pointer::Bf16(_) => panic!("numbers in bfloat16 are read where factors are rounded"),
        }
    }
}

/// Rows of a matrix in a larger one.
#[derive(Clone, Copy)]
pub struct Source {
    pub data: Pointer,
    pub stride: usize,
    pub rows: usize,
    pub columns: usize,
}

/// The matrix itself, its rows `stride(columns)` apart.
///
/// # Safety
/// `from` is valid for its rows, `to` for as many rows, [`stride`] apart.
#[inline(always)]
pub unsafe fn copy<S: Simd>(s: S, from: Source, to: *mut f32) -> Right {
    let (data, stride) = (from.data.plain(), stride::<S>(from.columns));
    let (whole, rest) = (from.columns / S::LANES, from.columns % S::LANES);
    // SAFETY: the caller's promises.
    unsafe {
        for i in 0..from.rows {
            let (source, to) = (data.add(i * from.stride), to.add(i * stride));
            for j in 0..whole {
                s.store(to.add(j * S::LANES), s.load(source.add(j * S::LANES)));
            }
            if rest > 0 {
                s.store(to.add(whole * S::LANES), s.load_first(source.add(whole * S::LANES), rest));
            }
        }
    }
    Right { data: to, stride }
}

/// The matrix with its axes exchanged, its columns `stride(rows)` apart.
///
/// # Safety
/// `from` is valid for its rows, `to` for as many rows as it has columns, [`stride`] apart.
#[inline(always)]
pub unsafe fn transpose<S: Simd>(s: S, from: Source, to: *mut f32) -> Right {
    let (data, stride) = (from.data.plain(), stride::<S>(from.rows));
    let whole = from.rows.next_multiple_of(S::LANES);
    let (rows, columns) = (from.rows / SQUARE * SQUARE, from.columns / SQUARE * SQUARE);
    // SAFETY: the caller's promises; squares lie within the matrix.
    unsafe {
        if whole > from.rows {
            for j in 0..from.columns {
                s.store(to.add(j * stride + whole - S::LANES), s.splat(0.0));
            }
        }
        for i in (0..rows).step_by(SQUARE) {
            for j in (0..columns).step_by(SQUARE) {
                square(s, data.add(i * from.stride + j), from.stride, to.add(j * stride + i), stride);
            }
        }
        for i in 0..from.rows {
            for j in if i < rows { columns } else { 0 }..from.columns {
                *to.add(j * stride + i) = *data.add(i * from.stride + j);
            }
        }
    }
    Right { data: to, stride }
}

/// Each row as words of consecutive columns, zeros behind the last; rows of whole vectors, [`stride`] of their words apart.
///
/// # Safety
/// `from` is valid for its rows, `to` for as many rows of words.
#[inline(always)]
pub unsafe fn words_along<K: Kind, S: Simd>(s: S, from: Source, to: *mut f32) -> Source {
    // SAFETY: the caller's promises.
    unsafe {
        match from.data {
            Pointer::F32(data) => along::<K, S, _>(s, data, from, to),
            Pointer::Bf16(data) => along::<K, S, _>(s, data, from, to),
        }
    }
}

/// [`words_along`] of what stands at `data`.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn along<K: Kind, S: Simd, T: Stored>(s: S, data: *const T, from: Source, to: *mut f32) -> Source {
    let words = K::words::<S>(from.columns);
    let stride = stride::<S>(words);
    let steps = K::steps::<S>();
    // SAFETY: the caller's promises; of each row no more is read than there is.
    unsafe {
        for i in 0..from.rows {
            let (source, to) = (data.add(i * from.stride), to.add(i * stride));
            for word in (0..words).step_by(S::LANES) {
                let at = word * steps;
                let words = if at + steps * S::LANES <= from.columns {
                    T::along::<K, S>(s, source.add(at))
                } else {
                    let second = if steps == 2 { some(s, source, at + S::LANES, from.columns) } else { s.splat(0.0) };
                    K::along(s, some(s, source, at, from.columns), second)
                };
                s.store(to.add(word), words);
            }
        }
    }
    Source { data: Pointer::F32(to), stride, rows: from.rows, columns: words }
}

/// Words of rows that follow each other, zeros below the last: as many rows of words as the steps take, [`stride`] of the columns
/// apart, in whole vectors.
///
/// # Safety
/// As for [`words_along`].
#[inline(always)]
pub unsafe fn words_across<K: Kind, S: Simd>(s: S, from: Source, to: *mut f32) -> Right {
    // SAFETY: the caller's promises.
    unsafe {
        match from.data {
            Pointer::F32(data) => across::<K, S, _>(s, data, from, to),
            Pointer::Bf16(data) => across::<K, S, _>(s, data, from, to),
        }
    }
}

/// [`words_across`] of what stands at `data`.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn across<K: Kind, S: Simd, T: Stored>(s: S, data: *const T, from: Source, to: *mut f32) -> Right {
    let stride = stride::<S>(from.columns);
    let steps = K::steps::<S>();
    // SAFETY: the caller's promises; of each row no more is read than there is.
    unsafe {
        for word in 0..K::words::<S>(from.rows) {
            let row = word * steps;
            let (source, to) = (data.add(row * from.stride), to.add(word * stride));
            let pair = steps == 2 && row + 1 < from.rows;
            for j in (0..from.columns).step_by(S::LANES) {
                let words = if (pair || steps == 1) && j + S::LANES <= from.columns {
                    T::across::<K, S>(s, source.add(j), source.wrapping_add(from.stride + j))
                } else {
                    let second = if pair { some(s, source.add(from.stride), j, from.columns) } else { s.splat(0.0) };
                    K::across(s, some(s, source, j, from.columns), second)
                };
                s.store(to.add(j), words);
            }
        }
    }
    Right { data: to, stride }
}

/// A vector of a row from column `at` on, zeros behind the last of `columns`.
///
/// # Safety
/// `row` is valid for `columns`.
#[inline(always)]
unsafe fn some<S: Simd, T: Stored>(s: S, row: *const T, at: usize, columns: usize) -> S::F {
    // SAFETY: within the row.
    unsafe {
        match columns.saturating_sub(at) {
            0 => s.splat(0.0),
            left if left >= S::LANES => T::load(s, row.add(at)),
            left => T::load_first(s, row.add(at), left),
        }
    }
}
