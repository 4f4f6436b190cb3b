//! Images a second that one loading thread prepares: `cargo bench -p fer-data --bench loader`.
//!
//! A training step starves where it takes more images a second than `workers` such threads prepare.

use std::{path::PathBuf, sync::Arc};

use divan::{Bencher, counter::ItemsCount};
use fer_data::{
    ImageSet, ImageSource, Loader, LoaderOptions, Pixels, Sample,
    faces::FaceRecipe,
    spec::Augmentation::{self, ColorJitter, RandomAffine, RandomHorizontalFlip, RandomRotation},
};

const IMAGES: usize = 256;
const BATCH: usize = 64;

/// As configs/swin_nr_fpdls.ron changes its images.
fn changes() -> Vec<Augmentation> {
    vec![
        RandomHorizontalFlip { p: 0.5 },
        RandomRotation { degrees: 45.0 },
        RandomAffine { degrees: 15.0, translate: (0.0, 0.0), scale: (1.0, 1.2), shear: 0.0 },
        ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.0, hue: 0.0 },
    ]
}

/// Drawn faces, which are drawn once and kept.
fn drawn(size: usize) -> ImageSet {
    let face = |i: usize| FaceRecipe { class: i % 8, seed: i as u64, size, difficulty: 1.0 };
    let samples = (0..IMAGES).map(|i| Sample::new(i.to_string(), ImageSource::Builtin(face(i)), i % 8)).collect();
    let set = ImageSet::new(samples, 8, Pixels { channels: 3, size }, usize::MAX).expect("labels below 8");
    (0..IMAGES).for_each(|i| drop(set.image(i).expect("a face")));
    set
}

/// JPEG files, which are decoded each time.
fn files(size: usize, folder: &std::path::Path) -> ImageSet {
    let write = |i: usize| -> PathBuf {
        let path = folder.join(format!("{i}.jpg"));
        let pixel = |x: u32, y: u32| image::Rgb([x, y, i as u32].map(|v| (v * 7 % 256) as u8));
        image::RgbImage::from_fn(size as u32, size as u32, pixel).save(&path).expect("a file");
        path
    };
    let samples = (0..IMAGES).map(|i| Sample::new(i.to_string(), ImageSource::file(write(i)), i % 8)).collect();
    ImageSet::new(samples, 8, Pixels { channels: 3, size }, 0).expect("labels below 8")
}

fn epochs(bencher: Bencher<'_, '_>, set: ImageSet, augment: Vec<Augmentation>) {
    let set = Arc::new(set);
    let batches: Vec<Vec<usize>> = (0..IMAGES / BATCH).map(|b| (b * BATCH..(b + 1) * BATCH).collect()).collect();
    bencher.counter(ItemsCount::new(IMAGES)).bench(|| {
        let options = LoaderOptions { augment: augment.clone(), workers: 1, prefetch: 2, ..LoaderOptions::default() };
        let loader = Loader::start(set.clone(), &batches, options).expect("starts");
        loader.map(|batch| batch.expect("a batch").images.len()).sum::<usize>()
    });
}

#[divan::bench(args = [48, 112, 224], sample_count = 20)]
fn kept_in_memory(bencher: Bencher<'_, '_>, size: usize) {
    epochs(bencher, drawn(size), vec![]);
}

#[divan::bench(args = [48, 112, 224], sample_count = 20)]
fn kept_and_changed_as_in_the_paper(bencher: Bencher<'_, '_>, size: usize) {
    epochs(bencher, drawn(size), changes());
}

#[divan::bench(args = [112, 224], sample_count = 10)]
fn jpeg_files_changed_as_in_the_paper(bencher: Bencher<'_, '_>, size: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    epochs(bencher, files(size, folder.path()), changes());
}

/// Of the changes, in their order, one alone.
#[divan::bench(args = [0, 1, 2, 3], sample_count = 10)]
fn one_change_of_224(bencher: Bencher<'_, '_>, which: usize) {
    epochs(bencher, drawn(224), vec![changes().swap_remove(which)]);
}

fn main() {
    divan::main();
}
