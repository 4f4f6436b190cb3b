//! What the camera does to a painted face: something in front of it, blur, noise and eight bits.

use super::person::Scene;
use crate::rng::{Draws, Purpose};

/// Tones 0..=1 of a square image to grey bytes.
pub fn finish(mut tones: Vec<f32>, size: usize, scene: &Scene, seed: u64) -> Vec<u8> {
    if let Some([cx, cy, w, h, tone]) = scene.occluder {
        cover(&mut tones, size, [cx, cy, w, h], tone);
    }
    // The same share of the face is blurred at every size.
    let radius = scene.blur * size as f32 / 48.0;
    if radius > 0.05 {
        tones = blur(&tones, size, radius);
    }
    let mut draws = Draws::new(seed, Purpose::FaceNoise, 0, 0, 0);
    tones.iter().map(|t| to_byte(t + scene.noise * rough_normal(&mut draws))).collect()
}

fn to_byte(tone: f32) -> u8 {
    (tone.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// Nearly normal with variance 1: the sum of the four bytes of a word, much cheaper than an exact one.
fn rough_normal(draws: &mut Draws) -> f32 {
    let sum: u32 = draws.word().to_le_bytes().iter().map(|b| u32::from(*b)).sum();
    (sum as f32 - 510.0) / 147.8
}

/// Paints an upright ellipse: centre and half sizes in -1..=1.
fn cover(tones: &mut [f32], size: usize, [cx, cy, w, h]: [f32; 4], tone: f32) {
    let at = |i: usize| (i as f32 + 0.5) * 2.0 / size as f32 - 1.0;
    for row in 0..size {
        for column in 0..size {
            let r = ((at(column) - cx) / w).powi(2) + ((at(row) - cy) / h).powi(2);
            if r < 1.0 {
                tones[row * size + column] = tone * (1.0 - 0.25 * r);
            }
        }
    }
}

/// Separable three-tap blur; a radius above one pixel is done in several passes.
fn blur(tones: &[f32], size: usize, radius: f32) -> Vec<f32> {
    let passes = (radius * radius).ceil().max(1.0) as usize;
    let variance = radius * radius / passes as f32;
    let (side, middle) = (variance / 2.0, 1.0 - variance);
    let mut image = tones.to_vec();
    let mut other = vec![0.0; image.len()];
    for _ in 0..passes {
        for (stride, step) in [(size, 1), (1, size)] {
            for line in 0..size {
                for i in 0..size {
                    let at = |j: usize| image[line * stride + j * step];
                    let near = at(i.saturating_sub(1)) + at((i + 1).min(size - 1));
                    other[line * stride + i * step] = middle * at(i) + side * near;
                }
            }
            std::mem::swap(&mut image, &mut other);
        }
    }
    image
}
