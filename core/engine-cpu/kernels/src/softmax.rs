//! The softmax of rows, its logarithm, and their gradients.
//!
//! A row's greatest number is taken off first, so exponentials are at most 1: `e^(x - max) / sum`. What the formula makes NaN is NaN: a
//! row that holds NaN or infinity, or nothing but -infinity.

use rayon::prelude::*;

use crate::{
    simd::{Isa, Kernel, Simd, exp},
    vectors::{TASK, fold, map, sum},
};

/// `y = softmax(x)` of dense rows of `width`.
///
/// # Panics
/// When slices have other sizes.
pub fn softmax(isa: Isa, (rows, width): (usize, usize), x: &[f32], y: &mut [f32]) {
    run(isa, Function::Softmax, (rows, width), x, None, y);
}

/// The gradient of `x` from that of `softmax(x)`: `p (g - sum(p g))`.
///
/// # Panics
/// When slices have other sizes.
pub fn softmax_grad(isa: Isa, (rows, width): (usize, usize), x: &[f32], grad: &[f32], grad_x: &mut [f32]) {
    run(isa, Function::SoftmaxGrad, (rows, width), x, Some(grad), grad_x);
}

/// `y = log(softmax(x))` of dense rows of `width`.
///
/// # Panics
/// When slices have other sizes.
pub fn log_softmax(isa: Isa, (rows, width): (usize, usize), x: &[f32], y: &mut [f32]) {
    run(isa, Function::LogSoftmax, (rows, width), x, None, y);
}

/// The gradient of `x` from that of `log(softmax(x))`: `g - p sum(g)`.
///
/// # Panics
/// When slices have other sizes.
pub fn log_softmax_grad(isa: Isa, (rows, width): (usize, usize), x: &[f32], grad: &[f32], grad_x: &mut [f32]) {
    run(isa, Function::LogSoftmaxGrad, (rows, width), x, Some(grad), grad_x);
}

#[derive(Clone, Copy)]
enum Function {
    Softmax,
    SoftmaxGrad,
    LogSoftmax,
    LogSoftmaxGrad,
}

fn run(isa: Isa, function: Function, (rows, width): (usize, usize), x: &[f32], grad: Option<&[f32]>, to: &mut [f32]) {
    assert!(x.len() == rows * width && to.len() == x.len(), "x or the result has another size");
    // Where there is no gradient, nothing reads it.
    let grad = grad.unwrap_or(x);
    assert_eq!(grad.len(), x.len(), "the gradient has another size");
    if width == 0 {
        return;
    }
    let share = (TASK / 2 / width).max(1) * width;
    to.par_chunks_mut(share).zip(x.par_chunks(share)).zip(grad.par_chunks(share)).for_each(|((to, x), grad)| {
        isa.run(Rows { function, width, x, grad, to });
    });
}

struct Rows<'a> {
    function: Function,
    width: usize,
    x: &'a [f32],
    grad: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows { function, width, x, grad, to } = self;
        for ((x, grad), to) in x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(to.chunks_exact_mut(width)) {
            // SAFETY: all have `width` numbers.
            unsafe { row(s, function, width, x.as_ptr(), grad.as_ptr(), to.as_mut_ptr()) };
        }
    }
}

