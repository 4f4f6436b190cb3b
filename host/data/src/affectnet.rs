//! AffectNet (Mollahosseini et al. 2017) in both of its published layouts.
//!
//! The newer one keeps `train_set/images/N.jpg` beside `train_set/annotations/N_exp.npy`; the older one has
//! `training.csv` and `validation.csv` with face boxes into uncropped photographs. The published validation set is used
//! as test, since the real test set is not public; validation is held out of training.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::classes::{AFFECTNET, owned};
use crate::dataset::{Dataset, ImageSource, Sample};
use crate::error::{DataError, Result};
use crate::folder::{id_below, images};
use crate::holdout::{Shares, distribute};
use crate::table::{Row, Table};

const NAME: &str = "AffectNet";
const NOT_EXPRESSIONS: [&str; 3] = ["expression: none", "expression: uncertain", "no face"];
const CONTEMPT: usize = 7;
const CONTEMPT_DROPPED: &str = "contempt (7 classes asked for)";

/// Reads the root as 8 classes, or 7 without contempt.
pub fn read(root: &Path, classes: usize, shares: Shares, seed: u64) -> Result<Dataset> {
    if !(7..=8).contains(&classes) {
        return Err(DataError::field("classes", classes, "8, or 7 (without contempt)"));
    }
    let npy = root.join("train_set").is_dir();
    let origin = format!(
        "{}, {classes} classes, {} of train held out",
        if npy { "npy annotations" } else { "csv lists" },
        shares.validation
    );
    let mut set = Dataset::new(NAME, origin, owned(&AFFECTNET[..classes]));
    let (train, test) = if npy {
        (read_annotations(root, "train_set", &mut set)?, read_annotations(root, "val_set", &mut set)?)
    } else {
        (read_list(root, "training.csv", &mut set)?, read_list(root, "validation.csv", &mut set)?)
    };
    set.test = test;
    distribute(&mut set, train, shares, seed);
    Ok(set)
}

/// The class of an expression number, or the reason why it is none.
fn class_of(number: usize, classes: usize) -> std::result::Result<usize, Option<&'static str>> {
    match number {
        CONTEMPT if classes == CONTEMPT => Err(Some(CONTEMPT_DROPPED)),
        n if n < AFFECTNET.len() => Ok(n),
        n => Err(NOT_EXPRESSIONS.get(n - AFFECTNET.len()).copied()),
    }
}

/// Reads `SET/images/*` with `SET/annotations/N_exp.npy`.
fn read_annotations(root: &Path, folder: &str, set: &mut Dataset) -> Result<Vec<Sample>> {
    let base = root.join(folder);
    if !base.join("images").is_dir() || !base.join("annotations").is_dir() {
        return Err(DataError::Layout {
            dataset: NAME,
            path: base,
            found: "lacks images or annotations".into(),
            expected: "the folders images/ and annotations/".into(),
        });
    }
    let labels: Vec<(PathBuf, PathBuf, usize)> = images(&base.join("images"))?
        .into_par_iter()
        .map(|image| {
            let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let path = base.join("annotations").join(format!("{stem}_exp.npy"));
            read_scalar(&path).map(|number| (image, path, number))
        })
        .collect::<Result<_>>()?;
    let mut samples = Vec::new();
    for (image, path, number) in labels {
        match class_of(number, set.classes.len()) {
            Ok(label) => {
                let id = id_below(root, &image);
                samples.push(Sample::new(id, ImageSource::file(image), label));
            }
            Err(Some(reason)) => set.drop_row(reason),
            Err(None) => return Err(bad_label(&path, format!("expression {number}"))),
        }
    }
    Ok(samples)
}

fn bad_label(path: &Path, found: String) -> DataError {
    DataError::Layout {
        dataset: NAME,
        path: path.into(),
        found: format!("holds {found}"),
        expected: "one expression number 0..=10".into(),
    }
}

