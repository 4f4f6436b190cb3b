//! Vectors along an axis to length 1: `y = x / sqrt(max(sum(x^2), epsilon^2))`, and the gradient.

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    shared::SharedMut,
    simd::{Isa, Kernel, Simd},
    vectors::{TASK, map, sum},
};

/// Columns that are worked on together where the axis is not the last.
const STRIP: usize = 64;

/// Normalizes `[outer, axis, inner]` along the middle.
///
/// # Panics
/// When a slice has another size.
pub fn l2_normalize(isa: Isa, shape: [usize; 3], epsilon: f32, x: &[f32], y: &mut [f32]) {
    run(isa, shape, epsilon, x, None, y);
}

/// The gradient of `x` from that of `y`: `(grad - y sum(grad y)) / norm`; where epsilon is the norm, `grad / epsilon`. Where both are
/// alike each has half of the maximum's gradient, so half of the sum is taken.
///
/// # Panics
/// When a slice has another size.
pub fn l2_normalize_grad(isa: Isa, shape: [usize; 3], epsilon: f32, x: &[f32], grad: &[f32], grad_x: &mut [f32]) {
    run(isa, shape, epsilon, x, Some(grad), grad_x);
}

fn run(isa: Isa, [outer, axis, inner]: [usize; 3], epsilon: f32, x: &[f32], grad: Option<&[f32]>, to: &mut [f32]) {
    assert!(x.len() == outer * axis * inner && to.len() == x.len(), "x or the result has another size");
    assert!(grad.is_none_or(|g| g.len() == x.len()), "the gradient has another size");
    if to.is_empty() {
        return;
    }
    let job = Job { axis, inner, epsilon, x, grad, to: SharedMut::new(to) };
    let strip = inner.min(STRIP);
    let strips = inner.div_ceil(strip);
    let share = (TASK / (axis * strip)).max(1);
    (0..outer.div_ceil(share) * strips).into_par_iter().for_each(|task| {
        let first = task / strips * share;
        let range = first..outer.min(first + share);
        if inner == 1 {
            isa.run(Along { job: &job, range });
        } else {
            let start = task % strips * strip;
            isa.run(Across { job: &job, range, columns: start..inner.min(start + strip) });
        }
    });
}

struct Job<'a> {
    axis: usize,
    inner: usize,
    epsilon: f32,
    x: &'a [f32],
    grad: Option<&'a [f32]>,
    to: SharedMut<'a, f32>,
}

/// `1 / norm`, and the factor of y in the gradient, from the sum of squares and that of `grad x`.
#[inline(always)]
fn factors(squares: f32, dot: f32, epsilon: f32) -> (f32, f32) {
    let least = epsilon * epsilon;
    // NaN stays.
    let factor = 1.0 / if squares < least { least } else { squares }.sqrt();
    let share = match squares.partial_cmp(&least) {
        Some(std::cmp::Ordering::Less) => return (factor, 0.0),
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 1.0,
    };
    (factor, share * (dot * factor * factor))
}

/// Rows, where the axis is the last.
struct Along<'a> {
    job: &'a Job<'a>,
    range: Range<usize>,
}

impl Kernel for Along<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Along { job: Job { axis, epsilon, x, grad, to, .. }, range } = self;
        let width = *axis;
        for row in range {
            let x = x[row * width..][..width].as_ptr();
            let to = to.at(row * width, width);
            // SAFETY: all have `width` numbers; the row of the result is this task's alone.
            unsafe {
                let squares = sum!(s, width, [x], |sum| s.fma(x, x, sum));
                match grad {
                    None => {
                        let factor = s.splat(factors(squares, 0.0, *epsilon).0);
                        map!(s, width, to, [x], s.mul(x, factor));
                    }
                    Some(grad) => {
                        let grad = grad[row * width..][..width].as_ptr();
                        let dot = sum!(s, width, [x, grad], |sum| s.fma(x, grad, sum));
                        let (factor, along) = factors(squares, dot, *epsilon);
                        let (factor, along) = (s.splat(factor), s.splat(along));
                        map!(s, width, to, [x, grad], s.sub(s.mul(grad, factor), s.mul(s.mul(x, factor), along)));
                    }
                }
            }
        }
    }
}

/// A strip of columns, where the axis is not the last.
struct Across<'a> {
    job: &'a Job<'a>,
    range: Range<usize>,
    columns: Range<usize>,
}

