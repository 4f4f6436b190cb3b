//! AVX2 with FMA, and AVX-512.

use std::{arch::x86_64::*, mem::transmute};

use super::{Isa, Kernel, Simd};

/// AVX2, FMA: exists only where the processor has them.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

/// AVX-512 F, BW, DQ, VL, with AVX2 and FMA, and with `BF16` its dot products of bfloat16: exists only where the processor has them.
#[derive(Clone, Copy, Debug)]
pub struct Avx512<const BF16: bool>(());

impl Avx2 {
    pub fn new() -> Option<Avx2> {
        let here = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        here.then_some(Avx2(()))
    }

    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: a value of this type is the proof that the processor has the features.
        unsafe { compiled(self, kernel) }
    }
}

impl<const BF16: bool> Avx512<BF16> {
    pub fn new() -> Option<Avx512<BF16>> {
        let here = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && (!BF16 || is_x86_feature_detected!("avx512bf16"));
        here.then_some(Avx512(()))
    }
}

impl Avx512<false> {
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn compiled<K: Kernel>(simd: Avx512<false>, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: a value of this type is the proof that the processor has the features.
        unsafe { compiled(self, kernel) }
    }
}

impl Avx512<true> {
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,avx512bf16")]
        fn compiled<K: Kernel>(simd: Avx512<true>, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: a value of this type is the proof that the processor has the features.
        unsafe { compiled(self, kernel) }
    }
}

/// Calls intrinsics that need nothing but the instruction set.
macro_rules! with_features {
    ($call:expr) => {
        // SAFETY: a value of this type is the proof that the processor has the features.
        unsafe { $call }
    };
}

