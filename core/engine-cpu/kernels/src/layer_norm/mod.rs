//! Layer normalization (Ba et al. 2016) of rows: `y = (x - mean) / sqrt(variance + epsilon) * weight + bias`.
//!
//! A row fits the first cache, so its mean, then the variance of what is centred, then the result are three passes over it but one over
//! memory. The backward pass computes the statistics anew, which is cheaper than to read them: the row is needed anyway.

use rayon::prelude::*;

use crate::{
    numbers::{Numbers, NumbersMut, Stored},
    product::Rows,
    reduce,
    shared::{Scratch, SharedMut},
    simd::{Isa, Kernel, Simd},
    vectors::{TASK, check_rows, load, map, store, sum},
};

/// `rows` rows of `width`, dense to `y`.
///
/// # Panics
/// When rows do not lie within their slice, or another slice has another size.
#[allow(clippy::too_many_arguments, reason = "the operands of one formula")]
pub fn forward<'a>(
    isa: Isa,
    (rows, width): (usize, usize),
    epsilon: f32,
    x: &[f32],
    x_rows: Rows<'_>,
    weight: &[f32],
    bias: &[f32],
    y: impl Into<NumbersMut<'a>>,
) {
    let y = y.into();
    check_rows(x_rows, rows, width, x.len(), "x");
    assert!(weight.len() == width && bias.len() == width, "weight or bias has another size");
    assert_eq!(y.len(), rows * width, "the result has another size");
    if width == 0 {
        return;
    }
    let share = (TASK / width).max(1);
    (0..rows.div_ceil(share)).into_par_iter().for_each(|task| {
        let first = task * share;
        let (at, len) = (first * width, share.min(rows - first) * width);
        match y {
            NumbersMut::F32(y) => {
                // SAFETY: these rows are this task's alone.
                let y = unsafe { y.part(at, len) };
                isa.run(Forward { first, width, epsilon, x, x_rows, weight, bias, y });
            }
            NumbersMut::Bf16(y) => {
                // SAFETY: as above.
                let y = unsafe { y.part(at, len) };
                isa.run(Forward { first, width, epsilon, x, x_rows, weight, bias, y });
            }
        }
    });
}

/// The gradients of `x` (dense, `add` included), of the weight and of the bias, those that are wanted. `grad` is that of the result;
/// `add` is added to the gradient of `x`: what a residual connection brings.
///
/// # Panics
/// When rows do not lie within their slice, or another slice has another size.
#[allow(clippy::too_many_arguments, reason = "the operands of one formula")]
pub fn backward<'a>(
    isa: Isa,
    (rows, width): (usize, usize),
    epsilon: f32,
    x: &[f32],
    x_rows: Rows<'_>,
    weight: &[f32],
    grad: impl Into<Numbers<'a>>,
    grad_rows: Rows<'_>,
    add: Option<(&[f32], Rows<'_>)>,
    grad_x: Option<&mut [f32]>,
    grad_weight: Option<&mut [f32]>,
    grad_bias: Option<&mut [f32]>,
) {
    let grad = grad.into();
    check_rows(x_rows, rows, width, x.len(), "x");
    check_rows(grad_rows, rows, width, grad.len(), "grad");
    if let Some((add, rows_of_add)) = add {
        check_rows(rows_of_add, rows, width, add.len(), "add");
    }
    assert_eq!(weight.len(), width, "the weight has another size");
    if let Some(grad_x) = &grad_x {
        assert_eq!(grad_x.len(), rows * width, "the gradient of x has another size");
    }
    if width == 0 {
        return;
    }
    // Cut by shape alone: sums over rows are grouped by it.
    let share = (TASK / width).clamp(16, 256);
    let tasks = rows.div_ceil(share);
    let sums = 2 * width;
    let mut partial = Scratch::new(tasks * sums);
    let partial_sums = SharedMut::new(&mut partial);
    let to = grad_x.map(SharedMut::new);
    let job = Backward { width, epsilon, x, x_rows, weight, grad_rows, add, to };
    (0..tasks).into_par_iter().for_each(|task| {
        let range = task * share..rows.min((task + 1) * share);
        // SAFETY: each task has sums of its own.
        let sums = unsafe { partial_sums.part(task * sums, sums) };
        match grad {
            Numbers::F32(grad) => isa.run(BackwardRows { job: &job, grad, range, sums }),
            Numbers::Bf16(grad) => isa.run(BackwardRows { job: &job, grad, range, sums }),
        }
    });
    for (result, from) in [(grad_weight, 0), (grad_bias, width)] {
        if let Some(result) = result {
            let partial = partial.get(from..).unwrap_or(&[]);
            reduce::column_sums(isa, (tasks, width), partial, Rows::Every(2 * width), result);
        }
    }
}

