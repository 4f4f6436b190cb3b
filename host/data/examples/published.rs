//! Holds a FERPlus folder with images against what is published of it: sizes, class counts, the prior, sound images.
//! `cargo run --release -p fer-data --example published -- ROOT`; exits with 1 when something differs.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use fer_data::prior::{FERPLUS_PRIOR, estimate_prior};
use fer_data::spec::{DataSpec, ImageSpec, LabelMode, VoteSource};

/// Train, validation and test as this workspace splits them; validation and test are always majority.
const SIZES: [(VoteSource, LabelMode, [usize; 3]); 6] = [
    (VoteSource::ImageLists, LabelMode::Majority, [25_045, 3_191, 3_137]),
    (VoteSource::ImageLists, LabelMode::Probability, [27_947, 3_191, 3_137]),
    (VoteSource::ImageLists, LabelMode::MultiTarget, [27_667, 3_191, 3_137]),
    (VoteSource::NewCsv, LabelMode::Majority, [25_060, 3_199, 3_153]),
    (VoteSource::NewCsv, LabelMode::Probability, [27_956, 3_199, 3_153]),
    (VoteSource::NewCsv, LabelMode::MultiTarget, [27_671, 3_199, 3_153]),
];

/// Test images by class, of the image lists.
const TEST_CLASSES: [usize; 8] = [1083, 892, 394, 382, 269, 16, 86, 15];

/// The votes give the paper's table to 0.003 on the mean, not to the last digit.
const PRIOR_ERROR: f64 = 0.005;

/// Prints each fact with its verdict and remembers whether one was wrong.
#[derive(Default)]
struct Check {
    differs: bool,
}

impl Check {
    fn fact(&mut self, what: &str, holds: bool) {
        println!("{}  {what}", if holds { "ok     " } else { "DIFFERS" });
        self.differs |= !holds;
    }
}

fn main() -> ExitCode {
    let Some(root) = std::env::args_os().nth(1) else {
        eprintln!("usage: published ROOT, a FERPlus folder with images");
        return ExitCode::from(2);
    };
    match check(Path::new(&root)) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether something differs.
fn check(root: &Path) -> Result<bool, Box<dyn Error>> {
    let mut check = Check::default();
    let spec = |votes, labels| DataSpec::FerPlus { root: root.into(), votes, labels, otherwise: None };
    for (votes, labels, expected) in SIZES {
        let mut set = fer_data::open(&spec(votes, labels), 1)?;
        let sizes = [set.train.len(), set.validation.len(), set.test.len()];
        check.fact(&format!("{}: {sizes:?}, expected {expected:?}", set.origin), sizes == expected);
        if labels != LabelMode::Majority {
            continue;
        }
        if votes == VoteSource::ImageLists {
            let classes = &set.counts()[2];
            check.fact(&format!("test by class: {classes:?}, expected {TEST_CLASSES:?}"), *classes == TEST_CLASSES);
            let size = set.prepare(&ImageSpec::default())?.size;
            check.fact(&format!("side {size}, expected 48"), size == 48);
        }
        let mean = prior_error(&estimate_prior(&set.train)?.rows);
        check.fact(&format!("prior from {votes:?}: mean absolute error {mean:.5}"), mean < PRIOR_ERROR);
        let audit = fer_data::audit(&spec(votes, labels), 1, &|_, _| {})?;
        for mode in &audit.label_modes {
            check.fact(&format!("{votes:?} on all three lists: {mode}"), mode.matches != Some(false));
        }
        check.fact(&format!("audit of {votes:?}"), audit.is_sound());
    }
    Ok(check.differs)
}

fn prior_error(rows: &[Vec<f64>]) -> f64 {
    let errors = rows.iter().zip(FERPLUS_PRIOR).flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).abs()));
    errors.sum::<f64>() / 64.0
}
