//! Every pass against plain sums in f64, for planes of every size.

use super::*;
use crate::vectors::testing::{assert_near, assert_threads_change_no_bit, halves, numbers, written};

const EPSILON: f32 = 1e-5;

struct Case {
    shape: Shape,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    grad: Vec<f32>,
    /// The slope of a rectifier that x came through.
    before: Option<f32>,
}

impl Case {
    fn new([count, channels, plane]: [usize; 3], offset: f32) -> Case {
        let shape = Shape { count, channels, plane };
        let x = numbers(shape.len(), 1).into_iter().map(|x| 2.0 * x + offset).collect();
        let (weight, bias, grad) = (numbers(channels, 2), numbers(channels, 3), numbers(shape.len(), 4));
        Case { shape, x, weight, bias, grad, before: None }
    }

    /// The result, mean and variance.
    fn training(&self, isa: Isa, activation: Option<f32>) -> [Vec<f32>; 3] {
        self.training_of(isa, activation, &self.x[..], false)
    }

    /// Of x in another memory, the result in bfloat16 or not.
    fn training_of<'a>(
        &self,
        isa: Isa,
        activation: Option<f32>,
        x: impl Into<Numbers<'a>>,
        in_bf16: bool,
    ) -> [Vec<f32>; 3] {
        let Case { shape, weight, bias, .. } = self;
        let [mut mean, mut variance] = [0; 2].map(|_| vec![7.0; shape.channels]);
        let x = x.into();
        let y = written(shape.len(), in_bf16, |y| {
            training(isa, *shape, EPSILON, x, weight, bias, activation, y, &mut mean, &mut variance);
        });
        [y, mean, variance]
    }

    /// The gradients of x, weight and bias; 7 in those that are not wanted.
    fn backward(&self, isa: Isa, activation: Option<f32>, wanted: [bool; 3]) -> [Vec<f32>; 3] {
        self.backward_of(isa, activation, [&self.x[..], &self.grad[..]].map(Into::into), false, wanted)
    }

    /// Of x and a gradient in another memory, that of x in bfloat16 or not.
    fn backward_of(
        &self,
        isa: Isa,
        activation: Option<f32>,
        [x, grad]: [Numbers<'_>; 2],
        in_bf16: bool,
        wanted: [bool; 3],
    ) -> [Vec<f32>; 3] {
        let Case { shape, weight, bias, before, .. } = self;
        let [mut dw, mut db] = [0; 2].map(|_| vec![7.0; shape.channels]);
        let dx = written(shape.len(), in_bf16, |dx| {
            let (dx, dw) = (wanted[0].then_some(dx), wanted[1].then_some(&mut dw[..]));
            let db = wanted[2].then_some(&mut db[..]);
            backward(isa, *shape, EPSILON, x, weight, bias, grad, activation, *before, dx, dw, db);
        });
        [dx, dw, db]
    }

    /// The result, mean, variance, and the gradients of x, weight and bias.
    fn truth(&self, activation: Option<f32>) -> [Vec<f64>; 6] {
        let Shape { count, channels, plane } = self.shape;
        let numbers = (count * plane) as f64;
        let slope = f64::from(activation.unwrap_or(1.0));
        let mut all = [self.x.len(), channels, channels, self.x.len(), channels, channels].map(|len| vec![0.0; len]);
        let [y, means, variances, dx, dw, db] = &mut all;
        for c in 0..channels {
            let places = || (0..count * plane).map(|i| (i / plane * channels + c) * plane + i % plane);
            let x = |at: usize| f64::from(self.x[at]);
            let mean = places().map(x).sum::<f64>() / numbers;
            let variance = places().map(|at| (x(at) - mean).powi(2)).sum::<f64>() / numbers;
            let factor = 1.0 / (variance + f64::from(EPSILON)).sqrt();
            let (weight, bias) = (f64::from(self.weight[c]), f64::from(self.bias[c]));
            let hat = |at: usize| (x(at) - mean) * factor;
            let z = |at: usize| hat(at) * weight + bias;
            let g = |at: usize| f64::from(self.grad[at]) * if z(at) > 0.0 { 1.0 } else { slope };
            let (total, along) = (places().map(g).sum::<f64>(), places().map(|at| g(at) * hat(at)).sum::<f64>());
            for at in places() {
                y[at] = if z(at) > 0.0 { z(at) } else { slope * z(at) };
                let through = if x(at) > 0.0 { 1.0 } else { f64::from(self.before.unwrap_or(1.0)) };
                dx[at] = through * weight * factor * (g(at) - total / numbers - hat(at) * along / numbers);
            }
            (means[c], variances[c], dw[c], db[c]) = (mean, variance, along, total);
        }
        all
    }
}