/// The mean of a row and `1 / sqrt(variance + epsilon)`.
///
/// # Safety
/// `x` is valid for `width` numbers.
#[inline(always)]
unsafe fn statistics<S: Simd>(s: S, x: *const f32, width: usize, epsilon: f32) -> (f32, f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mean = sum!(s, width, [x], |sum| s.add(sum, x)) / width as f32;
        let middle = s.splat(mean);
        let squares = sum!(s, width, [x], |sum| {
            let centred = s.sub(x, middle);
            s.fma(centred, centred, sum)
        });
        (mean, 1.0 / (squares / width as f32 + epsilon).sqrt())
    }
}

struct Forward<'a, T> {
    first: usize,
    width: usize,
    epsilon: f32,
    x: &'a [f32],
    x_rows: Rows<'a>,
    weight: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [T],
}

impl<T: Stored> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.width;
        let (weight, bias) = (self.weight.as_ptr(), self.bias.as_ptr());
        for (i, y) in self.y.chunks_exact_mut(width).enumerate() {
            let x = self.x[self.x_rows.start(self.first + i)..][..width].as_ptr();
            // SAFETY: all have `width` numbers.
            unsafe {
                let (mean, factor) = statistics(s, x, width, self.epsilon);
                let (mean, factor) = (s.splat(mean), s.splat(factor));
                map!(s, width, y.as_mut_ptr(), [x, weight, bias], {
                    s.fma(s.mul(s.sub(x, mean), factor), weight, bias)
                });
            }
        }
    }
}

struct Backward<'a> {
    width: usize,
    epsilon: f32,
    x: &'a [f32],
    x_rows: Rows<'a>,
    weight: &'a [f32],
    grad_rows: Rows<'a>,
    add: Option<(&'a [f32], Rows<'a>)>,
    to: Option<SharedMut<'a, f32>>,
}

/// Some rows, and the sums of the gradients of weight and bias over them, side by side.
struct BackwardRows<'a, T> {
    job: &'a Backward<'a>,
    grad: &'a [T],
    range: std::ops::Range<usize>,
    sums: &'a mut [f32],
}

impl<T: Stored> Kernel for BackwardRows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BackwardRows { job, grad, range, sums } = self;
        let (width, weight) = (job.width, job.weight.as_ptr());
        sums.fill(0.0);
        let (of_weight, of_bias) = sums.split_at_mut(width);
        let (of_weight, of_bias) = (of_weight.as_mut_ptr(), of_bias.as_mut_ptr());
        for row in range {
            let x = job.x[job.x_rows.start(row)..][..width].as_ptr();
            let grad = grad[job.grad_rows.start(row)..][..width].as_ptr();
            // SAFETY: all have `width` numbers; the row of the result is this task's alone.
            unsafe {
                let (mean, factor) = statistics(s, x, width, job.epsilon);
                let (middle, scale) = (s.splat(mean), s.splat(factor));
                let (mut total, mut along) = (s.splat(0.0), s.splat(0.0));
                let mut at = 0;
                while at < width {
                    // Behind the end the gradient is 0, and so is all that is summed.
                    let lanes = S::LANES.min(width - at);
                    let x = load(s, x.add(at), lanes);
                    let (grad, weight) = (load(s, grad.add(at), lanes), load(s, weight.add(at), lanes));
                    let (of_weight, of_bias) = (of_weight.add(at), of_bias.add(at));
                    let hat = s.mul(s.sub(x, middle), scale);
                    store(s, of_weight, s.fma(hat, grad, load(s, of_weight, lanes)), lanes);
                    store(s, of_bias, s.add(grad, load(s, of_bias, lanes)), lanes);
                    let weighted = s.mul(grad, weight);
                    (total, along) = (s.add(total, weighted), s.fma(hat, weighted, along));
                    at += lanes;
                }
                let Some(to) = &job.to else { continue };
                let (total, along) = (s.sum(total), s.sum(along));
                // factor (g w - mean(g w) - xhat mean(g w xhat))
                let total = s.splat(total / width as f32 * factor);
                let along = s.splat(along / width as f32 * factor * factor);
                let to = to.at(row * width, width);
                match job.add {
                    None => map!(s, width, to, [x, grad, weight], {
                        let direct = s.sub(s.mul(s.mul(grad, weight), scale), total);
                        s.sub(direct, s.mul(s.sub(x, middle), along))
                    }),
                    Some((add, rows)) => {
                        let add = add[rows.start(row)..][..width].as_ptr();
                        map!(s, width, to, [x, grad, weight, add], {
                            let direct = s.sub(s.mul(s.mul(grad, weight), scale), total);
                            s.add(s.sub(direct, s.mul(s.sub(x, middle), along)), add)
                        });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
