//! Batch normalization (Ioffe & Szegedy 2015) of `[count, channels, plane]`, with a leaky rectifier behind it if wanted.
//!
//! Statistics are taken in one pass over memory: of each part of a channel, which fits the first cache, the mean and then the squares of
//! what is centred; parts are joined as in Chan et al. 1983, in f64. So the variance is as accurate as that of two passes. Parts are
//! pieces of planes, or, where planes are small, the numbers of one place over some images.

mod apply;
mod sums;

use crate::{
    numbers::{Numbers, NumbersMut},
    shared::Scratch,
    simd::{Isa, Simd},
};
use apply::Pass;
use sums::{Cut, Part, Quantity};

/// The sizes of a batch: images, channels, numbers of a channel's plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub count: usize,
    pub channels: usize,
    pub plane: usize,
}

impl Shape {
    pub fn len(self) -> usize {
        self.count * self.channels * self.plane
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// `z = (x - mean) / sqrt(variance + epsilon) * weight + bias` with the statistics of this batch, which are written too; the variance is
/// the biased one. With `activation`, a slope, `y = z > 0 ? z : slope z`, exactly 0 for the slope 0; without it `y = z`.
///
/// # Panics
/// When a slice has another size.
#[allow(clippy::too_many_arguments, reason = "the operands of one formula")]
pub fn training<'a>(
    isa: Isa,
    shape: Shape,
    epsilon: f32,
    x: impl Into<Numbers<'a>>,
    weight: &[f32],
    bias: &[f32],
    activation: Option<f32>,
    y: impl Into<NumbersMut<'a>>,
    mean: &mut [f32],
    variance: &mut [f32],
) {
    let (x, y) = (x.into(), y.into());
    check(shape, [x.len(), y.len()], &[weight, bias, mean, variance]);
    statistics(isa, shape, x, mean, variance);
    normalize(isa, shape, epsilon, x, [weight, bias, mean, variance], activation, y);
}

/// As [`training`], with statistics that are given.
///
/// # Panics
/// When a slice has another size.
#[allow(clippy::too_many_arguments, reason = "the operands of one formula")]
pub fn inference<'a>(
    isa: Isa,
    shape: Shape,
    epsilon: f32,
    x: impl Into<Numbers<'a>>,
    weight: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    activation: Option<f32>,
    y: impl Into<NumbersMut<'a>>,
) {
    let (x, y) = (x.into(), y.into());
    check(shape, [x.len(), y.len()], &[weight, bias, mean, variance]);
    normalize(isa, shape, epsilon, x, [weight, bias, mean, variance], activation, y);
}

/// The gradients of [`training`] with respect to x, the weight and the bias, those that are wanted, from that of `y`. The statistics are
/// computed anew, and so is the sign of z where there is an activation. With `before`, the slope of a leaky rectifier that x came
/// through, `grad_x` is that of what came into it: x has its sign.
///
/// # Panics
/// When a slice has another size.
#[allow(clippy::too_many_arguments, reason = "the operands of one formula")]
pub fn backward<'a>(
    isa: Isa,
    shape: Shape,
    epsilon: f32,
    x: impl Into<Numbers<'a>>,
    weight: &[f32],
    bias: &[f32],
    grad: impl Into<Numbers<'a>>,
    activation: Option<f32>,
    before: Option<f32>,
    grad_x: Option<NumbersMut<'a>>,
    grad_weight: Option<&mut [f32]>,
    grad_bias: Option<&mut [f32]>,
) {
    let (x, grad) = (x.into(), grad.into());
    check(shape, [x.len(), grad.len()], &[weight, bias]);
    let channels = shape.channels;
    let cut = Cut::new(shape);
    let mut memory = Scratch::new(4 * channels);
    let (mean, rest) = memory.split_at_mut(channels);
    let (variance, rest) = rest.split_at_mut(channels);
    let (direct, along) = rest.split_at_mut(channels);
    statistics(isa, shape, x, mean, variance);

    // Constants: mean, factor of what is centred, bias; then what the gradient loses, flat and along what is centred.
    let spread = cut.spread();
    let size = channels * spread;
    let mut constants = Scratch::new(5 * size);
    forward_constants(&mut constants, spread, epsilon, [weight, bias, mean, variance]);
    let quantity = Quantity::Gradients { grad, constants: &constants[..3 * size], slope: activation.unwrap_or(1.0) };
    let numbers = (shape.count * shape.plane) as f64;
    let variance = &*variance;
    cut.sums(isa, x, quantity, direct, along, |channel, parts| {
        let factor = 1.0 / (f64::from(variance[channel]) + f64::from(epsilon)).sqrt();
        let (mut direct, mut along) = (0.0, 0.0);
        for Part { first, second, .. } in parts {
            direct += first;
            along += second;
        }
        (direct as f32, (along * factor) as f32)
    });
    if let Some(grad_weight) = grad_weight {
        grad_weight.copy_from_slice(along);
    }
    if let Some(grad_bias) = grad_bias {
        grad_bias.copy_from_slice(direct);
    }
    let Some(grad_x) = grad_x else { return };
    assert_eq!(grad_x.len(), shape.len(), "the gradient of x has another size");
    for channel in 0..channels {
        let factor = 1.0 / (f64::from(variance[channel]) + f64::from(epsilon)).sqrt();
        let flat = (f64::from(direct[channel]) / numbers) as f32;
        let slope = (f64::from(along[channel]) / numbers * factor) as f32;
        let columns = channel * spread..(channel + 1) * spread;
        constants[3 * size..][columns.clone()].fill(flat);
        constants[4 * size..][columns].fill(slope);
    }
    let pass = Pass { shape, x, grad: Some(grad), constants: &constants, activation, before, spread };
    pass.run(isa, grad_x);
}

