//! Random changes to training images, with torchvision's meaning, on u8 `[channels, size, size]`.
//!
//! What an image gets is a pure function of (seed, epoch, sample, how often the sample came up in the epoch), so it is
//! the same for any number of threads and after a resume.

mod color;
mod geometry;

use crate::decode::Pixels;
use crate::error::{DataError, Result};
use crate::rng::{Draws, Purpose};
use crate::spec::Augmentation;

/// Where in training an image comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasion {
    pub seed: u64,
    pub epoch: usize,
    /// Index of the sample in its split.
    pub sample: usize,
    /// 0 the first time in the epoch; balanced sampling repeats rare samples.
    pub repeat: usize,
}

/// Refuses ranges that torchvision refuses: probabilities outside 0..=1, negative amounts, empty ranges.
pub fn check(list: &[Augmentation]) -> Result<()> {
    let chance =
        |field: &str, p: f64| (0.0..=1.0).contains(&p).then_some(()).ok_or_else(|| DataError::field(field, p, "0..=1"));
    let amount = |field: &str, v: f64| {
        (v >= 0.0 && v.is_finite()).then_some(()).ok_or_else(|| DataError::field(field, v, "0 or more"))
    };
    let span = |field: &str, (low, high): (f64, f64)| {
        (low > 0.0 && low <= high && high.is_finite())
            .then_some(())
            .ok_or_else(|| DataError::field(field, format!("({low}, {high})"), "a range (low, high) above 0"))
    };
    for augmentation in list {
        match augmentation {
            Augmentation::RandomHorizontalFlip { p } => chance("RandomHorizontalFlip.p", *p)?,
            Augmentation::RandomRotation { degrees } => amount("RandomRotation.degrees", *degrees)?,
            Augmentation::RandomAffine { degrees, translate, scale, shear } => {
                amount("RandomAffine.degrees", *degrees)?;
                chance("RandomAffine.translate", translate.0)?;
                chance("RandomAffine.translate", translate.1)?;
                span("RandomAffine.scale", *scale)?;
                amount("RandomAffine.shear", *shear)?;
            }
            Augmentation::ColorJitter { brightness, contrast, saturation, hue } => {
                amount("ColorJitter.brightness", *brightness)?;
                amount("ColorJitter.contrast", *contrast)?;
                amount("ColorJitter.saturation", *saturation)?;
                if !(0.0..=0.5).contains(hue) {
                    return Err(DataError::field("ColorJitter.hue", hue, "0..=0.5"));
                }
            }
            Augmentation::RandomErasing { p, scale, ratio } => {
                chance("RandomErasing.p", *p)?;
                span("RandomErasing.scale", *scale)?;
                span("RandomErasing.ratio", *ratio)?;
                if scale.1 > 1.0 {
                    return Err(DataError::field("RandomErasing.scale", scale.1, "at most 1"));
                }
            }
        }
    }
    Ok(())
}

/// Applies the list in order; the image keeps its shape.
pub fn augment(image: &mut Vec<u8>, pixels: Pixels, list: &[Augmentation], on: Occasion) {
    for (place, augmentation) in list.iter().enumerate() {
        // A stream of its own for every entry: editing one does not change what the others draw.
        let coordinate = (place as u32) << 16 | (on.repeat as u32 & 0xFFFF);
        let mut draws = Draws::new(on.seed, Purpose::Augment, on.epoch as u32, on.sample as u32, coordinate);
        apply(image, pixels, augmentation, &mut draws);
    }
}

fn apply(image: &mut Vec<u8>, pixels: Pixels, what: &Augmentation, draws: &mut Draws) {
    let even = |draws: &mut Draws, bound: f64| draws.range(-bound as f32, bound as f32);
    match what {
        Augmentation::RandomHorizontalFlip { p } => {
            if draws.chance(*p as f32) {
                image.chunks_exact_mut(pixels.size).for_each(<[u8]>::reverse);
            }
        }
        Augmentation::RandomRotation { degrees } => {
            let map = geometry::Map { angle: even(draws, *degrees), ..geometry::Map::IDENTITY };
            *image = geometry::warp(image, pixels, &map);
        }
        Augmentation::RandomAffine { degrees, translate, scale, shear } => {
            let side = pixels.size as f64;
            let map = geometry::Map {
                angle: even(draws, *degrees),
                // Whole pixels, as torchvision.
                shift: [even(draws, translate.0 * side).round(), even(draws, translate.1 * side).round()],
                scale: draws.range(scale.0 as f32, scale.1 as f32),
                shear: even(draws, *shear),
            };
            *image = geometry::warp(image, pixels, &map);
        }
        Augmentation::ColorJitter { brightness, contrast, saturation, hue } => {
            let amounts = [*brightness, *contrast, *saturation, *hue].map(|v| v as f32);
            color::jitter(image, pixels, amounts, draws);
        }
        Augmentation::RandomErasing { p, scale, ratio } => {
            if draws.chance(*p as f32) {
                geometry::erase(image, pixels, *scale, *ratio, draws);
            }
        }
    }
}

#[cfg(test)]
mod tests;
