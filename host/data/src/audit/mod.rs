//! A thorough look at a data set before anyone trains on it: sizes, labels, missing and broken files, duplicates.

mod label_modes;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::classes::{FERPLUS, ferplus_index};
use crate::dataset::{Dataset, Sample, Split};
use crate::decode::load;
use crate::error::Result;
use crate::open::read;
use crate::spec::{DataSpec, LabelMode, VoteSource};

pub use label_modes::LabelModeSizes;

/// How many names of files or pairs are kept for each finding; counts are always whole.
const SHOWN: usize = 20;

/// What was found. Printing it gives plain-text tables; it serialises for machines.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    pub name: String,
    pub origin: String,
    pub substitute_for: Option<String>,
    pub notice: Option<String>,
    /// Class names in label order, each with the FERPlus expression it means by name.
    pub label_map: Vec<LabelMeaning>,
    /// Train, validation, test.
    pub splits: Vec<SplitCounts>,
    /// Whether the sizes are the published ones; absent where none are known.
    pub published: Option<Published>,
    /// FERPlus: what each label mode keeps of the three lists; empty for other sets.
    pub label_modes: Vec<LabelModeSizes>,
    /// Rows that are in the files but not in the splits, by reason.
    pub dropped: BTreeMap<String, usize>,
    pub missing: Listed,
    pub unreadable: Listed,
    /// Images by `WIDTHxHEIGHT colour type`.
    pub image_kinds: BTreeMap<String, usize>,
    pub duplicates: Duplicates,
    pub fingerprint: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct LabelMeaning {
    pub label: usize,
    pub class: String,
    pub ferplus: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SplitCounts {
    pub split: Split,
    pub samples: usize,
    /// In the order of the label map.
    pub classes: Vec<usize>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// What the numbers are of, for example `train, validation, test`.
    pub of: &'static str,
    pub expected: Vec<usize>,
    pub found: Vec<usize>,
    pub matches: bool,
}

/// A count with its first examples.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Listed {
    pub count: usize,
    pub first: Vec<String>,
}

impl Listed {
    fn push(&mut self, item: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(item());
        }
    }
}

/// Images whose decoded pixels are the same as those of an earlier image.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Duplicates {
    /// In the same split, as `first = second`.
    pub within: Listed,
    /// In different splits: what a model was tested on it may have seen in training.
    pub across: Listed,
    /// Of both, those whose labels differ.
    pub contradicting: Listed,
}

impl Audit {
    /// Whether nothing is missing, unreadable, empty or different from what was published. Duplicates alone are no
    /// fault: the published sets have some.
    pub fn is_sound(&self) -> bool {
        self.missing.count == 0
            && self.unreadable.count == 0
            && self.published.as_ref().is_none_or(|p| p.matches)
            && self.label_modes.iter().all(|m| m.matches != Some(false))
            && self.splits.iter().all(|s| s.samples > 0)
            && self.splits[0].classes.iter().all(|n| *n > 0)
    }
}