/// The one number of an .npy file, stored as text (as AffectNet does) or as an integer or float of any usual width.
fn read_scalar(path: &Path) -> Result<usize> {
    let open = || -> Result<_> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        npyz::NpyFile::new(BufReader::new(file)).map_err(DataError::io("read", path))
    };
    fn one<T: npyz::Deserialize>(file: npyz::NpyFile<BufReader<File>>) -> Option<T> {
        let mut values = file.into_vec::<T>().ok()?;
        (values.len() == 1).then(|| values.remove(0))
    }
    let whole = |v: f64| (v >= 0.0 && v.fract() == 0.0 && v < 1e6).then_some(v as usize);
    let kind = open()?.dtype().descr();
    let kind = kind.trim_matches('\'');
    let number = match kind.get(1..) {
        Some("i8") => one::<i64>(open()?).and_then(|v| v.try_into().ok()),
        Some("i4") => one::<i32>(open()?).and_then(|v| v.try_into().ok()),
        Some("i2") => one::<i16>(open()?).and_then(|v| v.try_into().ok()),
        Some("i1") => one::<i8>(open()?).and_then(|v| v.try_into().ok()),
        Some("u1") => one::<u8>(open()?).map(usize::from),
        Some("u8") => one::<u64>(open()?).and_then(|v| v.try_into().ok()),
        Some("f8") => one::<f64>(open()?).and_then(whole),
        Some("f4") => one::<f32>(open()?).and_then(|v| whole(f64::from(v))),
        Some(text) if text.starts_with('U') => one::<String>(open()?).and_then(|v| v.trim().parse().ok()),
        Some(text) if text.starts_with('S') => one::<Vec<u8>>(open()?)
            .and_then(|v| String::from_utf8(v).ok())
            .and_then(|v| v.trim_end_matches('\0').trim().parse().ok()),
        _ => None,
    };
    number.ok_or_else(|| bad_label(path, format!("something else (type {kind})")))
}

/// Reads an older list: file, face box, landmarks, expression, valence, arousal; the header may be absent.
fn read_list(root: &Path, name: &str, set: &mut Dataset) -> Result<Vec<Sample>> {
    let path = [root.join(name), root.join("Manually_Annotated_file_lists").join(name)]
        .into_iter()
        .find(|p| p.is_file())
        .ok_or_else(|| DataError::Layout {
            dataset: NAME,
            path: root.into(),
            found: format!("holds neither train_set nor {name}"),
            expected: "{train_set,val_set} folders, or training.csv and validation.csv".into(),
        })?;
    let images = ["Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images"]
        .into_iter()
        .map(|folder| root.join(folder))
        .find(|p| p.is_dir())
        .unwrap_or_else(|| root.to_path_buf());
    let mut table = Table::open(&path)?;
    let columns = if table.starts_with("subDirectory_filePath") {
        table.columns(["subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "expression"])?
    } else {
        [0, 1, 2, 3, 4, 6]
    };
    let mut samples = Vec::new();
    while let Some(row) = table.next_row()? {
        let expression: usize = row.number(columns[5], "an expression 0..=10")?;
        let label = match class_of(expression, set.classes.len()) {
            Ok(label) => label,
            Err(Some(reason)) => {
                set.drop_row(reason);
                continue;
            }
            Err(None) => return Err(row.error(format!("expression {expression}"), "0..=10")),
        };
        let file = row.text(columns[0], "a file below the image folder")?;
        let image = ImageSource::File {
            path: images.join(file),
            crop: face_box(&row, [columns[1], columns[2], columns[3], columns[4]])?,
            bytes: 0,
        };
        samples.push(Sample::new(file, image, label));
    }
    Ok(samples)
}

/// The face box, absent where the list says NULL.
fn face_box(row: &Row<'_>, columns: [usize; 4]) -> Result<Option<[u32; 4]>> {
    let mut edges = [0u32; 4];
    for (edge, column) in edges.iter_mut().zip(columns) {
        if row.text(column, "a face box")?.eq_ignore_ascii_case("null") {
            return Ok(None);
        }
        let value: f64 = row.number(column, "a pixel of the face box, or NULL")?;
        *edge = value.max(0.0) as u32;
    }
    if edges[2] == 0 || edges[3] == 0 {
        return Err(row.error("a face box without area", "width and height of 1 or more"));
    }
    Ok(Some(edges))
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;

    fn written<T: npyz::AutoSerialize>(values: &[T]) -> Result<usize> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1_exp.npy");
        let shape = [values.len() as u64];
        let mut writer = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&shape)
            .writer(File::create(&path).unwrap())
            .begin_nd()
            .unwrap();
        writer.extend(values).unwrap();
        writer.finish().unwrap();
        read_scalar(&path)
    }

    #[test]
    fn scalars_of_every_usual_type_are_read() {
        assert_eq!(written(&[6i64]).unwrap(), 6);
        assert_eq!(written(&[6i32]).unwrap(), 6);
        assert_eq!(written(&[6u8]).unwrap(), 6);
        assert_eq!(written(&[6f64]).unwrap(), 6);
        for error in [written(&[1i64, 2]), written(&[-1i64]), written(&[0.5f32])] {
            let message = error.unwrap_err().to_string();
            assert!(message.contains("1_exp.npy") && message.contains("0..=10"), "{message}");
        }
    }
}
