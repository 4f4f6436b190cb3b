//! One vector of `f32` lanes, whatever the processor calls it.
//!
//! A kernel is written once, as a [`Kernel`] that is generic over [`Simd`]; [`Isa::run`] compiles it for every instruction set and
//! picks one at run time. Everything between the two is `#[inline(always)]`: only then do the instructions end up in a function
//! that has the target features which they need.

mod math;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::{fmt, str::FromStr, sync::OnceLock};

pub use math::{erf, exp, gelu, gelu_slope, log, tanh};
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// The operations of one instruction set on a vector of `LANES` floats.
///
/// # Safety
/// Values of an implementing type exist only where the processor has its instructions. Pointers must be valid for the lanes that
/// are touched; alignment is not asked for.
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    /// Its name at run time: what threads that take up work compile it for anew.
    const ISA: Isa;
    /// Lanes of a vector.
    const LANES: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// Consecutive steps of a contraction in one lane of factors that are rounded to bfloat16: two, as halves of the lane, where the
    /// processor adds products of pairs; else one, widened.
    const STEPS: usize = 1;
    type F: Copy;
    type M: Copy;

    fn splat(self, x: f32) -> Self::F;
    /// # Safety
    /// `from` is valid for `LANES` reads.
    unsafe fn load(self, from: *const f32) -> Self::F;
    /// # Safety
    /// `to` is valid for `LANES` writes.
    unsafe fn store(self, to: *mut f32, x: Self::F);
    /// The first `count` lanes, zeros after them.
    ///
    /// # Safety
    /// `from` is valid for `count` reads; `count` is at most `LANES`.
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::F;
    /// # Safety
    /// `to` is valid for `count` writes; `count` is at most `LANES`.
    unsafe fn store_first(self, to: *mut f32, x: Self::F, count: usize);
    /// Numbers of bfloat16, widened.
    ///
    /// # Safety
    /// `from` is valid for `LANES` reads.
    unsafe fn load_bf16(self, from: *const u16) -> Self::F;
    /// The first `count` of them, zeros after them.
    ///
    /// # Safety
    /// `from` is valid for `count` reads; `count` is at most `LANES`.
    #[inline(always)]
    unsafe fn load_first_bf16(self, from: *const u16, count: usize) -> Self::F {
        let mut lanes = [0; 16];
        // SAFETY: the caller's promise; no vector has more lanes.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            self.load_bf16(lanes.as_ptr())
        }
    }
    /// Rounded to the nearest, ties to even; NaN stays NaN.
    ///
    /// # Safety
    /// `to` is valid for `LANES` writes.
    unsafe fn store_bf16(self, to: *mut u16, x: Self::F);
    /// The first `count` lanes, so rounded.
    ///
    /// # Safety
    /// `to` is valid for `count` writes; `count` is at most `LANES`.
    #[inline(always)]
    unsafe fn store_first_bf16(self, to: *mut u16, x: Self::F, count: usize) {
        let mut lanes = [0; 16];
        // SAFETY: the caller's promise; no vector has more lanes.
        unsafe {
            self.store_bf16(lanes.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
    /// The nearest number of bfloat16, ties to even; NaN stays NaN.
    fn round_bf16(self, x: Self::F) -> Self::F;

    /// Factors in bfloat16 of consecutive steps: those of `first`; with two in a lane those of `first` and then of `second`.
    #[inline(always)]
    fn factors_along(self, first: Self::F, _second: Self::F) -> Self::F {
        self.round_bf16(first)
    }
    /// Factors in bfloat16 of neighbours: lane i has that of `first`; with two steps in a lane, `second` has the later one.
    #[inline(always)]
    fn factors_across(self, first: Self::F, _second: Self::F) -> Self::F {
        self.round_bf16(first)
    }
    /// [`Simd::factors_along`] of as many numbers of bfloat16 as lanes have steps.
    ///
    /// # Safety
    /// `from` is valid for `STEPS * LANES` reads.
    #[inline(always)]
    unsafe fn load_along(self, from: *const u16) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { self.load_bf16(from) }
    }
    /// [`Simd::factors_across`] of numbers of bfloat16.
    ///
    /// # Safety
    /// `first` is valid for `LANES` reads, and so is `second` where lanes have two steps.
    #[inline(always)]
    unsafe fn load_across(self, first: *const u16, _second: *const u16) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { self.load_bf16(first) }
    }
    /// `c` and, to each lane, the products of the steps in the lanes of two vectors of factors. Where a lane has two, each is rounded
    /// by itself, and subnormal factors and sums count as zero.
    #[inline(always)]
    fn dot(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        self.fma(a, b, c)
    }

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, in one rounding where the processor can.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    fn floor(self, a: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    fn neg(self, a: Self::F) -> Self::F;
    /// `|a|` with the sign of `b`.
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * 2^n` for whole `n`, gradual underflow and overflow included.
    fn scale(self, a: Self::F, n: Self::F) -> Self::F;
    /// `a = m * 2^n` with m in [0.5, 1), for finite positive `a`: (m, n).
    fn split(self, a: Self::F) -> (Self::F, Self::F);

    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    fn le(self, a: Self::F, b: Self::F) -> Self::M;
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    /// Where the mask is set `a`, elsewhere `b`.
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F;

    /// In an order that depends on the instruction set and on nothing else.
    fn sum(self, a: Self::F) -> f32;
    /// NaN only if every lane is.
    fn greatest(self, a: Self::F) -> f32;
    /// The greatest lane, where none is NaN.
    #[inline(always)]
    fn greatest_number(self, a: Self::F) -> f32 {
        self.greatest(a)
    }
}

/// Work that is compiled for every instruction set.
pub trait Kernel {
    type Output;
    /// Whether it has factors in bfloat16. Only such kernels are compiled for [`Isa::Avx512Bf16`]; to the others it is AVX-512.
    const BF16: bool = false;
    /// Must be `#[inline(always)]`, and so must everything that it calls on vectors.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// What a processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What every processor of the architecture has: SSE2, NEON.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with dot products of bfloat16.
    Avx512Bf16,
}

/// An instruction set that is unknown, or that this processor lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaError(String);

impl Isa {
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];

    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
        }
    }

    /// The best that this processor has.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::ALL.into_iter().rev().find(|isa| isa.is_here()).unwrap_or(Isa::Portable))
    }

    /// Whether this processor has it.
    pub fn is_here(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Isa::Portable => true,
            Isa::Avx2 => Avx2::new().is_some(),
            Isa::Avx512 => Avx512::<false>::new().is_some(),
            Isa::Avx512Bf16 => Avx512::<true>::new().is_some(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Isa::Portable;
    }

    /// Those that this processor has, the plainest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_here())
    }

    /// Runs the kernel with this instruction set.
    ///
    /// # Panics
    /// When this processor lacks it.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Isa::Portable => kernel.run(Portable),
            Isa::Avx2 => Avx2::new().expect("this processor has no AVX2").run(kernel),
            Isa::Avx512Bf16 if K::BF16 => Avx512::<true>::new().expect("this processor has no AVX512_BF16").run(kernel),
            Isa::Avx512 | Isa::Avx512Bf16 => Avx512::<false>::new().expect("this processor has no AVX-512").run(kernel),
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            assert_eq!(self, Isa::Portable, "this processor has no {self}");
            kernel.run(Portable)
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(text: &str) -> Result<Isa, IsaError> {
        let names = || Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ");
        match Isa::ALL.into_iter().find(|isa| isa.name() == text) {
            Some(isa) if isa.is_here() => Ok(isa),
            Some(isa) => Err(IsaError(format!("this processor has no {isa}; it has {}", names()))),
            None => Err(IsaError(format!("{text:?} is no instruction set; there are {}", names()))),
        }
    }
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IsaError {}