/// # Safety
/// All are valid for `width` numbers.
#[inline(always)]
unsafe fn row<S: Simd>(s: S, function: Function, width: usize, x: *const f32, grad: *const f32, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        // NaN is left out here, but not from the sum.
        let top = fold!(s, width, f32::NEG_INFINITY, [x], |top| s.max(x, top), |a, b| s.max(a, b));
        let top = s.splat(s.greatest(top));
        // Exponentials stay where the result will be.
        map!(s, width, to, [x], exp(s, s.sub(x, top)));
        let e = to.cast_const();
        let total = sum!(s, width, [e], |sum| s.add(sum, e));
        match function {
            Function::Softmax => {
                let factor = s.splat(1.0 / total);
                map!(s, width, to, [e], s.mul(e, factor));
            }
            Function::SoftmaxGrad => {
                let dot = s.splat(sum!(s, width, [e, grad], |sum| s.fma(e, grad, sum)) / total);
                let factor = s.splat(1.0 / total);
                map!(s, width, to, [e, grad], s.mul(s.mul(e, factor), s.sub(grad, dot)));
            }
            Function::LogSoftmax => {
                let log = s.splat(total.ln());
                map!(s, width, to, [x], s.sub(s.sub(x, top), log));
            }
            Function::LogSoftmaxGrad => {
                let factor = s.splat(sum!(s, width, [grad], |sum| s.add(sum, grad)) / total);
                map!(s, width, to, [e, grad], s.sub(grad, s.mul(e, factor)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::testing::{assert_near, assert_threads_change_no_bit, numbers};

    /// All four results, one after the other.
    fn all(isa: Isa, size: (usize, usize), x: &[f32], grad: &[f32]) -> [Vec<f32>; 4] {
        let mut results = [(); 4].map(|()| vec![7.0; x.len()]);
        softmax(isa, size, x, &mut results[0]);
        softmax_grad(isa, size, x, grad, &mut results[1]);
        log_softmax(isa, size, x, &mut results[2]);
        log_softmax_grad(isa, size, x, grad, &mut results[3]);
        results
    }

    fn truth((_, width): (usize, usize), x: &[f32], grad: &[f32]) -> [Vec<f64>; 4] {
        let mut results = [vec![], vec![], vec![], vec![]];
        for (x, g) in x.chunks_exact(width.max(1)).zip(grad.chunks_exact(width.max(1))) {
            let g: Vec<f64> = g.iter().copied().map(f64::from).collect();
            let top = x.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<f64> = x.iter().map(|&x| (f64::from(x) - top).exp()).collect();
            let total: f64 = e.iter().sum();
            let p: Vec<f64> = e.iter().map(|e| e / total).collect();
            let dot: f64 = p.iter().zip(&g).map(|(p, g)| p * g).sum();
            let whole: f64 = g.iter().sum();
            results[1].extend(p.iter().zip(&g).map(|(p, g)| p * (g - dot)));
            results[2].extend(x.iter().map(|&x| f64::from(x) - top - total.ln()));
            results[3].extend(p.iter().zip(&g).map(|(p, g)| g - p * whole));
            results[0].extend(p);
        }
        results
    }

    #[test]
    fn rows_keep_to_the_formulas() {
        for size in [(1, 1), (7, 2), (100, 10), (65, 1000), (3, 16), (5, 77), (2, 40_001), (9000, 3), (0, 4), (4, 0)] {
            let x: Vec<f32> = numbers(size.0 * size.1, 1).into_iter().map(|x| 5.0 * x + 300.0).collect();
            let grad = numbers(x.len(), 2);
            let truth = truth(size, &x, &grad);
            for isa in Isa::available() {
                for (i, (found, truth)) in all(isa, size, &x, &grad).iter().zip(&truth).enumerate() {
                    assert_near(found, truth, 1e-6, &format!("{isa} {size:?} {i}"));
                }
            }
        }
    }

    #[test]
    fn ends_of_the_range_go_where_the_formulas_take_them() {
        let (rows, width) = (6, 37);
        let mut x = numbers(rows * width, 3);
        x[5] = f32::NAN;
        x[width + 5] = f32::INFINITY;
        x[2 * width + 36] = f32::NEG_INFINITY;
        x[3 * width..4 * width].fill(f32::NEG_INFINITY);
        x[4 * width..5 * width].fill(f32::MIN);
        x[5 * width + 1] = f32::MAX;
        let grad = numbers(x.len(), 4);
        let truth = truth((rows, width), &x, &grad);
        for isa in Isa::available() {
            for (i, (found, truth)) in all(isa, (rows, width), &x, &grad).iter().zip(&truth).enumerate() {
                for (&f, &t) in found.iter().zip(truth) {
                    let near = (f64::from(f) - t).abs() <= 1e-6 * t.abs().max(1.0);
                    assert!(near || f64::from(f) == t || f.is_nan() && t.is_nan(), "{isa} {i}: {f} for {t}");
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let size = (300, 201);
        let (x, grad) = (numbers(size.0 * size.1, 5), numbers(size.0 * size.1, 6));
        for isa in Isa::available() {
            assert_threads_change_no_bit(isa.name(), || all(isa, size, &x, &grad).concat());
        }
    }
}
