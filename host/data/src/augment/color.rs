//! ColorJitter: brightness, contrast, saturation and hue in random order.
//!
//! Factors are uniform in `[max(0, 1 - x), 1 + x]`, hue shifts in `[-x, x]` of a turn. A grey image has neither
//! saturation nor hue. Results are truncated to bytes as in torchvision.

use crate::decode::Pixels;
use crate::rng::Draws;

/// Weights of red, green and blue in a grey tone (ITU-R 601-2, as torchvision).
const LUMA: [f32; 3] = [0.2989, 0.587, 0.114];

/// `amounts`: brightness, contrast, saturation, hue; 0 leaves that property as it is.
pub fn jitter(image: &mut [u8], pixels: Pixels, amounts: [f32; 4], draws: &mut Draws) {
    let mut order = [0, 1, 2, 3];
    draws.shuffle(&mut order);
    let factors: [f32; 4] = std::array::from_fn(|i| match i {
        3 => draws.range(-amounts[3], amounts[3]),
        _ => draws.range((1.0 - amounts[i]).max(0.0), 1.0 + amounts[i]),
    });
    let colour = pixels.channels == 3;
    for which in order.into_iter().filter(|&i| amounts[i] > 0.0) {
        let factor = factors[which];
        match which {
            0 => blend_all(image, factor, 0.0),
            1 => blend_all(image, factor, mean_grey(image, pixels)),
            2 if colour => {
                let grey: Vec<f32> = (0..image.len() / 3).map(|i| grey_at(image, i)).collect();
                for plane in image.chunks_exact_mut(grey.len()) {
                    plane.iter_mut().zip(&grey).for_each(|(value, &grey)| *value = blend(*value, factor, grey));
                }
            }
            3 if colour => shift_hue(image, factor),
            _ => {}
        }
    }
}

/// `factor * value + (1 - factor) * other`.
fn blend(value: u8, factor: f32, other: f32) -> u8 {
    let mixed = factor * f32::from(value) + (1.0 - factor) * other;
    mixed.clamp(0.0, 255.0) as u8
}

/// With one value for all: of a byte that is one of 256 answers.
fn blend_all(image: &mut [u8], factor: f32, other: f32) {
    let answers: [u8; 256] = std::array::from_fn(|value| blend(value as u8, factor, other));
    image.iter_mut().for_each(|value| *value = answers[usize::from(*value)]);
}

/// A whole number.
fn grey_at(image: &[u8], i: usize) -> f32 {
    let n = image.len() / 3;
    let sum: f32 = (0..3).map(|c| LUMA[c] * f32::from(image[c * n + i])).sum();
    sum as u8 as f32
}

fn mean_grey(image: &[u8], pixels: Pixels) -> f32 {
    let n = pixels.size * pixels.size;
    let sum: u64 = match pixels.channels {
        3 => (0..n).map(|i| grey_at(image, i) as u64).sum(),
        _ => image.iter().map(|v| u64::from(*v)).sum(),
    };
    (sum as f64 / n as f64) as f32
}

/// Turns the hue by a share of the circle.
fn shift_hue(image: &mut [u8], turn: f32) {
    let n = image.len() / 3;
    for i in 0..n {
        let [r, g, b] = [0, 1, 2].map(|c| f32::from(image[c * n + i]) / 255.0);
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        let chroma = max - min;
        if chroma == 0.0 {
            continue;
        }
        let sixth = if max == r {
            (g - b) / chroma
        } else if max == g {
            2.0 + (b - r) / chroma
        } else {
            4.0 + (r - g) / chroma
        };
        let hue = (sixth / 6.0 + turn).rem_euclid(1.0) * 6.0;
        for (c, offset) in [5.0, 3.0, 1.0].into_iter().enumerate() {
            let k: f32 = (offset + hue) % 6.0;
            let value = max - chroma * k.min(4.0 - k).clamp(0.0, 1.0);
            image[c * n + i] = (value * 255.0 + 0.5) as u8;
        }
    }
}
