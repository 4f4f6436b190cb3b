//! Copies of matrices as tiles read them: rows of whole vectors, zeros behind the last column.

use crate::{
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

/// Rows of a matrix in a larger one.
#[derive(Clone, Copy)]
pub struct Source {
    pub data: *const f32,
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
    let stride = stride::<S>(from.columns);
    let (whole, rest) = (from.columns / S::LANES, from.columns % S::LANES);
    // SAFETY: the caller's promises.
    unsafe {
        for i in 0..from.rows {
            let (source, to) = (from.data.add(i * from.stride), to.add(i * stride));
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
    let stride = stride::<S>(from.rows);
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
                square(s, from.data.add(i * from.stride + j), from.stride, to.add(j * stride + i), stride);
            }
        }
        for i in 0..from.rows {
            for j in if i < rows { columns } else { 0 }..from.columns {
                *to.add(j * stride + i) = *from.data.add(i * from.stride + j);
            }
        }
    }
    Right { data: to, stride }
}
