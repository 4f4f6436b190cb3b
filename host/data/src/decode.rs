//! From a sample to pixels: u8 `[channels, size, size]`, channel by channel.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageReader};
use rayon::prelude::*;

use crate::dataset::{Dataset, INLINE_SIDE, ImageSource, Sample, Split};
use crate::error::{DataError, Result};
use crate::spec::{ImageSpec, Unreadable};

/// Shape of every image of a prepared data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    pub channels: usize,
    /// Side in pixels.
    pub size: usize,
}

impl Pixels {
    /// Bytes of one image.
    pub fn len(&self) -> usize {
        self.channels * self.size * self.size
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Decodes one sample to `[channels, size, size]`.
///
/// Colour becomes grey by luma (Rec. 709), grey becomes colour by repetition. Images of another size, or that are not
/// square, are resized with a triangle filter (bilinear, widened when shrinking so that nothing is skipped).
pub fn decode(sample: &Sample, pixels: Pixels) -> Result<Vec<u8>> {
    let image = load(&sample.image)?;
    let side = pixels.size as u32;
    let resized = |image: DynamicImage| {
        if (image.width(), image.height()) == (side, side) {
            image
        } else {
            image.resize_exact(side, side, FilterType::Triangle)
        }
    };
    Ok(if pixels.channels == 1 {
        // Grey first: a third of the resizing.
        resized(DynamicImage::ImageLuma8(image.into_luma8())).into_luma8().into_raw()
    } else if matches!(image, DynamicImage::ImageLuma8(_)) {
        resized(image).into_luma8().into_raw().repeat(pixels.channels)
    } else {
        let rgb = resized(DynamicImage::ImageRgb8(image.into_rgb8())).into_rgb8().into_raw();
        (0..pixels.channels).flat_map(|c| rgb.iter().skip(c).step_by(3).copied()).collect()
    })
}

pub(crate) fn load(source: &ImageSource) -> Result<DynamicImage> {
    match source {
        ImageSource::File { path, crop, .. } => {
            let image = open_image(path)?;
            match crop {
                Some(edges) => crop_to(image, *edges, path),
                None => Ok(image),
            }
        }
        ImageSource::Inline { table, row } => {
            let n = INLINE_SIDE * INLINE_SIDE;
            Ok(grey(INLINE_SIDE, table[row * n..(row + 1) * n].to_vec()))
        }
        ImageSource::Builtin(recipe) => Ok(grey(recipe.size, recipe.render())),
    }
}

fn grey(side: usize, tones: Vec<u8>) -> DynamicImage {
    let side = side as u32;
    let image = GrayImage::from_raw(side, side, tones).unwrap_or_else(|| GrayImage::new(side, side));
    DynamicImage::ImageLuma8(image)
}

fn open_image(path: &Path) -> Result<DynamicImage> {
    let unreadable = |reason: String| DataError::Unreadable { path: path.into(), reason };
    ImageReader::open(path)
        // Extensions lie: RAF-DB and scraped sets hold PNGs named .jpg.
        .and_then(ImageReader::with_guessed_format)
        .map_err(|e| unreadable(e.to_string()))?
        .decode()
        .map_err(|e| unreadable(e.to_string()))
}

/// Crops to left, top, width and height, clipped to the image.
fn crop_to(image: DynamicImage, [x, y, w, h]: [u32; 4], path: &Path) -> Result<DynamicImage> {
    let (width, height) = (image.width(), image.height());
    if x >= width || y >= height {
        return Err(DataError::Unreadable {
            path: path.into(),
            reason: format!("the face box begins at ({x}, {y}) outside the {width}x{height} image"),
        });
    }
    Ok(image.crop_imm(x, y, w.min(width - x), h.min(height - y)))
}

/// Width and height of a sample; of a file only its header is read.
fn dimensions(sample: &Sample) -> Result<(u32, u32)> {
    let square = |side: usize| (side as u32, side as u32);
    match &sample.image {
        ImageSource::File { crop: Some([_, _, w, h]), .. } => Ok((*w, *h)),
        ImageSource::File { path, .. } => ImageReader::open(path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(|e| e.to_string())
            .and_then(|r| r.into_dimensions().map_err(|e| e.to_string()))
            .map_err(|reason| DataError::Unreadable { path: path.clone(), reason }),
        ImageSource::Inline { .. } => Ok(square(INLINE_SIDE)),
        ImageSource::Builtin(recipe) => Ok(square(recipe.size)),
    }
}

impl Dataset {
    /// Decides the shape of the pixels and, with `unreadable: Skip`, takes out the images that cannot be decoded
    /// (counted in `dropped`). Excluding them here, before training, keeps every batch full and every run of the same
    /// files alike; it costs one pass of decoding.
    ///
    /// Without a `size` all images must be square and share one; otherwise the first two that differ are named.
    pub fn prepare(&mut self, spec: &ImageSpec) -> Result<Pixels> {
        if !matches!(spec.channels, 1 | 3) {
            return Err(DataError::field("channels", spec.channels, "1 (grey) or 3 (colour)"));
        }
        if let Some(size) = spec.size.filter(|s| !(1..=4096).contains(s)) {
            return Err(DataError::field("size", size, "1..=4096 pixels"));
        }
        if spec.unreadable == Unreadable::Skip {
            self.exclude_unreadable()?;
        }
        let size = match spec.size {
            Some(size) => size,
            None => self.common_size()?,
        };
        Ok(Pixels { channels: spec.channels, size })
    }

    fn exclude_unreadable(&mut self) -> Result<()> {
        for split in Split::ALL {
            let readable: Vec<bool> =
                self.split(split).par_iter().map(|s| s.image.path().is_none() || load(&s.image).is_ok()).collect();
            let lost = readable.iter().filter(|r| !**r).count();
            if lost > 0 {
                let mut keep = readable.into_iter();
                self.split_mut(split).retain(|_| keep.next().unwrap_or(true));
                *self.dropped.entry("unreadable image".into()).or_default() += lost;
            }
        }
        self.check_filled()
    }

    fn common_size(&self) -> Result<usize> {
        let samples: Vec<&Sample> = Split::ALL.iter().flat_map(|s| self.split(*s)).collect();
        let sizes = samples.par_iter().map(|s| dimensions(s)).collect::<Result<Vec<(u32, u32)>>>()?;
        let Some((&first, first_sample)) = sizes.first().zip(samples.first()) else {
            return Err(DataError::field("size", "absent", "a size, since there are no images"));
        };
        if first.0 != first.1 {
            return Err(DataError::field(
                "size",
                format!("absent, but {} is {}x{}", first_sample.id, first.0, first.1),
                "a size where images are not square",
            ));
        }
        match sizes.iter().position(|s| *s != first) {
            None => Ok(first.0 as usize),
            Some(other) => Err(DataError::MixedSizes {
                first: first_sample.id.clone(),
                first_size: first,
                other: samples[other].id.clone(),
                other_size: sizes[other],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    fn set_of(paths: &[&Path]) -> Dataset {
        let mut set = Dataset::new("Made", "by hand", vec!["a".into()]);
        for path in paths {
            for split in Split::ALL {
                let sample = Sample::new(path.to_string_lossy(), ImageSource::file((*path).into()), 0);
                set.split_mut(split).push(sample);
            }
        }
        set
    }

    #[test]
    fn colour_is_channel_by_channel_and_grey_is_luma() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        RgbImage::from_fn(4, 4, |x, _| Rgb([x as u8 * 10, 100, 200])).save(&path).unwrap();
        let sample = Sample::new("a", ImageSource::file(path), 0);
        let colour = decode(&sample, Pixels { channels: 3, size: 4 }).unwrap();
        assert_eq!(colour[..4], [0, 10, 20, 30]);
        assert!(colour[16..32].iter().all(|v| *v == 100) && colour[32..].iter().all(|v| *v == 200));
        let grey = decode(&sample, Pixels { channels: 1, size: 4 }).unwrap();
        let luma = (0.2126 * 30.0 + 0.7152 * 100.0 + 0.0722 * 200.0) as u8;
        assert!(grey[3].abs_diff(luma) <= 1, "{} is not {luma}", grey[3]);
        assert_eq!(decode(&sample, Pixels { channels: 1, size: 7 }).unwrap().len(), 49);
    }

    #[test]
    fn a_face_box_is_cut_out_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        GrayImage::from_fn(8, 8, |x, y| image::Luma([(8 * y + x) as u8])).save(&path).unwrap();
        let boxed = |crop| {
            let image = ImageSource::File { path: path.clone(), crop: Some(crop), bytes: 0 };
            decode(&Sample::new("a", image, 0), Pixels { channels: 1, size: 2 })
        };
        assert_eq!(boxed([2, 3, 2, 2]).unwrap(), [26, 27, 34, 35]);
        assert!(boxed([8, 0, 2, 2]).unwrap_err().to_string().contains("outside"));
    }

    #[test]
    fn broken_images_stop_or_are_skipped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good.png"), dir.path().join("bad.png"));
        GrayImage::new(5, 5).save(&good).unwrap();
        std::fs::write(&bad, b"\x89PNG\r\n\x1a\nnot an image").unwrap();
        let mut set = set_of(&[&good, &bad]);
        let error = set.prepare(&ImageSpec::default()).unwrap_err().to_string();
        assert!(error.contains("bad.png"), "{error}");
        let skip = ImageSpec { unreadable: Unreadable::Skip, ..Default::default() };
        assert_eq!(set.prepare(&skip).unwrap(), Pixels { channels: 1, size: 5 });
        assert_eq!((set.train.len(), set.dropped["unreadable image"]), (1, 3));
    }

    #[test]
    fn mixed_sizes_need_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.png"), dir.path().join("b.png"));
        GrayImage::new(5, 5).save(&a).unwrap();
        GrayImage::new(6, 6).save(&b).unwrap();
        let mut set = set_of(&[&a, &b]);
        let error = set.prepare(&ImageSpec::default()).unwrap_err().to_string();
        assert!(error.contains("5x5") && error.contains("6x6"), "{error}");
        let sized = ImageSpec { size: Some(9), ..Default::default() };
        assert_eq!(set.prepare(&sized).unwrap().size, 9);
        let two = ImageSpec { channels: 2, ..Default::default() };
        assert!(set.prepare(&two).unwrap_err().to_string().contains("channels"));
    }
}
