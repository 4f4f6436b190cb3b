//! CK+48: the last three frames of each CK+ sequence (Lucey et al. 2010), one folder a class.
//!
//! The three frames are near-duplicates of one person, so whole subjects go to one split; a random split by image would
//! report the memory of faces as accuracy.

use std::path::Path;

use crate::dataset::{Dataset, ImageSource, Sample};
use crate::error::{DataError, Result};
use crate::folder::{id_below, images, name_of, subfolders};
use crate::holdout::{Shares, distribute};

/// Reads `root/<class>/S<subject>_<sequence>_<frame>.png` and splits by subject.
pub fn read(root: &Path, shares: Shares, seed: u64) -> Result<Dataset> {
    let folders = subfolders(root)?;
    if folders.is_empty() {
        return Err(DataError::Layout {
            dataset: "CK+48",
            path: root.into(),
            found: "holds no folders".into(),
            expected: "one folder a class, such as anger or happy".into(),
        });
    }
    let classes = folders.iter().map(|f| name_of(f)).collect();
    let mut set = Dataset::new("CK+48", "split by subject", classes);
    let mut samples = Vec::new();
    for (label, folder) in folders.iter().enumerate() {
        for path in images(folder)? {
            let name = name_of(&path);
            let subject = subject_of(&name).ok_or_else(|| DataError::Layout {
                dataset: "CK+48",
                path: path.clone(),
                found: "does not say who is shown".into(),
                expected: "a file name beginning with S and the subject's number, as in S010_004_00000017.png".into(),
            })?;
            let mut sample = Sample::new(id_below(root, &path), ImageSource::file(path), label);
            sample.subject = Some(subject);
            samples.push(sample);
        }
    }
    distribute(&mut set, samples, shares, seed);
    Ok(set)
}

/// `S010` of `S010_004_00000017.png`.
fn subject_of(name: &str) -> Option<String> {
    let subject = name.split('_').next()?;
    let number = subject.strip_prefix('S')?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| subject.to_owned())
}