fn check(shape: Shape, batches: [usize; 2], channels: &[&[f32]]) {
    assert!(batches.iter().all(|&len| len == shape.len()), "a batch has another size than {shape:?}");
    assert!(channels.iter().all(|c| c.len() == shape.channels), "there is not one number for each of {shape:?}");
}

/// The mean and the biased variance of each channel; NaN of nothing.
fn statistics(isa: Isa, shape: Shape, x: Numbers<'_>, mean: &mut [f32], variance: &mut [f32]) {
    let numbers = (shape.count * shape.plane) as f64;
    Cut::new(shape).sums(isa, x, Quantity::Moments, mean, variance, |_, parts| {
        let mean = parts.clone().map(|p| p.numbers as f64 * p.first).sum::<f64>() / numbers;
        let squares: f64 = parts.map(|p| p.second + p.numbers as f64 * (p.first - mean) * (p.first - mean)).sum();
        (mean as f32, (squares / numbers) as f32)
    });
}

/// Writes mean, `weight / sqrt(variance + epsilon)` and bias of each channel, each `spread` times.
fn forward_constants(to: &mut [f32], spread: usize, epsilon: f32, [weight, bias, mean, variance]: [&[f32]; 4]) {
    let size = weight.len() * spread;
    for channel in 0..weight.len() {
        let factor = f64::from(weight[channel]) / (f64::from(variance[channel]) + f64::from(epsilon)).sqrt();
        for (i, constant) in [mean[channel], factor as f32, bias[channel]].into_iter().enumerate() {
            to[i * size + channel * spread..][..spread].fill(constant);
        }
    }
}

fn normalize(
    isa: Isa,
    shape: Shape,
    epsilon: f32,
    x: Numbers<'_>,
    channels: [&[f32]; 4],
    activation: Option<f32>,
    y: NumbersMut<'_>,
) {
    let spread = Cut::new(shape).spread();
    let mut constants = Scratch::new(3 * shape.channels * spread);
    forward_constants(&mut constants, spread, epsilon, channels);
    let pass = Pass { shape, x, grad: None, constants: &constants, activation, before: None, spread };
    pass.run(isa, y);
}

/// A leaky rectifier; the slope 1 leaves everything as it is.
struct Rectifier<S: Simd> {
    slope: S::F,
    /// Set where the slope is 0.
    flat: S::M,
}

impl<S: Simd> Rectifier<S> {
    #[inline(always)]
    fn new(s: S, slope: f32) -> Rectifier<S> {
        Rectifier { slope: s.splat(slope), flat: s.eq(s.splat(slope), s.splat(0.0)) }
    }

    /// `x` where z is positive or NaN, elsewhere the slope times `x`: 0, and no NaN, for the slope 0.
    #[inline(always)]
    fn apply(&self, s: S, z: S::F, x: S::F) -> S::F {
        let zero = s.splat(0.0);
        let below = s.select(self.flat, zero, s.mul(self.slope, x));
        s.select(s.le(z, zero), below, x)
    }
}

#[cfg(test)]
mod tests;
