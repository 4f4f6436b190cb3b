//! Anyone's own images: one folder a class, with or without split folders above.

use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, ImageSource, Sample, Split};
use crate::error::{DataError, Result};
use crate::folder::{id_below, images, name_of, subfolders};
use crate::holdout::{Shares, distribute};

const VALIDATION: [&str; 3] = ["validation", "val", "valid"];

/// Reads `root/{train,validation|val|valid,test}/<class>/*`; a split without a folder is held out of training by its
/// share. Without a `train` folder the root's own folders are the classes and both shares are held out.
pub fn read(root: &Path, validation: f64, test: f64, seed: u64) -> Result<Dataset> {
    let train = root.join("train");
    let split_folders = train.is_dir();
    let top = if split_folders { train } else { root.to_path_buf() };
    let folders = subfolders(&top)?;
    if folders.is_empty() {
        return Err(DataError::Layout {
            dataset: "ImageFolder",
            path: top,
            found: "holds no class folders".into(),
            expected: "{train,validation,test}/<class>/<images> or <class>/<images>".into(),
        });
    }
    let classes: Vec<String> = folders.iter().map(|f| name_of(f)).collect();
    let given = |names: &[&str]| -> Option<PathBuf> {
        names.iter().map(|n| root.join(n)).find(|p| split_folders && p.is_dir())
    };
    let (given_validation, given_test) = (given(&VALIDATION), given(&["test"]));
    let shares = Shares::new(
        if given_validation.is_some() { 0.0 } else { validation },
        if given_test.is_some() { 0.0 } else { test },
    )?;
    let origin = match (&given_validation, &given_test) {
        (Some(_), Some(_)) => "split folders".to_owned(),
        (Some(_), None) => format!("split folders, {test} of train held out as test"),
        (None, Some(_)) => format!("split folders, {validation} of train held out as validation"),
        (None, None) => format!("{validation} held out as validation and {test} as test"),
    };
    let mut set = Dataset::new("ImageFolder", origin, classes);
    for (split, folder) in [(Split::Validation, given_validation), (Split::Test, given_test)] {
        if let Some(folder) = folder {
            let samples = read_classes(root, &folder, &set.classes)?;
            *set.split_mut(split) = samples;
        }
    }
    let samples = read_classes(root, &top, &set.classes)?;
    distribute(&mut set, samples, shares, seed);
    Ok(set)
}

fn read_classes(root: &Path, folder: &Path, classes: &[String]) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for class_folder in subfolders(folder)? {
        let class = name_of(&class_folder);
        let label = classes.iter().position(|c| *c == class).ok_or_else(|| DataError::UnknownClass {
            found: class.clone(),
            place: folder.display().to_string(),
            known: classes.join(", "),
        })?;
        for path in images(&class_folder)? {
            samples.push(Sample::new(id_below(root, &path), ImageSource::file(path), label));
        }
    }
    Ok(samples)
}
