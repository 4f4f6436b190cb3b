//! Eight lanes in an array: the compiler makes of it what every processor of the architecture has.

use super::{Isa, Simd};
use crate::bf16;

/// Needs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

type F = [f32; 8];
type M = [bool; 8];

#[inline(always)]
fn map(a: F, f: impl Fn(f32) -> f32) -> F {
    let mut out = a;
    for x in &mut out {
        *x = f(*x);
    }
    out
}

#[inline(always)]
fn zip(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    let mut out = a;
    for (x, y) in out.iter_mut().zip(b) {
        *x = f(*x, y);
    }
    out
}

#[inline(always)]
fn test(a: F, b: F, f: impl Fn(&f32, &f32) -> bool) -> M {
    let mut out = [false; 8];
    for i in 0..8 {
        out[i] = f(&a[i], &b[i]);
    }
    out
}

/// 2^n for whole n from -126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

// SAFETY: the instructions are plain Rust.
unsafe impl Simd for Portable {
    const ISA: Isa = Isa::Portable;
    const LANES: usize = 8;
    const REGISTERS: usize = 8;
    type F = F;
    type M = M;

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> F {
        // SAFETY: the caller's promise; an array of floats may be read at any address through an unaligned read.
        unsafe { from.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: F) {
        // SAFETY: as for `load`.
        unsafe { to.cast::<F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> F {
        let mut out = [0.0; 8];
        for (i, x) in out.iter_mut().enumerate().take(count) {
            // SAFETY: i is below count.
            *x = unsafe { from.add(i).read() };
        }
        out
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: F, count: usize) {
        for (i, x) in x.into_iter().enumerate().take(count) {
            // SAFETY: i is below count.
            unsafe { to.add(i).write(x) };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> F {
        // SAFETY: the caller's promise.
        let halves = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        halves.map(|h| f32::from_bits(u32::from(h) << 16))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, x: F) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[u16; 8]>().write_unaligned(x.map(bf16::round)) }
    }
    #[inline(always)]
    fn round_bf16(self, x: F) -> F {
        map(x, |x| bf16::widen(bf16::round(x)))
    }

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        // Where there is no such instruction, the library's exact one would be a call for each lane.
        let mut out = c;
        for i in 0..8 {
            out[i] = if cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] };
        }
        out
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: F) -> F {
        map(a, f32::sqrt)
    }
    #[inline(always)]
    fn floor(self, a: F) -> F {
        map(a, f32::floor)
    }
    #[inline(always)]
    fn abs(self, a: F) -> F {
        map(a, f32::abs)
    }
    #[inline(always)]
    fn neg(self, a: F) -> F {
        map(a, |x| -x)
    }
    #[inline(always)]
    fn copysign(self, a: F, b: F) -> F {
        zip(a, b, f32::copysign)
    }
    #[inline(always)]
    fn scale(self, a: F, n: F) -> F {
        zip(a, n, |a, n| {
            let n = n.clamp(-252.0, 254.0) as i32;
            let half = n >> 1;
            a * power_of_two(half) * power_of_two(n - half)
        })
    }
    #[inline(always)]
    fn split(self, a: F) -> (F, F) {
        // Subnormal numbers are lifted first.
        let tiny = a.map(|x| x < f32::MIN_POSITIVE);
        let mut lifted = a;
        for i in 0..8 {
            lifted[i] *= if tiny[i] { power_of_two(24) } else { 1.0 };
        }
        let mut exponent = lifted.map(|x| (x.to_bits() >> 23) as f32 - 126.0);
        for i in 0..8 {
            exponent[i] -= if tiny[i] { 24.0 } else { 0.0 };
        }
        (lifted.map(|x| f32::from_bits((x.to_bits() & 0x007f_ffff) | 0x3f00_0000)), exponent)
    }

    #[inline(always)]
    fn lt(self, a: F, b: F) -> M {
        test(a, b, |a, b| a < b)
    }
    #[inline(always)]
    fn le(self, a: F, b: F) -> M {
        test(a, b, |a, b| a <= b)
    }
    #[inline(always)]
    fn eq(self, a: F, b: F) -> M {
        test(a, b, |a, b| a == b)
    }
    #[inline(always)]
    fn select(self, mask: M, a: F, b: F) -> F {
        let mut out = b;
        for i in 0..8 {
            out[i] = if mask[i] { a[i] } else { b[i] };
        }
        out
    }

    #[inline(always)]
    fn sum(self, a: F) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn greatest(self, a: F) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
