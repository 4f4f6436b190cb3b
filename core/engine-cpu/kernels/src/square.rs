//! Small squares of numbers, transposed in registers.

use crate::simd::{Isa, Simd};

/// Numbers that are transposed at once, along either axis.
pub const SQUARE: usize = 8;

/// Writes column i of 8 rows of 8 as row i.
///
/// # Safety
/// `from` and `to` are valid for 8 rows of 8.
#[inline(always)]
pub unsafe fn square<S: Simd>(_: S, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if S::ISA != Isa::Portable {
        // SAFETY: the caller's promise; the other instruction sets include AVX.
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
