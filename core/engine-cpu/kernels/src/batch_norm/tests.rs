//! Every pass against plain sums in f64, for planes of every size.

use super::*;
use crate::vectors::testing::{assert_near, assert_threads_change_no_bit, numbers};

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
        let Case { shape, x, weight, bias, .. } = self;
        let mut results = [shape.len(), shape.channels, shape.channels].map(|len| vec![7.0; len]);
        let [y, mean, variance] = &mut results;
        training(isa, *shape, EPSILON, x, weight, bias, activation, y, mean, variance);
        results
    }

    /// The gradients of x, weight and bias; 7 in those that are not wanted.
    fn backward(&self, isa: Isa, activation: Option<f32>, wanted: [bool; 3]) -> [Vec<f32>; 3] {
        let Case { shape, x, weight, bias, grad, before } = self;
        let mut grads = [shape.len(), shape.channels, shape.channels].map(|len| vec![7.0; len]);
        let [dx, dw, db] = &mut grads;
        let (dx, dw) = (wanted[0].then_some(&mut dx[..]), wanted[1].then_some(&mut dw[..]));
        let db = wanted[2].then_some(&mut db[..]);
        backward(isa, *shape, EPSILON, x, weight, bias, grad, activation, *before, dx, dw, db);
        grads
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
                inference(isa, *shape, EPSILON, x, weight, bias, mean, variance, activation, &mut y);
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
            inference(isa, shape, 0.0, &x, &[1.0], &[0.0], &[0.0], &[1.0], Some(0.0), &mut y);
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
        for isa in Isa::available() {
            assert_threads_change_no_bit(&format!("{isa} {sizes:?}"), || {
                let mut all = case.training(isa, Some(0.0)).concat();
                all.extend(case.backward(isa, Some(0.0), [true; 3]).concat());
                all
            });
        }
    }
}
