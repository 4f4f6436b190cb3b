//! Checks against the published files, for a machine that has them:
//! `FERPLUS_ROOT=... cargo test --release -p fer-data --test published -- --ignored --nocapture`.

use std::path::PathBuf;

use fer_data::prior::{FERPLUS_PRIOR, estimate_prior};
use fer_data::spec::{DataSpec, ImageSpec, LabelMode, VoteSource};

fn root() -> PathBuf {
    std::env::var_os("FERPLUS_ROOT").expect("set FERPLUS_ROOT to a FERPlus folder with images").into()
}

fn spec(votes: VoteSource, labels: LabelMode) -> DataSpec {
    DataSpec::FerPlus { root: root(), votes, labels, otherwise: None }
}

#[test]
#[ignore = "needs FERPLUS_ROOT"]
fn split_sizes_are_the_published_ones() {
    use {LabelMode as L, VoteSource as V};
    for (votes, labels, expected) in [
        (V::ImageLists, L::Majority, [25_045, 3_191, 3_137]),
        (V::ImageLists, L::Probability, [27_947, 3_191, 3_137]),
        (V::ImageLists, L::MultiTarget, [27_667, 3_191, 3_137]),
        (V::NewCsv, L::Majority, [25_060, 3_199, 3_153]),
        (V::NewCsv, L::Probability, [27_956, 3_199, 3_153]),
        (V::NewCsv, L::MultiTarget, [27_671, 3_199, 3_153]),
    ] {
        let start = std::time::Instant::now();
        let set = fer_data::open(&spec(votes, labels), 1).unwrap();
        let sizes = [set.train.len(), set.validation.len(), set.test.len()];
        eprintln!("{}: {sizes:?}, left out {:?}, {:?}", set.origin, set.dropped, start.elapsed());
        assert_eq!(sizes, expected, "{}", set.origin);
        if (votes, labels) == (V::ImageLists, L::Majority) {
            assert_eq!(set.counts()[2], [1083, 892, 394, 382, 269, 16, 86, 15]);
        }
    }
}

#[test]
#[ignore = "needs FERPLUS_ROOT"]
fn the_estimated_prior_is_the_published_one() {
    for votes in [VoteSource::ImageLists, VoteSource::NewCsv] {
        let set = fer_data::open(&spec(votes, LabelMode::Majority), 1).unwrap();
        let estimate = estimate_prior(&set.train).unwrap();
        let errors: Vec<f64> = estimate
            .rows
            .iter()
            .zip(FERPLUS_PRIOR)
            .flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>())
            .collect();
        let mean = errors.iter().sum::<f64>() / 64.0;
        let worst = errors.iter().copied().fold(0.0, f64::max);
        eprintln!("{votes:?}: mean absolute error {mean:.5}, greatest {worst:.5}");
        assert!(mean < 0.005);
    }
}

#[test]
#[ignore = "needs FERPLUS_ROOT"]
fn every_image_decodes_and_the_audit_is_sound() {
    let spec = spec(VoteSource::ImageLists, LabelMode::Majority);
    let start = std::time::Instant::now();
    let audit = fer_data::audit(&spec, 1, &|_, _| {}).unwrap();
    eprintln!("{audit}{:?}", start.elapsed());
    assert!(audit.is_sound());
    let mut set = fer_data::open(&spec, 1).unwrap();
    assert_eq!(set.prepare(&ImageSpec::default()).unwrap().size, 48);
}