impl Kernel for Across<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Across { job: Job { axis, inner, epsilon, x, grad, to }, range, columns } = self;
        let count = columns.len();
        for o in range {
            let start = |i: usize| (o * axis + i) * inner + columns.start;
            // Sums of squares, then 1 / norm; sums of grad x, then the factor of y.
            let (mut first, mut second) = ([0.0; STRIP], [0.0; STRIP]);
            let (one, two) = (first.as_mut_ptr(), second.as_mut_ptr());
            let (factor, along) = (one.cast_const(), two.cast_const());
            // SAFETY: all have `count` numbers, at most a strip; those of the result are this task's alone.
            unsafe {
                for i in 0..*axis {
                    let x = x[start(i)..][..count].as_ptr();
                    map!(s, count, one, [x, factor], s.fma(x, x, factor));
                    if let Some(grad) = grad {
                        let grad = grad[start(i)..][..count].as_ptr();
                        map!(s, count, two, [x, grad, along], s.fma(x, grad, along));
                    }
                }
                for j in 0..count {
                    let (factor, along) = factors(one.add(j).read(), two.add(j).read(), *epsilon);
                    one.add(j).write(factor);
                    two.add(j).write(along);
                }
                for i in 0..*axis {
                    let x = x[start(i)..][..count].as_ptr();
                    let to = to.at(start(i), count);
                    match grad {
                        None => map!(s, count, to, [x, factor], s.mul(x, factor)),
                        Some(grad) => {
                            let grad = grad[start(i)..][..count].as_ptr();
                            map!(s, count, to, [x, grad, factor, along], {
                                s.sub(s.mul(grad, factor), s.mul(s.mul(x, factor), along))
                            });
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::testing::{assert_near, assert_threads_change_no_bit, numbers};

    fn both(isa: Isa, shape: [usize; 3], epsilon: f32, x: &[f32], grad: &[f32]) -> [Vec<f32>; 2] {
        let (mut y, mut dx) = (vec![7.0; x.len()], vec![7.0; x.len()]);
        l2_normalize(isa, shape, epsilon, x, &mut y);
        l2_normalize_grad(isa, shape, epsilon, x, grad, &mut dx);
        [y, dx]
    }

    fn truth([outer, axis, inner]: [usize; 3], epsilon: f32, x: &[f32], grad: &[f32]) -> [Vec<f64>; 2] {
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let least = f64::from(epsilon * epsilon);
        for (o, j) in (0..outer).flat_map(|o| (0..inner).map(move |j| (o, j))) {
            let places = || (0..axis).map(|i| (o * axis + i) * inner + j);
            let squares: f64 = places().map(|at| f64::from(x[at]).powi(2)).sum();
            let norm = if squares < least { least } else { squares }.sqrt();
            let dot: f64 = places().map(|at| f64::from(grad[at]) * f64::from(x[at]) / norm).sum();
            let share = if squares < least { 0.0 } else { 1.0 - 0.5 * f64::from(u8::from(squares == least)) };
            for at in places() {
                y[at] = f64::from(x[at]) / norm;
                dx[at] = (f64::from(grad[at]) - share * y[at] * dot) / norm;
            }
        }
        [y, dx]
    }

    const SHAPES: [[usize; 3]; 11] = [
        [1, 2, 1],
        [300, 48, 1],
        [7, 1000, 1],
        [20_000, 3, 1],
        [6, 33, 7],
        [3, 64, 196],
        [2, 5, 1000],
        [500, 4, 3],
        [0, 2, 3],
        [2, 0, 3],
        [2, 3, 0],
    ];

    #[test]
    fn any_shape_keeps_to_the_formulas() {
        for shape in SHAPES {
            let (x, grad) = (numbers(shape.iter().product(), 1), numbers(shape.iter().product(), 2));
            for epsilon in [1e-12, 1.5] {
                let truth = truth(shape, epsilon, &x, &grad);
                for isa in Isa::available() {
                    for (i, (found, truth)) in both(isa, shape, epsilon, &x, &grad).iter().zip(&truth).enumerate() {
                        assert_near(found, truth, 2e-6, &format!("{isa} {shape:?} {epsilon} {i}"));
                    }
                }
            }
        }
    }

    #[test]
    fn short_vectors_ties_and_nan() {
        for inner in [1, 5] {
            let shape = [5, 2, inner];
            // Length 0, less than epsilon, epsilon, more; NaN.
            let lengths = [0.0, 0.25, 0.5, 2.0, f32::NAN];
            let x: Vec<f32> =
                (0..10 * inner).map(|i| if i / inner % 2 == 0 { lengths[i / inner / 2] } else { 0.0 }).collect();
            let grad = numbers(x.len(), 3);
            let truth = truth(shape, 0.5, &x, &grad);
            for isa in Isa::available() {
                for (found, truth) in both(isa, shape, 0.5, &x, &grad).iter().zip(&truth) {
                    assert_near(found, truth, 1e-6, isa.name());
                }
                // Nothing stays nothing, however small epsilon is.
                let [y, dx] = both(isa, [1, 3, inner], 1e-12, &vec![0.0; 3 * inner], &grad[..3 * inner]);
                assert!(y.iter().all(|&y| y == 0.0) && dx.iter().all(|x| x.is_finite()), "{isa}");
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        for shape in SHAPES {
            let (x, grad) = (numbers(shape.iter().product(), 4), numbers(shape.iter().product(), 5));
            for isa in Isa::available() {
                assert_threads_change_no_bit(&format!("{isa} {shape:?}"), || {
                    both(isa, shape, 1e-12, &x, &grad).concat()
                });
            }
        }
    }
}
