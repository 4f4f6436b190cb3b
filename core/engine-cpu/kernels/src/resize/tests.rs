//! Both passes against dense matrices in f64.

use super::*;
use crate::{
    testing::{Numbers as Random, assert_near, same_for_any_threads},
    vectors::testing::{halves, written},
};

/// Half-pixel weights `[to, from]`.
fn half_pixel(from: usize, to: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; to * from];
    for (i, row) in matrix.chunks_mut(from).enumerate() {
        let source = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
        let low = source as usize;
        row[low] += f64::from((1.0 - source.fract()) as f32);
        row[(low + 1).min(from - 1)] += f64::from(source.fract() as f32);
    }
    matrix
}

struct Case {
    planes: usize,
    size: (usize, usize),
    out: (usize, usize),
    rows: Vec<f64>,
    columns: Vec<f64>,
}

impl Case {
    fn new(planes: usize, size: (usize, usize), out: (usize, usize)) -> Case {
        Case { planes, size, out, rows: half_pixel(size.0, out.0), columns: half_pixel(size.1, out.1) }
    }

    fn taps(&self) -> (Taps, Taps) {
        let rows = Taps::from_matrix(self.out.0, self.size.0, &self.rows).unwrap();
        (rows, Taps::from_matrix(self.out.1, self.size.1, &self.columns).unwrap())
    }

    fn forward<'a>(&self, isa: Isa, x: impl Into<Numbers<'a>>, in_bf16: bool) -> Vec<f32> {
        let ((rows, columns), x) = (self.taps(), x.into());
        written(self.planes * self.out.0 * self.out.1, in_bf16, |y| {
            forward(isa, self.planes, self.size, &rows, &columns, x, y);
        })
    }

    fn backward<'a>(&self, isa: Isa, grad_y: impl Into<Numbers<'a>>, in_bf16: bool) -> Vec<f32> {
        let ((rows, columns), grad_y) = (self.taps(), grad_y.into());
        written(self.planes * self.size.0 * self.size.1, in_bf16, |grad_x| {
            backward(isa, self.planes, self.size, &rows, &columns, grad_y, grad_x);
        })
    }

    /// `[planes, h, w]` of x through both matrices.
    fn truth(&self, x: &[f32]) -> Vec<f64> {
        let ((h, w), (oh, ow)) = (self.size, self.out);
        let mut y = vec![];
        for x in x.chunks(h * w) {
            let mut wide = vec![0.0; h * ow];
            for (r, j, c) in (0..h).flat_map(|r| (0..ow).flat_map(move |j| (0..w).map(move |c| (r, j, c)))) {
                wide[r * ow + j] += self.columns[j * w + c] * f64::from(x[r * w + c]);
            }
            for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
                y.push((0..h).map(|r| self.rows[i * h + r] * wide[r * ow + j]).sum());
            }
        }
        y
    }

    fn check(&self, seed: u64) {
        let ((h, w), (oh, ow)) = (self.size, self.out);
        let mut numbers = Random::new(seed);
        let x = numbers.floats(self.planes * h * w);
        let grad = numbers.floats(self.planes * oh * ow);
        let transposed = |m: &[f64], to: usize, from: usize| -> Vec<f64> {
            (0..from).flat_map(|c| (0..to).map(move |r| (r, c))).map(|(r, c)| m[r * from + c]).collect()
        };
        let (rows, columns) = (transposed(&self.rows, oh, h), transposed(&self.columns, ow, w));
        let adjoint = Case { planes: self.planes, size: self.out, out: self.size, rows, columns };
        let (truth, grad_truth) = (self.truth(&x), adjoint.truth(&grad));
        for isa in Isa::available() {
            let what = format!("{isa} {:?} -> {:?}", self.size, self.out);
            assert_near(&self.forward(isa, &x[..], false), &truth, 1e-6, &what);
            assert_near(&self.backward(isa, &grad[..], false), &grad_truth, 1e-5, &what);
        }
    }
}

/// Of images, and of their results.
const SIZES: [((usize, usize), (usize, usize)); 8] = [
    ((48, 48), (112, 112)),
    ((96, 90), (56, 57)),
    ((7, 7), (56, 56)),
    ((1, 1), (5, 3)),
    ((9, 5), (1, 1)),
    ((13, 40), (40, 13)),
    ((40, 13), (13, 40)),
    ((33, 17), (33, 17)),
];

