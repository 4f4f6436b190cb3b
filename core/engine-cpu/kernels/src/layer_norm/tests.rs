//! Both passes against plain sums in f64.

use super::*;
use crate::{
    bf16,
    vectors::testing::{assert_near, assert_threads_change_no_bit, numbers},
};

const EPSILON: f32 = 1e-5;

/// Rows of x and of the gradient in orders of their own, `gap` apart.
struct Case {
    size: (usize, usize),
    x: Vec<f32>,
    x_starts: Vec<u32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    grad: Vec<f32>,
    grad_stride: usize,
    add: Vec<f32>,
}

impl Case {
    fn new(rows: usize, width: usize, gap: usize, offset: f32) -> Case {
        let stride = width + gap;
        Case {
            size: (rows, width),
            x: numbers(rows * stride, 1).into_iter().map(|x| 3.0 * x + offset).collect(),
            x_starts: (0..rows).map(|i| ((rows - 1 - i) * stride) as u32).collect(),
            weight: numbers(width, 2),
            bias: numbers(width, 3),
            grad: numbers(rows * stride, 4),
            grad_stride: stride,
            add: numbers(rows * width, 5),
        }
    }

    fn forward(&self, isa: Isa) -> Vec<f32> {
        let mut y = vec![7.0; self.size.0 * self.size.1];
        forward(isa, self.size, EPSILON, &self.x, Rows::At(&self.x_starts), &self.weight, &self.bias, &mut y[..]);
        y
    }

    fn forward_rounded(&self, isa: Isa) -> Vec<u16> {
        let mut y = vec![7; self.size.0 * self.size.1];
        forward(isa, self.size, EPSILON, &self.x, Rows::At(&self.x_starts), &self.weight, &self.bias, &mut y[..]);
        y
    }

    /// The gradients of x, weight and bias; 7 in those that are not wanted.
    fn backward(&self, isa: Isa, add: bool, wanted: [bool; 3]) -> [Vec<f32>; 3] {
        self.backward_of(isa, (&self.grad[..]).into(), add, wanted)
    }

    fn backward_of(&self, isa: Isa, grad: Numbers<'_>, add: bool, wanted: [bool; 3]) -> [Vec<f32>; 3] {
        let (rows, width) = self.size;
        let mut grads = [rows * width, width, width].map(|len| vec![7.0; len]);
        let [x, weight, bias] = &mut grads;
        backward(
            isa,
            self.size,
            EPSILON,
            &self.x,
            Rows::At(&self.x_starts),
            &self.weight,
            grad,
            Rows::Every(self.grad_stride),
            add.then_some((&self.add, Rows::Every(width))),
            wanted[0].then_some(x),
            wanted[1].then_some(weight),
            wanted[2].then_some(bias),
        );
        grads
    }

    /// The result and the gradients of x, weight and bias.
    fn truth(&self, add: bool) -> [Vec<f64>; 4] {
        let (rows, width) = self.size;
        let n = width as f64;
        let mut all = [rows * width, rows * width, width, width].map(|len| vec![0.0; len]);
        let [y, dx, dw, db] = &mut all;
        for i in 0..rows {
            let x: Vec<f64> = (0..width).map(|j| f64::from(self.x[self.x_starts[i] as usize + j])).collect();
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let factor = 1.0 / (variance + f64::from(EPSILON)).sqrt();
            let hat: Vec<f64> = x.iter().map(|x| (x - mean) * factor).collect();
            let g: Vec<f64> = (0..width).map(|j| f64::from(self.grad[i * self.grad_stride + j])).collect();
            let gw: Vec<f64> = g.iter().zip(&self.weight).map(|(g, &w)| g * f64::from(w)).collect();
            let total = gw.iter().sum::<f64>() / n;
            let along = gw.iter().zip(&hat).map(|(g, h)| g * h).sum::<f64>() / n;
            for j in 0..width {
                let at = i * width + j;
                y[at] = hat[j] * f64::from(self.weight[j]) + f64::from(self.bias[j]);
                dx[at] = factor * (gw[j] - total - hat[j] * along);
                dx[at] += if add { f64::from(self.add[at]) } else { 0.0 };
                dw[j] += g[j] * hat[j];
                db[j] += g[j];
            }
        }
        all
    }
}

