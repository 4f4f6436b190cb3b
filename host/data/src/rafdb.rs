//! RAF-DB, basic expressions (Li et al. 2017): a label list and aligned 100x100 faces.
//!
//! The label file really is spelt `list_patition_label.txt`. It publishes training and test; validation is held out of
//! training, stratified and seeded.

use std::fs;
use std::path::Path;

use crate::classes::{RAF_DB, owned};
use crate::dataset::{Dataset, ImageSource, Sample};
use crate::error::{DataError, Result};
use crate::holdout::{Shares, distribute};

const LIST: &str = "EmoLabel/list_patition_label.txt";

/// Reads `train_00001.jpg 5` lines (1..=7); the image is `Image/aligned/train_00001_aligned.jpg`.
pub fn read(root: &Path, shares: Shares, seed: u64) -> Result<Dataset> {
    let base = if root.join("basic").is_dir() { root.join("basic") } else { root.to_path_buf() };
    let list = base.join(LIST);
    if !list.is_file() {
        return Err(DataError::Layout {
            dataset: "RAF-DB",
            path: list,
            found: "is missing".into(),
            expected: "the label list of the basic set (its name is spelt so)".into(),
        });
    }
    let origin = format!("basic, aligned, {} of train held out", shares.validation);
    let mut set = Dataset::new("RAF-DB", origin, owned(&RAF_DB));
    let text = fs::read_to_string(&list).map_err(DataError::io("read", &list))?;
    let mut train = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let broken = |expected: &str| DataError::Row {
            path: list.clone(),
            line: index as u64 + 1,
            found: format!("`{line}`"),
            expected: expected.into(),
        };
        let mut words = line.split_whitespace();
        let (Some(name), Some(number), None) = (words.next(), words.next(), words.next()) else {
            return Err(broken("an image name and a label, as in `train_00001.jpg 5`"));
        };
        let label = number
            .parse::<usize>()
            .ok()
            .filter(|n| (1..=RAF_DB.len()).contains(n))
            .ok_or_else(|| broken("a label 1..=7"))?
            - 1;
        let stem = name.strip_suffix(".jpg").ok_or_else(|| broken("a name ending in .jpg"))?;
        let path = base.join("Image/aligned").join(format!("{stem}_aligned.jpg"));
        let sample = Sample::new(name, ImageSource::file(path), label);
        if name.starts_with("train_") {
            train.push(sample);
        } else if name.starts_with("test_") {
            set.test.push(sample);
        } else {
            return Err(broken("a name beginning with train_ or test_"));
        }
    }
    distribute(&mut set, train, shares, seed);
    Ok(set)
}
