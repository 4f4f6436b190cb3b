//! Batches ahead of the training step: worker threads decode and augment, the consumer gets them strictly in order.
//!
//! Worker w prepares batches w, w + W, w + 2W, ... into a bounded channel of its own, and the consumer takes from the
//! channels in turn. So order needs no sorting, memory is bounded, and the bytes do not depend on the number of workers.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::augment::{Occasion, augment, check};
use crate::error::{DataError, Result};
use crate::image_set::ImageSet;
use crate::spec::Augmentation;

/// How an epoch's batches are prepared.
#[derive(Clone, Debug, Default)]
pub struct LoaderOptions {
    /// Applied to every image in order; empty for validation and test.
    pub augment: Vec<Augmentation>,
    pub seed: u64,
    pub epoch: usize,
    /// Loss weight of each class; absent means 1.
    pub class_weights: Option<Vec<f32>>,
    /// Worker threads; 0 counts as 1.
    pub workers: usize,
    /// Batches held ready by each worker; 0 counts as 1.
    pub prefetch: usize,
    /// Batches to leave out at the beginning, for a resume in the middle of an epoch.
    pub skip: usize,
}

/// One batch; all parts are row by row in the order of `indices`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// u8 `[n, channels, size, size]`.
    pub images: Vec<u8>,
    pub shape: [usize; 4],
    pub labels: Vec<i32>,
    /// `[n, classes]`: the soft label, or 1 at the label.
    pub targets: Vec<f32>,
    /// `[n]`: the class weight of each sample.
    pub weights: Vec<f32>,
    /// `[n]`: indices into the split.
    pub indices: Vec<usize>,
}

/// An index into the split and how often it came up before in the epoch.
type Place = (usize, usize);

/// An iterator over prepared batches. Dropping it early stops and joins its threads; after an error it ends.
pub struct Loader {
    queues: Vec<Receiver<Result<Batch>>>,
    threads: Vec<JoinHandle<()>>,
    next: usize,
    total: usize,
}

impl Loader {
    /// Starts preparing `batches`, the index lists of one whole epoch.
    ///
    /// Fails on augmentation ranges that make no sense, on class weights that do not fit the classes, and on indices
    /// beyond the split.
    pub fn start(set: Arc<ImageSet>, batches: &[Vec<usize>], options: LoaderOptions) -> Result<Self> {
        check(&options.augment)?;
        if let Some(weights) = &options.class_weights
            && (weights.len() != set.classes() || weights.iter().any(|w| w.is_nan() || *w < 0.0))
        {
            let expected = format!("{} weights of 0 or more, one a class", set.classes());
            return Err(DataError::field("class_weights", format!("{weights:?}"), expected));
        }
        let mut seen = vec![0usize; set.len()];
        let mut placed: Vec<Vec<Place>> = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut places = Vec::with_capacity(batch.len());
            for &index in batch {
                let Some(times) = seen.get_mut(index) else {
                    let expected = format!("indices below {}", set.len());
                    return Err(DataError::field("batches", index, expected));
                };
                places.push((index, *times));
                *times += 1;
            }
            placed.push(places);
        }
        let total = placed.len();
        let placed = Arc::new(placed);
        let options = Arc::new(options);
        let workers = options.workers.max(1).min(total.max(1));
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for worker in 0..workers {
            let (sender, receiver) = bounded(options.prefetch.max(1));
            let (set, placed, options) = (set.clone(), placed.clone(), options.clone());
            let thread = std::thread::Builder::new()
                .name(format!("load-{worker}"))
                .spawn(move || {
                    let mine = (options.skip + worker..total).step_by(workers);
                    work(&set, mine.map(|i| placed[i].as_slice()), &options, &sender);
                })
                .map_err(|source| DataError::Io {
                    doing: "start",
                    path: format!("loading thread {worker}").into(),
                    source,
                })?;
            queues.push(receiver);
            threads.push(thread);
        }
        Ok(Self { queues, threads, next: options.skip.min(total), total })
    }

    fn stop(&mut self) {
        // Without receivers every send fails and the workers return.
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A panic has been reported as a lost batch; there is nothing more to learn from it.
            let _ = thread.join();
        }
    }
}

fn work<'a>(
    set: &ImageSet,
    batches: impl Iterator<Item = &'a [Place]>,
    options: &LoaderOptions,
    sender: &Sender<Result<Batch>>,
) {
    for places in batches {
        let batch = prepare(set, places, options);
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

fn prepare(set: &ImageSet, places: &[Place], options: &LoaderOptions) -> Result<Batch> {
    let pixels = set.pixels();
    let classes = set.classes();
    let n = places.len();
    let mut batch = Batch {
        images: Vec::with_capacity(n * pixels.len()),
        shape: [n, pixels.channels, pixels.size, pixels.size],
        labels: Vec::with_capacity(n),
        targets: vec![0.0; n * classes],
        weights: Vec::with_capacity(n),
        indices: places.iter().map(|p| p.0).collect(),
    };
    for (row, &(index, repeat)) in places.iter().enumerate() {
        let image = set.image(index)?;
        if options.augment.is_empty() {
            batch.images.extend_from_slice(&image);
        } else {
            let mut changed = image.to_vec();
            let (seed, epoch) = (options.seed, options.epoch);
            let occasion = Occasion { seed, epoch, sample: index, repeat };
            augment(&mut changed, pixels, &options.augment, occasion);
            batch.images.extend_from_slice(&changed);
        }
        let sample = set.sample(index);
        let target = &mut batch.targets[row * classes..(row + 1) * classes];
        match &sample.target {
            Some(soft) => target.copy_from_slice(soft),
            None => target[sample.label] = 1.0,
        }
        batch.labels.push(sample.label as i32);
        batch.weights.push(options.class_weights.as_ref().map_or(1.0, |w| w[sample.label]));
    }
    Ok(batch)
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.total || self.queues.is_empty() {
            return None;
        }
        let place = self.next;
        self.next += 1;
        // The queue of worker w holds batches skip + w, skip + w + W, ...; rotating keeps the next one in front.
        let received = self.queues[0].recv();
        self.queues.rotate_left(1);
        let batch = received.unwrap_or(Err(DataError::WorkerLost { batch: place }));
        if batch.is_err() {
            self.stop();
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.queues.is_empty() { 0 } else { self.total - self.next };
        (0, Some(left))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