/// In bfloat16 stands the nearest of the same result, and what is read from it is what it stands for.
#[test]
fn bfloat16_is_a_matter_of_memory_alone() {
    for isa in Isa::available() {
        for (rows, width) in [(1, 1), (40, 33), (300, 96), (5, 200)] {
            let mut case = Case::new(rows, width, 3, 0.5);
            let rounded: Vec<u16> = case.forward(isa).into_iter().map(bf16::round).collect();
            assert_eq!(case.forward_rounded(isa), rounded, "{isa} {rows} {width}");
            let halves: Vec<u16> = case.grad.iter().map(|&x| bf16::round(x)).collect();
            case.grad = halves.iter().map(|&x| bf16::widen(x)).collect();
            for add in [false, true] {
                let wanted = [true; 3];
                assert_eq!(
                    case.backward_of(isa, (&halves[..]).into(), add, wanted),
                    case.backward(isa, add, wanted),
                    "{isa} {rows} {width}"
                );
            }
        }
    }
}

#[test]
fn both_passes_keep_to_the_formulas() {
    for (rows, width, gap) in [
        (1, 1, 0),
        (3, 5, 1),
        (40, 7, 0),
        (700, 96, 4),
        (129, 100, 0),
        (50, 384, 3),
        (33, 1024, 0),
        (5, 5000, 1),
        (20_000, 4, 0),
        (0, 5, 0),
        (5, 0, 0),
    ] {
        let case = Case::new(rows, width, gap, 0.5);
        for add in [false, true] {
            let [y, dx, dw, db] = case.truth(add);
            for isa in Isa::available() {
                let what = format!("{isa} {rows} {width} {add}");
                assert_near(&case.forward(isa), &y, 1e-6, &format!("{what} y"));
                let grads = case.backward(isa, add, [true; 3]);
                for ((found, truth), name) in grads.iter().zip([&dx, &dw, &db]).zip(["dx", "dw", "db"]) {
                    assert_near(found, truth, 2e-6, &format!("{what} {name}"));
                }
                for subset in 0..8 {
                    let wanted = std::array::from_fn(|i| subset >> i & 1 == 1);
                    let some = case.backward(isa, add, wanted);
                    for i in 0..3 {
                        let same = if wanted[i] { some[i] == grads[i] } else { some[i].iter().all(|&x| x == 7.0) };
                        assert!(same, "{what} {subset} {i}");
                    }
                }
            }
        }
    }
}

/// A mean that is large beside the deviation costs what rounding x costs, not its square.
#[test]
fn a_large_mean_costs_little() {
    let case = Case::new(20, 200, 0, 3000.0);
    let [y, dx, ..] = case.truth(false);
    for isa in Isa::available() {
        assert_near(&case.forward(isa), &y, 2e-4, "y");
        assert_near(&case.backward(isa, false, [true; 3])[0], &dx, 2e-4, "dx");
    }
}

#[test]
fn nan_and_infinity_stay_in_their_row() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut case = Case::new(9, 37, 2, 0.0);
        let at = case.x_starts[4] as usize + 11;
        case.x[at] = value;
        let truth = case.truth(false);
        for isa in Isa::available() {
            let [dx, dw, db] = case.backward(isa, false, [true; 3]);
            for (found, truth) in [case.forward(isa), dx, dw, db].iter().zip(&truth) {
                for (f, t) in found.iter().zip(truth) {
                    assert_eq!(f.is_nan(), t.is_nan(), "{isa} {value}");
                }
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for (rows, width) in [(3000, 96), (100, 1024), (7, 33)] {
        let case = Case::new(rows, width, 0, 0.0);
        for isa in Isa::available() {
            assert_threads_change_no_bit(&format!("{isa} {rows} {width}"), || {
                let mut all = case.forward(isa);
                all.extend(case.backward(isa, true, [true; 3]).concat());
                all
            });
        }
    }
}
