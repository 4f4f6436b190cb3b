//! One split's samples with a shape for their pixels and a bounded memory of decoded images.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::dataset::Sample;
use crate::decode::{Pixels, decode};
use crate::error::{DataError, Result};

/// Samples that yield u8 `[channels, size, size]` images. Decoded images are kept until `cache_bytes` are used; after
/// that further ones are decoded each time (none is evicted: every image is equally likely to be wanted next).
pub struct ImageSet {
    samples: Vec<Sample>,
    classes: usize,
    pixels: Pixels,
    kept: Vec<OnceLock<Arc<[u8]>>>,
    used: AtomicUsize,
    limit: usize,
}

impl ImageSet {
    /// Fails on labels or soft labels that do not fit the number of classes.
    pub fn new(samples: Vec<Sample>, classes: usize, pixels: Pixels, cache_bytes: usize) -> Result<Self> {
        for sample in &samples {
            let fits = sample.target.as_ref().is_none_or(|t| t.len() == classes);
            if sample.label >= classes || !fits {
                return Err(DataError::field(
                    format!("label of {}", sample.id),
                    sample.label,
                    format!("a class below {classes} and as many soft label entries"),
                ));
            }
        }
        let kept = samples.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { samples, classes, pixels, kept, used: AtomicUsize::new(0), limit: cache_bytes })
    }

    pub fn len(&self) -> usize {
        self.samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    pub fn pixels(&self) -> Pixels {
        self.pixels
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub fn sample(&self, index: usize) -> &Sample {
        &self.samples[index]
    }

    /// Labels in the order of the samples, as [`crate::sampler::epoch_order`] takes them.
    pub fn labels(&self) -> Vec<usize> {
        self.samples.iter().map(|s| s.label).collect()
    }

    /// The decoded image, from memory where it is kept.
    pub fn image(&self, index: usize) -> Result<Arc<[u8]>> {
        let slot = &self.kept[index];
        if let Some(image) = slot.get() {
            return Ok(image.clone());
        }
        let image: Arc<[u8]> = decode(&self.samples[index], self.pixels)?.into();
        let size = image.len();
        // Reserve first, so that threads together never pass the limit.
        let reserved = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(size).filter(|sum| *sum <= self.limit)
            })
            .is_ok();
        if reserved && slot.set(image.clone()).is_err() {
            self.used.fetch_sub(size, Ordering::Relaxed);
        }
        Ok(image)
    }

    /// Bytes of decoded images in memory.
    pub fn cached_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
