//! What a product's factors are rounded to, and how lanes of them meet.
//!
//! Rounding to bfloat16 halves what is read, and AVX512_BF16 adds two products for each lane of an instruction, so such a product
//! takes half of the time. Sums are always of `f32`.

use crate::{
    bf16::{round, widen},
    simd::Simd,
};

/// What the factors of a product are rounded to; its sums are of `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Factors {
    /// Nothing: they stay as they are.
    #[default]
    F32,
    /// bfloat16: the nearest number, ties to even; NaN and infinity stay what they are.
    ///
    /// The product of two such numbers is exact in `f32`, so instruction sets differ only in how they round sums: AVX512_BF16
    /// adds the products of two steps one after the other, and to it subnormal factors and sums are zeros.
    Bf16,
}

/// [`Factors`] where the compiler sees them. Several steps of a contraction may stand in one lane, a *word*.
pub trait Kind: Copy + Send + Sync + 'static {
    /// Whether factors are bfloat16. Others can be read where they stand.
    const BF16: bool;
    /// Steps of the contraction in a word.
    fn steps<S: Simd>() -> usize;
    /// Words of consecutive steps: those of `first`, and then of `second` where words hold two.
    fn along<S: Simd>(s: S, first: S::F, second: S::F) -> S::F;
    /// Words of neighbours: the step in `first`, and the one in `second` where words hold two.
    fn across<S: Simd>(s: S, first: S::F, second: S::F) -> S::F;
    /// One word: the step `first`, and then `second` where words hold two.
    fn word<S: Simd>(first: f32, second: f32) -> f32;
    /// `c` and the products of the words' steps.
    fn dot<S: Simd>(s: S, a: S::F, b: S::F, c: S::F) -> S::F;

    /// Words that hold so many steps.
    #[inline(always)]
    fn words<S: Simd>(steps: usize) -> usize {
        steps.div_ceil(Self::steps::<S>())
    }
}

/// [`Factors::F32`].
#[derive(Clone, Copy, Debug)]
pub struct Exact;

impl Kind for Exact {
    const BF16: bool = false;
    #[inline(always)]
    fn steps<S: Simd>() -> usize {
        1
    }
    #[inline(always)]
    fn along<S: Simd>(_: S, first: S::F, _: S::F) -> S::F {
        first
    }
    #[inline(always)]
    fn across<S: Simd>(_: S, first: S::F, _: S::F) -> S::F {
        first
    }
    #[inline(always)]
    fn word<S: Simd>(first: f32, _: f32) -> f32 {
        first
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, a: S::F, b: S::F, c: S::F) -> S::F {
        s.fma(a, b, c)
    }
}

/// [`Factors::Bf16`].
#[derive(Clone, Copy, Debug)]
pub struct Rounded;

impl Kind for Rounded {
    const BF16: bool = true;
    #[inline(always)]
    fn steps<S: Simd>() -> usize {
        S::STEPS
    }
    #[inline(always)]
    fn along<S: Simd>(s: S, first: S::F, second: S::F) -> S::F {
        s.factors_along(first, second)
    }
    #[inline(always)]
    fn across<S: Simd>(s: S, first: S::F, second: S::F) -> S::F {
        s.factors_across(first, second)
    }
    #[inline(always)]
    fn word<S: Simd>(first: f32, second: f32) -> f32 {
        match S::STEPS {
            1 => widen(round(first)),
            _ => f32::from_bits(u32::from(round(first)) | u32::from(round(second)) << 16),
        }
    }
    #[inline(always)]
    fn dot<S: Simd>(s: S, a: S::F, b: S::F, c: S::F) -> S::F {
        s.dot(a, b, c)
    }
}