#[test]
fn passes_keep_to_the_matrices() {
    for (size, out) in SIZES {
        Case::new(3, size, out).check(1);
    }
    let mut numbers = Random::new(2);
    for seed in 0..100 {
        let mut size = || 1 + numbers.below(40);
        Case::new(size() % 3, (size(), size()), (size(), size())).check(seed);
    }
}

/// In bfloat16 stands the nearest of the same result, and what is read from it is what it stands for.
#[test]
fn bfloat16_is_a_matter_of_memory_alone() {
    for (size, out) in SIZES {
        let case = Case::new(3, size, out);
        let mut numbers = Random::new(5);
        let (x, wide_x) = halves(&numbers.floats(3 * size.0 * size.1));
        let (grad, wide_grad) = halves(&numbers.floats(3 * out.0 * out.1));
        for isa in Isa::available() {
            let what = format!("{isa} {size:?} -> {out:?}");
            let whole = [case.forward(isa, &wide_x[..], false), case.backward(isa, &wide_grad[..], false)];
            assert_eq!([case.forward(isa, &x[..], false), case.backward(isa, &grad[..], false)], whole, "{what}");
            let rounded = whole.map(|y| halves(&y).1);
            assert_eq!([case.forward(isa, &x[..], true), case.backward(isa, &grad[..], true)], rounded, "{what}");
            let found = [case.forward(isa, &wide_x[..], true), case.backward(isa, &wide_grad[..], true)];
            assert_eq!(found, rounded, "{what}");
        }
    }
}

#[test]
fn a_cotangent_of_nothing_leaves_zeros() {
    for out in [(0, 0), (0, 5), (5, 0)] {
        let case = Case::new(2, (3, 7), out);
        for (isa, in_bf16) in Isa::available().flat_map(|isa| [(isa, false), (isa, true)]) {
            assert_eq!(case.backward(isa, &[0.0; 0][..], in_bf16), [0.0; 2 * 3 * 7], "{isa} {out:?}");
        }
    }
}

/// Any two weights a row will do, however the rows follow each other.
#[test]
fn weights_need_no_order() {
    let mut numbers = Random::new(3);
    for seed in 0..50 {
        let (size, out) =
            ((1 + numbers.below(9), 1 + numbers.below(20)), (1 + numbers.below(9), 1 + numbers.below(20)));
        let mut case = Case::new(2, size, out);
        for (matrix, from) in [(&mut case.rows, size.0), (&mut case.columns, size.1)] {
            matrix.fill(0.0);
            for row in matrix.chunks_mut(from) {
                for _ in 0..numbers.below(3) {
                    row[numbers.below(from)] = f64::from(numbers.floats(1)[0]);
                }
            }
        }
        case.check(seed);
    }
}

#[test]
fn three_weights_are_not_two() {
    assert_eq!(Taps::from_matrix(2, 3, &[0.5, 0.5, 0.0, 0.2, 0.3, 0.5]), None);
    let taps = Taps::from_matrix(2, 3, &[0.0, 0.25, 0.75, 0.0, 0.0, 0.0]).unwrap();
    assert_eq!((taps.at(0), taps.at(1)), (([1, 2], [0.25, 0.75]), ([0, 0], [0.0, 0.0])));
}

#[test]
fn nan_goes_where_it_has_a_weight() {
    let case = Case::new(1, (4, 4), (4, 4));
    let mut x = [1.0; 16];
    x[5] = f32::NAN;
    for isa in Isa::available() {
        let y = case.forward(isa, &x[..], false);
        assert!(y.iter().enumerate().all(|(i, y)| y.is_nan() == (i == 5)), "{isa} {y:?}");
    }
}

#[test]
fn threads_change_no_bit() {
    for (size, out) in [((60, 70), (31, 33)), ((20, 25), (70, 51))] {
        let case = Case::new(9, size, out);
        let mut numbers = Random::new(4);
        let (x, grad) = (numbers.floats(9 * size.0 * size.1), numbers.floats(9 * out.0 * out.1));
        let (half_x, half_grad) = (halves(&x).0, halves(&grad).0);
        for isa in Isa::available() {
            same_for_any_threads("resize", || {
                let whole = [case.forward(isa, &x[..], false), case.backward(isa, &grad[..], false)];
                let half = [case.forward(isa, &half_x[..], true), case.backward(isa, &half_grad[..], true)];
                [whole.concat(), half.concat()].concat()
            });
        }
    }
}