const SHAPES: [[usize; 3]; 12] = [
    [64, 512, 1],
    [5, 3, 1],
    [40, 7, 2],
    [17, 33, 49],
    [3, 2, 63],
    [70, 3, 64],
    [5, 6, 196],
    [2, 3, 5000],
    [3, 1, 40_000],
    [1, 2, 4097],
    [33, 5, 1025],
    [1, 4, 100],
];

#[test]
fn every_pass_keeps_to_the_formulas() {
    for sizes in SHAPES {
        let mut case = Case::new(sizes, 0.7);
        for (activation, before) in [(None, None), (Some(0.0), Some(0.2)), (Some(0.01), Some(0.0))] {
            case.before = before;
            let truth = case.truth(activation);
            for isa in Isa::available() {
                let forward = case.training(isa, activation);
                let grads = case.backward(isa, activation, [true; 3]);
                for (i, (found, truth)) in forward.iter().chain(&grads[..1]).zip(&truth).enumerate() {
                    assert_near(found, truth, 2e-6, &format!("{isa} {sizes:?} {activation:?} {i}"));
                }
                // Sums in which numbers of about 1 cancel.
                let tolerance = 1e-7 * (sizes[0] * sizes[2]) as f64 + 1e-6;
                for (found, truth) in grads[1..].iter().zip(&truth[4..]) {
                    for (f, t) in found.iter().zip(truth) {
                        let error = (f64::from(*f) - t).abs();
                        assert!(error <= tolerance, "{isa} {sizes:?} {activation:?}: {f} for {t}");
                    }
                }
                let mut y = vec![7.0; case.x.len()];
                let [there, mean, variance] = &forward;
                let Case { shape, x, weight, bias, .. } = &case;
                inference(isa, *shape, EPSILON, &x[..], weight, bias, mean, variance, activation, &mut y[..]);
                assert!(y == *there, "{isa} {sizes:?}: the same statistics give the same bits");
                for subset in 0..8 {
                    let wanted = std::array::from_fn(|i| subset >> i & 1 == 1);
                    let some = case.backward(isa, activation, wanted);
                    for i in 0..3 {
                        let same = if wanted[i] { some[i] == grads[i] } else { some[i].iter().all(|&x| x == 7.0) };
                        assert!(same, "{isa} {sizes:?} {subset} {i}");
                    }
                }
            }
        }
    }
}

/// In bfloat16 stands the nearest of the same result, and what is read from it is what it stands for.
#[test]
fn bfloat16_is_a_matter_of_memory_alone() {
    for sizes in SHAPES {
        let mut case = Case::new(sizes, 0.7);
        let (x, wide_x) = halves(&case.x);
        let (grad, wide_grad) = halves(&case.grad);
        (case.x, case.grad, case.before) = (wide_x, wide_grad, Some(0.2));
        let Case { shape, weight, bias, .. } = &case;
        let [both_x, both_grad] =
            [(&case.x, &x), (&case.grad, &grad)].map(|(wide, half)| [(&wide[..]).into(), (&half[..]).into()]);
        for isa in Isa::available() {
            for activation in [None, Some(0.01)] {
                let [y, mean, variance] = case.training(isa, activation);
                let [dx, dw, db] = case.backward(isa, activation, [true; 3]);
                let expected = |y: &Vec<f32>, in_bf16| if in_bf16 { halves(y).1 } else { y.clone() };
                for (x, in_bf16) in both_x.into_iter().flat_map(|x: Numbers<'_>| [(x, false), (x, true)]) {
                    let what = format!("{isa} {sizes:?} {activation:?} {in_bf16}");
                    let y = expected(&y, in_bf16);
                    let found = case.training_of(isa, activation, x, in_bf16);
                    assert_eq!(found, [&y, &mean, &variance].map(Vec::clone), "{what}");
                    let found = written(shape.len(), in_bf16, |y| {
                        inference(isa, *shape, EPSILON, x, weight, bias, &mean, &variance, activation, y);
                    });
                    assert_eq!(found, y, "{what}");
                    let dx = expected(&dx, in_bf16);
                    for grad in both_grad {
                        let found = case.backward_of(isa, activation, [x, grad], in_bf16, [true; 3]);
                        assert_eq!(found, [&dx, &dw, &db].map(Vec::clone), "{what}");
                    }
                }
            }
        }
    }
}

