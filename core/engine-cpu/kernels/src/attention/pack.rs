//! Copies of matrices as tiles read them: rows of whole vectors, zeros behind the last column.

use crate::{simd::Simd, tile::Right};

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

/// Numbers that are transposed at once, along either axis.
const SQUARE: usize = 8;

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

/// # Safety
/// `from` and `to` are valid for 8 rows of 8.
#[inline(always)]
unsafe fn square<S: Simd>(_: S, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if S::ISA != crate::simd::Isa::Portable {
        // SAFETY: the caller's promise; both instruction sets include AVX.
        unsafe { square_avx(from, from_stride, to, to_stride) };
        return;
    }
    for i in 0..SQUARE {
        for j in 0..SQUARE {
            // SAFETY: the caller's promise.
            unsafe { *to.add(j * to_stride + i) = *from.add(i * from_stride + j) };
        }
    }
}

/// # Safety
/// As for [`square`], and the processor has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn square_avx(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promises.
    unsafe {
        let half = |row: usize, column: usize| _mm_loadu_ps(from.add(row * from_stride + column));
        for side in [0, 4] {
            // Rows i and i + 4 side by side, so that nothing has to cross halves afterwards.
            let a = _mm256_set_m128(half(4, side), half(0, side));
            let b = _mm256_set_m128(half(5, side), half(1, side));
            let c = _mm256_set_m128(half(6, side), half(2, side));
            let d = _mm256_set_m128(half(7, side), half(3, side));
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let columns = [
                _mm256_shuffle_ps(ab_low, cd_low, 0b01_00_01_00),
                _mm256_shuffle_ps(ab_low, cd_low, 0b11_10_11_10),
                _mm256_shuffle_ps(ab_high, cd_high, 0b01_00_01_00),
                _mm256_shuffle_ps(ab_high, cd_high, 0b11_10_11_10),
            ];
            for (j, column) in columns.into_iter().enumerate() {
                _mm256_storeu_ps(to.add((side + j) * to_stride), column);
            }
        }
    }
}