// SAFETY: a value exists only where the processor has the instructions.
unsafe impl<const BF16: bool> Simd for Avx512<BF16> {
    const ISA: Isa = if BF16 { Isa::Avx512Bf16 } else { Isa::Avx512 };
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    const STEPS: usize = if BF16 { 2 } else { 1 };
    type F = __m512;
    type M = __mmask16;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        with_features!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        with_features!(_mm512_loadu_ps(from))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        with_features!(_mm512_storeu_ps(to, x))
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m512 {
        with_features!(_mm512_maskz_loadu_ps(((1u32 << count) - 1) as __mmask16, from))
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: __m512, count: usize) {
        with_features!(_mm512_mask_storeu_ps(to, ((1u32 << count) - 1) as __mmask16, x))
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m512 {
        with_features!({
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))
        })
    }
    #[inline(always)]
    unsafe fn load_first_bf16(self, from: *const u16, count: usize) -> __m512 {
        with_features!({
            let halves = _mm256_maskz_loadu_epi16(((1u32 << count) - 1) as __mmask16, from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))
        })
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, x: __m512) {
        with_features!({
            let bits = _mm512_castps_si512(self.round_bf16(x));
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)))
        })
    }
    #[inline(always)]
    unsafe fn store_first_bf16(self, to: *mut u16, x: __m512, count: usize) {
        with_features!({
            let bits = _mm512_srli_epi32(_mm512_castps_si512(self.round_bf16(x)), 16);
            _mm256_mask_storeu_epi16(to.cast(), ((1u32 << count) - 1) as __mmask16, _mm512_cvtepi32_epi16(bits))
        })
    }
    #[inline(always)]
    fn round_bf16(self, x: __m512) -> __m512 {
        with_features!({
            let bits = _mm512_castps_si512(x);
            let odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            let nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
            let chosen = _mm512_mask_blend_epi32(nan, rounded, quiet);
            _mm512_castsi512_ps(_mm512_and_si512(chosen, _mm512_set1_epi32(-0x1_0000)))
        })
    }
    #[inline(always)]
    fn factors_along(self, first: __m512, second: __m512) -> __m512 {
        if !BF16 {
            return self.round_bf16(first);
        }
        // SAFETY: as for `with_features`; both types are 512 bits without a meaning of their own.
        unsafe { transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(second, first)) }
    }
    #[inline(always)]
    fn factors_across(self, first: __m512, second: __m512) -> __m512 {
        if !BF16 {
            return self.round_bf16(first);
        }
        // Where each half of a lane stands in the one vector of `first` and then `second`.
        const PLACES: [u16; 32] = {
            let mut places = [0; 32];
            let mut i = 0;
            while i < 32 {
                places[i] = (i / 2 + i % 2 * 16) as u16;
                i += 1;
            }
            places
        };
        let both = self.factors_along(first, second);
        with_features!({
            let places = _mm512_loadu_si512(PLACES.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(places, _mm512_castps_si512(both)))
        })
    }
    #[inline(always)]
    unsafe fn load_along(self, from: *const u16) -> __m512 {
        // SAFETY: the caller's promise: of two steps in a lane, the first is its lower half, as it stands in memory.
        unsafe { if BF16 { self.load(from.cast()) } else { self.load_bf16(from) } }
    }
    #[inline(always)]
    unsafe fn load_across(self, first: *const u16, second: *const u16) -> __m512 {
        if !BF16 {
            // SAFETY: the caller's promise.
            return unsafe { self.load_bf16(first) };
        }
        with_features!({
            let low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(first.cast()));
            let high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(second.cast()));
            _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)))
        })
    }
    #[inline(always)]
    fn dot(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        if !BF16 {
            return self.fma(a, b, c);
        }
        // SAFETY: as for `factors_along`.
        unsafe { _mm512_dpbf16_ps(c, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b)) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        with_features!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        with_features!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        with_features!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        with_features!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        with_features!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        with_features!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        with_features!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        with_features!(_mm512_sqrt_ps(a))
    }
    #[inline(always)]
    fn floor(self, a: __m512) -> __m512 {
        with_features!(_mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC))
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        with_features!(_mm512_abs_ps(a))
    }
    #[inline(always)]
    fn neg(self, a: __m512) -> __m512 {
        with_features!(_mm512_xor_ps(a, _mm512_set1_ps(-0.0)))
    }
    #[inline(always)]
    fn copysign(self, a: __m512, b: __m512) -> __m512 {
        with_features!({
            let sign = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, b))
        })
    }
    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        with_features!(_mm512_scalef_ps(a, n))
    }
    #[inline(always)]
    fn split(self, a: __m512) -> (__m512, __m512) {
        with_features!({
            let mantissa = _mm512_getmant_ps(a, _MM_MANT_NORM_P5_1, _MM_MANT_SIGN_SRC);
            (mantissa, _mm512_add_ps(_mm512_getexp_ps(a), _mm512_set1_ps(1.0)))
        })
    }

    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        with_features!(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ))
    }
    #[inline(always)]
    fn le(self, a: __m512, b: __m512) -> __mmask16 {
        with_features!(_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ))
    }
    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        with_features!(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ))
    }
    #[inline(always)]
    fn select(self, mask: __mmask16, a: __m512, b: __m512) -> __m512 {
        with_features!(_mm512_mask_blend_ps(mask, b, a))
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        with_features!(_mm512_reduce_add_ps(a))
    }
    #[inline(always)]
    fn greatest_number(self, a: __m512) -> f32 {
        with_features!(_mm512_reduce_max_ps(a))
    }
    #[inline(always)]
    fn greatest(self, a: __m512) -> f32 {
        let mut lanes = [0.0; 16];
        with_features!(_mm512_storeu_ps(lanes.as_mut_ptr(), a));
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// A mask of the first lanes for `maskload` and `maskstore`.
#[inline(always)]
fn first(count: usize) -> __m256i {
    with_features!({
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
    })
}

// SAFETY: a value exists only where the processor has the instructions.
unsafe impl Simd for Avx2 {
    const ISA: Isa = Isa::Avx2;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type F = __m256;
    type M = __m256;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        with_features!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        with_features!(_mm256_loadu_ps(from))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m256) {
        with_features!(_mm256_storeu_ps(to, x))
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m256 {
        with_features!(_mm256_maskload_ps(from, first(count)))
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: __m256, count: usize) {
        with_features!(_mm256_maskstore_ps(to, first(count), x))
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m256 {
        with_features!({
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))
        })
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, x: __m256) {
        with_features!({
            let bits = _mm256_srli_epi32(_mm256_castps_si256(self.round_bf16(x)), 16);
            let halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0b1000);
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(halves))
        })
    }
    #[inline(always)]
    fn round_bf16(self, x: __m256) -> __m256 {
        with_features!({
            let bits = _mm256_castps_si256(x);
            let odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
            let chosen = _mm256_blendv_epi8(rounded, quiet, nan);
            _mm256_castsi256_ps(_mm256_and_si256(chosen, _mm256_set1_epi32(-0x1_0000)))
        })
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        with_features!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        with_features!(_mm256_sqrt_ps(a))
    }
    #[inline(always)]
    fn floor(self, a: __m256) -> __m256 {
        with_features!(_mm256_floor_ps(a))
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        with_features!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), a))
    }
    #[inline(always)]
    fn neg(self, a: __m256) -> __m256 {
        with_features!(_mm256_xor_ps(a, _mm256_set1_ps(-0.0)))
    }
    #[inline(always)]
    fn copysign(self, a: __m256, b: __m256) -> __m256 {
        with_features!({
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        })
    }
    #[inline(always)]
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        with_features!({
            // In two factors, so that gradual underflow is rounded once.
            let bounded = _mm256_min_ps(_mm256_set1_ps(254.0), _mm256_max_ps(_mm256_set1_ps(-252.0), n));
            let n = _mm256_cvtps_epi32(bounded);
            let half = _mm256_srai_epi32(n, 1);
            let bias = _mm256_set1_epi32(127);
            let first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
            let second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
            _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second))
        })
    }
    #[inline(always)]
    fn split(self, a: __m256) -> (__m256, __m256) {
        with_features!({
            // Subnormal numbers are lifted first.
            let tiny = _mm256_cmp_ps(a, _mm256_set1_ps(f32::MIN_POSITIVE), _CMP_LT_OQ);
            let lifted = _mm256_blendv_ps(a, _mm256_mul_ps(a, _mm256_set1_ps(16_777_216.0)), tiny);
            let bits = _mm256_castps_si256(lifted);
            let exponent = _mm256_cvtepi32_ps(_mm256_srli_epi32(bits, 23));
            let bias = _mm256_blendv_ps(_mm256_set1_ps(126.0), _mm256_set1_ps(150.0), tiny);
            let mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff));
            let mantissa = _mm256_or_si256(mantissa, _mm256_set1_epi32(0x3f00_0000));
            (_mm256_castsi256_ps(mantissa), _mm256_sub_ps(exponent, bias))
        })
    }

    #[inline(always)]
    fn lt(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_cmp_ps(a, b, _CMP_LT_OQ))
    }
    #[inline(always)]
    fn le(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_cmp_ps(a, b, _CMP_LE_OQ))
    }
    #[inline(always)]
    fn eq(self, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_cmp_ps(a, b, _CMP_EQ_OQ))
    }
    #[inline(always)]
    fn select(self, mask: __m256, a: __m256, b: __m256) -> __m256 {
        with_features!(_mm256_blendv_ps(b, a, mask))
    }

    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        let mut x = [0.0; 8];
        with_features!(_mm256_storeu_ps(x.as_mut_ptr(), a));
        ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    }
    #[inline(always)]
    fn greatest_number(self, a: __m256) -> f32 {
        with_features!({
            let half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
            let pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)))
        })
    }
    #[inline(always)]
    fn greatest(self, a: __m256) -> f32 {
        let mut lanes = [0.0; 8];
        with_features!(_mm256_storeu_ps(lanes.as_mut_ptr(), a));
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
