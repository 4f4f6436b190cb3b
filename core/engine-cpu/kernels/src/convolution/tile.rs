//! Sums of a correlation in registers: a few outputs at a few vectors of positions.

use std::marker::PhantomData;

use super::ahead::Ahead;
use crate::{
    factors::Kind,
    numbers::Stored,
    simd::{Kernel, Simd},
};

/// Outputs that are packed side by side.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    pub first: usize,
    pub width: usize,
}

/// How the outputs of a group are cut into panels: as wide as the registers like, then 4, then what is left.
#[derive(Clone, Copy, Debug)]
pub struct Panels {
    outs: usize,
    most: usize,
}

/// The widest panel of any instruction set.
pub const WIDEST: usize = 8;

impl Panels {
    pub fn of<S: Simd>(outs: usize) -> Panels {
        let most = match S::REGISTERS {
            32 => WIDEST,
            16 => 6,
            _ => 4,
        };
        Panels { outs, most }
    }

    /// The width of the widest.
    pub fn most(&self) -> usize {
        self.most.min(self.outs)
    }

    pub fn count(&self) -> usize {
        let rest = self.outs % self.most;
        self.outs / self.most + rest / 4 + usize::from(!rest.is_multiple_of(4))
    }

    pub fn get(&self, index: usize) -> Panel {
        let whole = self.outs / self.most;
        let first = index.min(whole) * self.most + index.saturating_sub(whole) * 4;
        let most = if index < whole { self.most } else { 4 };
        Panel { first, width: most.min(self.outs - first) }
    }
}

/// What is summed: output o at position q is `bias[o] + sum over k of weights[k][o] * source[offsets[k] + q]`, k a step of words: see
/// [`Kind`].
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub source: *const f32,
    pub offsets: &'a [u32],
    /// As many as outputs for each offset.
    pub weights: *const f32,
    pub bias: &'a [f32; WIDEST],
    /// What is not positive is multiplied by it; within 0 to 1, 0 excluded. 1 changes nothing.
    pub slope: f32,
}

/// Positions of a panel of outputs.
#[derive(Clone, Copy)]
pub struct Sums<'a, T> {
    pub terms: Terms<'a>,
    /// Outputs of the panel.
    pub width: usize,
    /// Vectors of positions.
    pub vectors: usize,
    pub to: *mut T,
    /// From one output's sums to the next.
    pub stride: usize,
}

/// Computes a panel's sums, and wishes for what is `ahead` meanwhile. Not inlined: where the compiler keeps numbers of the code around it in registers, too few are left, and
/// a sum that is kept in memory makes each step wait for it.
///
/// # Safety
/// `source` is valid for the positions behind each offset, `weights` for all of them, `to` for the outputs' positions.
#[inline(never)]
pub unsafe fn sweep<K: Kind, S: Simd, T: Stored>(sums: Sums<'_, T>, ahead: &mut [Ahead; 2]) {
    S::ISA.run(Sweep::<K, T>(sums, ahead, PhantomData));
}

/// What [`sweep`] is asked for; its promises hold.
struct Sweep<'a, K, T>(Sums<'a, T>, &'a mut [Ahead; 2], PhantomData<K>);

impl<K: Kind, T: Stored> Kernel for Sweep<'_, K, T> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sweep(sums, ahead, _) = self;
        // Registers hold the sums, one vector of the source or one number of the kernel, and the smaller of the two sides.
        // SAFETY: the promises of `sweep`'s caller.
        unsafe {
            match (S::REGISTERS, sums.width) {
                (32, 8) => blocks::<K, S, T, 8, 3>(s, sums, ahead),
                (32, 4) => blocks::<K, S, T, 4, 6>(s, sums, ahead),
                (32, 3) => blocks::<K, S, T, 3, 8>(s, sums, ahead),
                (32, 2) => blocks::<K, S, T, 2, 8>(s, sums, ahead),
                (32, 1) => blocks::<K, S, T, 1, 8>(s, sums, ahead),
                (16, 6) => blocks::<K, S, T, 6, 2>(s, sums, ahead),
                (16, 4) => blocks::<K, S, T, 4, 2>(s, sums, ahead),
                (16, 3) => blocks::<K, S, T, 3, 4>(s, sums, ahead),
                (16, 2) => blocks::<K, S, T, 2, 5>(s, sums, ahead),
                (16, 1) => blocks::<K, S, T, 1, 8>(s, sums, ahead),
                (_, 4) => blocks::<K, S, T, 4, 1>(s, sums, ahead),
                (_, 3) => blocks::<K, S, T, 3, 1>(s, sums, ahead),
                (_, 2) => blocks::<K, S, T, 2, 2>(s, sums, ahead),
                (_, 1) => blocks::<K, S, T, 1, 4>(s, sums, ahead),
                _ => unreachable!("no panel has this width"),
            }
        }
    }
}