/// Reads and decodes everything `spec` names; `seed` as in [`crate::open`]. `progress` gets (done, total) images.
///
/// Missing and broken images are findings, not errors. A broken list, or a root that is not there and has no stand-in,
/// is an error.
pub fn audit(spec: &DataSpec, seed: u64, progress: &dyn Fn(usize, usize)) -> Result<Audit> {
    let mut set = read(spec, seed)?;
    let label_modes = match spec {
        DataSpec::FerPlus { root, votes, .. } if set.substitute_for.is_none() => {
            label_modes::label_modes(root, *votes)?
        }
        _ => vec![],
    };
    let lost: Vec<PathBuf> = set.look_up_files();
    let mut missing = Listed::default();
    lost.iter().for_each(|path| missing.push(|| path.display().to_string()));

    let samples: Vec<(Split, &Sample)> =
        Split::ALL.into_iter().flat_map(|s| set.split(s).iter().map(move |x| (s, x))).collect();
    let mut unreadable = Listed::default();
    let mut image_kinds = BTreeMap::new();
    let mut duplicates = Duplicates::default();
    let mut seen: HashMap<[u8; 32], (Split, &Sample)> = HashMap::with_capacity(samples.len());
    let mut done = 0;
    for chunk in samples.chunks(512) {
        let looked: Vec<_> = chunk.par_iter().map(|(_, sample)| look(sample)).collect();
        for (&(split, sample), look) in chunk.iter().zip(looked) {
            match look {
                Ok((digest, kind)) => {
                    *image_kinds.entry(kind).or_default() += 1;
                    match seen.get(&digest) {
                        Some(&first) => duplicates.note(first, (split, sample), &set.classes),
                        None => {
                            seen.insert(digest, (split, sample));
                        }
                    }
                }
                // A missing file is counted once, as missing.
                Err(_) if sample.image.path().is_some_and(|p| !p.exists()) => {}
                Err(reason) => unreadable.push(|| reason.to_string()),
            }
        }
        done += chunk.len();
        progress(done, samples.len());
    }
    Ok(Audit {
        label_map: label_map(&set.classes),
        splits: split_counts(&set),
        published: published(spec, &set),
        label_modes,
        fingerprint: set.fingerprint(),
        missing,
        unreadable,
        image_kinds,
        duplicates,
        name: set.name,
        origin: set.origin,
        substitute_for: set.substitute_for,
        notice: set.notice,
        dropped: set.dropped,
    })
}

/// Digest of the decoded pixels, and the size and colour type.
fn look(sample: &Sample) -> Result<([u8; 32], String)> {
    let image = load(&sample.image)?;
    let kind = format!("{}x{} {:?}", image.width(), image.height(), image.color());
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    hash.update(image.as_bytes());
    Ok((hash.finalize().into(), kind))
}

impl Duplicates {
    fn note(&mut self, (split_a, a): (Split, &Sample), (split_b, b): (Split, &Sample), classes: &[String]) {
        let pair = || format!("{split_a}/{} = {split_b}/{}", a.id, b.id);
        if split_a == split_b { &mut self.within } else { &mut self.across }.push(pair);
        if a.label != b.label {
            self.contradicting.push(|| format!("{}: {} and {}", pair(), classes[a.label], classes[b.label]));
        }
    }
}

fn label_map(classes: &[String]) -> Vec<LabelMeaning> {
    classes
        .iter()
        .enumerate()
        .map(|(label, class)| LabelMeaning {
            label,
            class: class.clone(),
            ferplus: ferplus_index(class).map(|i| FERPLUS[i]),
        })
        .collect()
}

fn split_counts(set: &Dataset) -> Vec<SplitCounts> {
    Split::ALL
        .into_iter()
        .zip(set.counts())
        .map(|(split, classes)| SplitCounts { split, samples: set.split(split).len(), classes })
        .collect()
}

/// Compares with the sizes that a correct reader of the published files gets.
fn published(spec: &DataSpec, set: &Dataset) -> Option<Published> {
    if set.substitute_for.is_some() {
        return None;
    }
    let found = Split::ALL.map(|s| set.split(s).len());
    let (of, expected, found) = match spec {
        DataSpec::FerPlus { votes, labels, .. } => {
            let train = match (votes, labels) {
                (VoteSource::ImageLists, LabelMode::Majority) => 25_045,
                (VoteSource::ImageLists, LabelMode::Probability) => 27_947,
                (VoteSource::ImageLists, LabelMode::MultiTarget) => 27_667,
                (VoteSource::NewCsv, LabelMode::Majority) => 25_060,
                (VoteSource::NewCsv, LabelMode::Probability) => 27_956,
                (VoteSource::NewCsv, LabelMode::MultiTarget) => 27_671,
            };
            let held = match votes {
                VoteSource::ImageLists => [3_191, 3_137],
                VoteSource::NewCsv => [3_199, 3_153],
            };
            ("train, validation, test", vec![train, held[0], held[1]], found.to_vec())
        }
        DataSpec::Fer2013 { .. } => ("train, validation, test", vec![28_709, 3_589, 3_589], found.to_vec()),
        DataSpec::RafDb { .. } => {
            ("train with validation, test", vec![12_271, 3_068], vec![found[0] + found[1], found[2]])
        }
        _ => return None,
    };
    Some(Published { of, matches: expected == found, expected, found })
}

#[cfg(test)]
mod tests;
