use super::*;
use crate::dataset::{Dataset, ImageSource, Sample};
use crate::decode::Pixels;
use crate::sampler::{batches, epoch_order};
use crate::spec::{BuiltinSpec, DataSpec, Sampling};
use proptest::prelude::*;

fn faces(n: usize) -> Dataset {
    let spec = BuiltinSpec { train: n, validation: 1, test: 1, size: 24, ..Default::default() };
    crate::open(&DataSpec::Builtin(spec), 0).unwrap()
}

fn image_set(n: usize, cache: usize) -> Arc<ImageSet> {
    let pixels = Pixels { channels: 1, size: 24 };
    Arc::new(ImageSet::new(faces(n).train, 8, pixels, cache).unwrap())
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions {
        augment: vec![Augmentation::RandomHorizontalFlip { p: 0.5 }, Augmentation::RandomRotation { degrees: 20.0 }],
        seed: 4,
        epoch: 2,
        workers,
        prefetch: 2,
        ..Default::default()
    }
}

fn run(set: &Arc<ImageSet>, lists: &[Vec<usize>], options: LoaderOptions) -> Vec<Batch> {
    Loader::start(set.clone(), lists, options).unwrap().collect::<Result<_>>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn bytes_and_order_do_not_depend_on_workers_cache_or_resume(
        workers in 1usize..5, batch in 1usize..9, skip in 0usize..4, cache in 0usize..20_000,
    ) {
        let reference = image_set(21, 0);
        let order = epoch_order(&reference.labels(), Sampling::Balanced, 1, 0);
        let lists = batches(&order, batch, false);
        let expected = run(&reference, &lists, options(1));
        let got = run(&image_set(21, cache), &lists, LoaderOptions { skip, ..options(workers) });
        prop_assert_eq!(&got[..], &expected[skip.min(expected.len())..]);
    }
}

#[test]
fn a_batch_holds_what_its_parts_say() {
    let mut data = faces(16);
    data.train[3].target = Some(vec![0.25, 0.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let label = data.train[2].label;
    let pixels = Pixels { channels: 3, size: 30 };
    let set = Arc::new(ImageSet::new(data.train, 8, pixels, 1 << 20).unwrap());
    let mut weights = vec![1.0; 8];
    weights[label] = 2.5;
    let options = LoaderOptions { class_weights: Some(weights), ..Default::default() };
    let got = run(&set, &[vec![2, 3]], options);
    let batch = &got[0];
    assert_eq!(batch.shape, [2, 3, 30, 30]);
    assert_eq!(batch.images.len(), 2 * 3 * 900);
    assert_eq!((batch.labels[0], batch.weights[0]), (label as i32, 2.5));
    assert_eq!(batch.targets[label], 1.0);
    assert_eq!(batch.targets[8..10], [0.25, 0.75]);
    assert_eq!(batch.indices, [2, 3]);
}

#[test]
fn the_cache_keeps_its_limit_and_repeats_are_augmented_anew() {
    let set = image_set(16, 5 * 576 + 100);
    let all: Vec<usize> = (0..16).collect();
    run(&set, &[all], options(1));
    assert_eq!(set.cached_bytes(), 5 * 576);
    let twice = run(&set, &[vec![1, 1]], options(1));
    assert_ne!(twice[0].images[..576], twice[0].images[576..]);
}

#[test]
fn errors_reach_the_consumer_in_their_place_and_end_the_epoch() {
    let mut data = faces(16);
    data.train[5] = Sample::new("gone", ImageSource::file("no/such/image.png".into()), 0);
    let pixels = Pixels { channels: 1, size: 24 };
    let set = Arc::new(ImageSet::new(data.train, 8, pixels, 0).unwrap());
    let lists: Vec<Vec<usize>> = (0..16).map(|i| vec![i]).collect();
    let mut loader = Loader::start(set, &lists, options(3)).unwrap();
    for _ in 0..5 {
        assert!(loader.next().unwrap().is_ok());
    }
    let error = loader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("no/such/image.png"), "{error}");
    assert!(loader.next().is_none());
}

#[test]
fn dropping_early_ends_the_threads() {
    let set = image_set(64, 0);
    let lists: Vec<Vec<usize>> = (0..64).map(|i| vec![i]).collect();
    let mut loader = Loader::start(set.clone(), &lists, options(4)).unwrap();
    assert!(loader.next().unwrap().is_ok());
    drop(loader);
    assert_eq!(Arc::strong_count(&set), 1, "a worker still holds the images");
}

#[test]
fn senseless_requests_are_refused() {
    let set = image_set(8, 0);
    let start = |lists: &[Vec<usize>], options| {
        Loader::start(set.clone(), lists, options).err().map(|e| e.to_string()).unwrap()
    };
    assert!(start(&[vec![8]], options(1)).contains("indices below 8"));
    let weights = LoaderOptions { class_weights: Some(vec![1.0]), ..options(1) };
    assert!(start(&[vec![0]], weights).contains("class_weights"));
}