/// # Safety
/// As for [`sweep`].
#[inline(always)]
unsafe fn blocks<K: Kind, S: Simd, T: Stored, const O: usize, const P: usize>(
    s: S,
    sums: Sums<'_, T>,
    ahead: &mut [Ahead; 2],
) {
    let mut at = 0;
    // SAFETY: the caller's promises; vectors from `at` on.
    unsafe {
        while sums.vectors - at >= P {
            ahead.iter_mut().for_each(|ahead| ahead.wish(P));
            tile::<K, S, T, O, P>(s, sums, at * S::LANES);
            at += P;
        }
        if P > 4 && sums.vectors - at >= 4 {
            tile::<K, S, T, O, 4>(s, sums, at * S::LANES);
            at += 4;
        }
        if P > 2 && sums.vectors - at >= 2 {
            tile::<K, S, T, O, 2>(s, sums, at * S::LANES);
            at += 2;
        }
        if P > 1 && sums.vectors > at {
            tile::<K, S, T, O, 1>(s, sums, at * S::LANES);
        }
    }
}

/// # Safety
/// As for [`sweep`], for P vectors from position `at` on.
#[inline(always)]
unsafe fn tile<K: Kind, S: Simd, T: Stored, const O: usize, const P: usize>(s: S, job: Sums<'_, T>, at: usize) {
    let Sums { terms, to, stride, .. } = job;
    let mut sums = [[s.splat(0.0); P]; O];
    for (sums, &bias) in sums.iter_mut().zip(terms.bias) {
        *sums = [s.splat(bias); P];
    }
    // SAFETY: the caller's promises.
    unsafe {
        let source = terms.source.add(at);
        let mut weights = terms.weights;
        for &offset in terms.offsets {
            let from = source.add(offset as usize);
            if O >= P {
                let mut x = [s.splat(0.0); P];
                for (p, x) in x.iter_mut().enumerate() {
                    *x = s.load(from.add(p * S::LANES));
                }
                for (o, sums) in sums.iter_mut().enumerate() {
                    let w = s.splat(*weights.add(o));
                    for (sum, &x) in sums.iter_mut().zip(&x) {
                        *sum = K::dot(s, w, x, *sum);
                    }
                }
            } else {
                let mut w = [s.splat(0.0); O];
                for (o, w) in w.iter_mut().enumerate() {
                    *w = s.splat(*weights.add(o));
                }
                for p in 0..P {
                    let x = s.load(from.add(p * S::LANES));
                    for (sums, &w) in sums.iter_mut().zip(&w) {
                        sums[p] = K::dot(s, w, x, sums[p]);
                    }
                }
            }
            weights = weights.add(O);
        }
        let slope = s.splat(terms.slope);
        for (o, sums) in sums.iter().enumerate() {
            let to = to.add(o * stride + at);
            // The order of operands lets a NaN through.
            let (pairs, rest) = sums.as_chunks::<2>();
            for (p, &[first, second]) in pairs.iter().enumerate() {
                let (first, second) = (s.max(first, s.mul(first, slope)), s.max(second, s.mul(second, slope)));
                T::store_pair::<K, S>(s, to.add(2 * p * S::LANES), first, second);
            }
            if let &[sum] = rest {
                T::store_one::<K, S>(s, to.add((P - 1) * S::LANES), s.max(sum, s.mul(sum, slope)));
            }
        }
    }
}