/// The variance of numbers far from 0 is that of two passes.
#[test]
fn a_large_mean_costs_the_variance_nothing() {
    for sizes in [[64, 3, 1], [3, 2, 5000], [9, 2, 70]] {
        let case = Case::new(sizes, 1000.0);
        let [_, mean, variance, ..] = case.truth(None);
        for isa in Isa::available() {
            let [_, found_mean, found_variance] = case.training(isa, None);
            assert_near(&found_mean, &mean, 1e-7, &format!("{isa} {sizes:?} mean"));
            assert_near(&found_variance, &variance, 1e-6, &format!("{isa} {sizes:?} variance"));
        }
    }
}

#[test]
fn a_rectifier_gives_exactly_zero_and_lets_nan_through() {
    for plane in [1, 100] {
        let shape = Shape { count: 4, channels: 1, plane };
        let mut x = vec![-3.0; shape.len()];
        (x[0], x[1], x[2]) = (f32::NEG_INFINITY, f32::NAN, 2.0);
        for isa in Isa::available() {
            let mut y = vec![7.0; x.len()];
            inference(isa, shape, 0.0, &x[..], &[1.0], &[0.0], &[0.0], &[1.0], Some(0.0), &mut y[..]);
            assert!(y[0].to_bits() == 0 && y[1].is_nan() && y[2] == 2.0, "{isa} {plane}");
            assert!(y[3..].iter().all(|y| y.to_bits() == 0), "{isa} {plane}");
        }
    }
}

#[test]
fn nan_and_infinity_stay_in_their_channel() {
    for sizes in [[5, 3, 1], [3, 3, 5000], [6, 3, 65]] {
        for value in [f32::NAN, f32::INFINITY] {
            let mut case = Case::new(sizes, 0.0);
            let at = (2 * 3 + 1) * sizes[2] + sizes[2] / 2;
            case.x[at] = value;
            for activation in [None, Some(0.01)] {
                for isa in Isa::available() {
                    let [y, mean, variance] = case.training(isa, activation);
                    assert!(!mean[1].is_finite() && variance[1].is_nan());
                    let [dx, dw, db] = case.backward(isa, activation, [true; 3]);
                    assert!(dw[1].is_nan() && [dw[0], dw[2], db[0], db[2]].iter().all(|x| x.is_finite()), "{isa}");
                    for (i, (y, dx)) in y.iter().zip(&dx).enumerate() {
                        let hit = i / sizes[2] % 3 == 1;
                        assert!(y.is_nan() == hit && dx.is_nan() == hit, "{isa} {sizes:?} {value} {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_has_no_statistics() {
    for sizes in [[0, 2, 3], [2, 2, 0], [0, 2, 100]] {
        let case = Case::new(sizes, 0.0);
        for isa in Isa::available() {
            let [y, mean, variance] = case.training(isa, None);
            assert!(y.is_empty() && mean.iter().chain(&variance).all(|x| x.is_nan()));
            assert_eq!(case.backward(isa, None, [true; 3])[2], [0.0; 2]);
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for sizes in SHAPES {
        let case = Case::new(sizes, 0.0);
        let (x, grad) = (halves(&case.x).0, halves(&case.grad).0);
        for isa in Isa::available() {
            assert_threads_change_no_bit(&format!("{isa} {sizes:?}"), || {
                let mut all = case.training(isa, Some(0.0)).concat();
                all.extend(case.training_of(isa, Some(0.0), &x[..], true).concat());
                let halves = [&x[..], &grad[..]].map(Into::into);
                all.extend(case.backward_of(isa, Some(0.0), halves, true, [true; 3]).concat());
                all.extend(case.backward(isa, Some(0.0), [true; 3]).concat());
                all
            });
        }
    }
}
