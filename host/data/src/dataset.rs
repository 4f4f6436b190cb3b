//! A data set in memory: samples with labels and where their pixels are, not the pixels themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{DataError, Result};
use crate::faces::FaceRecipe;

/// The three parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Validation,
    Test,
}

impl Split {
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Side of the images that FER2013 stores as text.
pub const INLINE_SIDE: usize = 48;

/// Where a sample's pixels come from.
#[derive(Clone, Debug)]
pub enum ImageSource {
    /// An image file; `crop` is left, top, width and height in pixels, `bytes` the file's size once it was looked up.
    File { path: PathBuf, crop: Option<[u32; 4]>, bytes: u64 },
    /// Row `row` of a table of 48x48 grey images, shared by all samples of the table.
    Inline { table: Arc<Vec<u8>>, row: usize },
    /// A face drawn on demand.
    Builtin(FaceRecipe),
}

impl ImageSource {
    pub fn file(path: PathBuf) -> Self {
        Self::File { path, crop: None, bytes: 0 }
    }

    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// One labelled image.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Unique within the data set and stable between runs: a file name or path below the root.
    pub id: String,
    pub image: ImageSource,
    /// Index into the data set's classes.
    pub label: usize,
    /// A distribution over the classes where the label is soft; sums to 1.
    pub target: Option<Vec<f32>>,
    /// Raw annotator votes in the order of FERPlus: eight expressions, unknown, not a face.
    pub votes: Option<[u8; 10]>,
    /// The person shown, where the data set tells.
    pub subject: Option<String>,
}

impl Sample {
    /// A hard-labelled sample without votes or subject.
    pub fn new(id: impl Into<String>, image: ImageSource, label: usize) -> Self {
        Self { id: id.into(), image, label, target: None, votes: None, subject: None }
    }
}

/// Three splits over one list of classes, and how they were obtained.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// As people call it, for example `FERPlus`.
    pub name: String,
    /// How it was read, for example `image lists, majority`.
    pub origin: String,
    /// What was asked for, where this set only stands in for it.
    pub substitute_for: Option<String>,
    /// One line for the user: what is missing and how to get it.
    pub notice: Option<String>,
    pub classes: Vec<String>,
    pub train: Vec<Sample>,
    pub validation: Vec<Sample>,
    pub test: Vec<Sample>,
    /// Rows that are in the files but not in the splits, by reason.
    pub dropped: BTreeMap<String, usize>,
}

impl Dataset {
    pub(crate) fn new(name: &str, origin: impl Into<String>, classes: Vec<String>) -> Self {
        Self {
            name: name.into(),
            origin: origin.into(),
            substitute_for: None,
            notice: None,
            classes,
            train: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
            dropped: BTreeMap::new(),
        }
    }

    pub fn split(&self, split: Split) -> &[Sample] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    pub(crate) fn split_mut(&mut self, split: Split) -> &mut Vec<Sample> {
        match split {
            Split::Train => &mut self.train,
            Split::Validation => &mut self.validation,
            Split::Test => &mut self.test,
        }
    }

    pub(crate) fn drop_row(&mut self, reason: &str) {
        *self.dropped.entry(reason.to_owned()).or_default() += 1;
    }

    /// Number of samples of each class, `[split][class]` in the order of [`Split::ALL`] and of `classes`.
    pub fn counts(&self) -> [Vec<usize>; 3] {
        Split::ALL.map(|split| {
            let mut counts = vec![0; self.classes.len()];
            for sample in self.split(split) {
                counts[sample.label] += 1;
            }
            counts
        })
    }

    /// Loss weights that make the classes of the training set count equally: n / (classes * n_c), mean 1 over samples.
    pub fn balanced_weights(&self) -> Vec<f32> {
        let [train, ..] = self.counts();
        let scale = self.train.len() as f32 / self.classes.len() as f32;
        train.iter().map(|&n| if n == 0 { 0.0 } else { scale / n as f32 }).collect()
    }

    /// Hex SHA-256 over the classes and over every sample's split, id, label, target and file size: two runs with the
    /// same fingerprint saw the same labelled files in the same splits.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut text = |s: &str| {
            hash.update((s.len() as u64).to_le_bytes());
            hash.update(s.as_bytes());
        };
        for class in &self.classes {
            text(class);
        }
        for split in Split::ALL {
            text(split.name());
            for sample in self.split(split) {
                text(&sample.id);
                let size = match &sample.image {
                    ImageSource::File { bytes, .. } => *bytes,
                    ImageSource::Inline { .. } => (INLINE_SIDE * INLINE_SIDE) as u64,
                    ImageSource::Builtin(recipe) => recipe.seed ^ recipe.size as u64,
                };
                let mut words = vec![sample.label as u64, size];
                if let Some(target) = &sample.target {
                    words.extend(target.iter().map(|v| u64::from(v.to_bits())));
                }
                text(&words.iter().map(|w| format!("{w:x}")).collect::<Vec<_>>().join(" "));
            }
        }
        hex(&hash.finalize())
    }

    /// Looks up every file's size and returns the listed files that are not there, in the order of the splits.
    pub(crate) fn look_up_files(&mut self) -> Vec<PathBuf> {
        let mut missing = Vec::new();
        for split in Split::ALL {
            let lost: Vec<PathBuf> = self
                .split_mut(split)
                .par_iter_mut()
                .filter_map(|sample| {
                    let ImageSource::File { path, bytes, .. } = &mut sample.image else {
                        return None;
                    };
                    match std::fs::metadata(&*path) {
                        Ok(meta) if meta.is_file() => {
                            *bytes = meta.len();
                            None
                        }
                        _ => Some(path.clone()),
                    }
                })
                .collect();
            missing.extend(lost);
        }
        missing
    }

    /// Every split has samples and every class has training samples.
    pub(crate) fn check_filled(&self) -> Result<()> {
        for split in Split::ALL {
            if self.split(split).is_empty() {
                return Err(DataError::EmptySplit {
                    dataset: self.name.clone(),
                    split,
                    help: format!(
                        "{} rows were left out; check the lists and the shares of the splits",
                        self.dropped.values().sum::<usize>()
                    ),
                });
            }
        }
        let [train, ..] = self.counts();
        match train.iter().position(|&n| n == 0) {
            Some(class) => {
                Err(DataError::EmptyClass { dataset: self.name.clone(), class: self.classes[class].clone() })
            }
            None => Ok(()),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Dataset {
        let mut set = Dataset::new("Small", "by hand", vec!["a".into(), "b".into()]);
        let table = Arc::new(vec![0; 48 * 48]);
        for (i, label) in [0, 1, 0].into_iter().enumerate() {
            let image = ImageSource::Inline { table: table.clone(), row: 0 };
            set.train.push(Sample::new(format!("s{i}"), image, label));
        }
        set
    }

    #[test]
    fn fingerprint_follows_labels_ids_targets_and_splits() {
        let base = small();
        assert_eq!(base.fingerprint(), small().fingerprint());
        assert_eq!(base.fingerprint().len(), 64);
        let changed = |change: fn(&mut Dataset)| {
            let mut set = small();
            change(&mut set);
            set.fingerprint()
        };
        let prints = [
            base.fingerprint(),
            changed(|s| s.train[1].label = 0),
            changed(|s| s.train[1].id = "other".into()),
            changed(|s| s.train[1].target = Some(vec![0.5, 0.5])),
            changed(|s| {
                let moved = s.train.remove(2);
                s.test.push(moved);
            }),
        ];
        for (i, a) in prints.iter().enumerate() {
            assert!(prints[i + 1..].iter().all(|b| a != b), "change {i} is not seen");
        }
    }

    #[test]
    fn balanced_weights_average_to_one_over_samples() {
        let set = small();
        let weights = set.balanced_weights();
        let mean = set.train.iter().map(|s| weights[s.label]).sum::<f32>() / 3.0;
        assert!((mean - 1.0).abs() < 1e-6);
        assert_eq!(weights, [0.75, 1.5]);
    }

    #[test]
    fn empty_parts_are_named() {
        let mut set = small();
        assert!(set.check_filled().unwrap_err().to_string().contains("validation"));
        set.validation.push(set.train[0].clone());
        set.test.push(set.train[0].clone());
        assert!(set.check_filled().is_ok());
        set.train.remove(1);
        assert!(set.check_filled().unwrap_err().to_string().contains("`b`"));
    }
}
