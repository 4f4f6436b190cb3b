//! FER2013 (Goodfellow et al. 2013): 35,887 grey 48x48 faces as text, `fer2013.csv` or Kaggle's `icml_face_data.csv`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::classes::{FER2013, owned};
use crate::dataset::{Dataset, INLINE_SIDE, ImageSource, Sample, Split};
use crate::error::{DataError, Result};
use crate::table::Table;

const PIXELS: usize = INLINE_SIDE * INLINE_SIDE;

/// The pixel table: one row of 48x48 grey values for each entry of `splits` and `labels`.
pub struct FaceTable {
    pub pixels: Arc<Vec<u8>>,
    pub splits: Vec<Split>,
    pub labels: Vec<usize>,
}

/// Reads the table of the root; the id of a sample is its row, counted from 0 (`row00042`).
pub fn read(root: &Path) -> Result<Dataset> {
    let path = table_in(root).ok_or_else(|| DataError::Layout {
        dataset: "FER2013",
        path: root.into(),
        found: "holds no pixel table".into(),
        expected: "fer2013.csv or icml_face_data.csv".into(),
    })?;
    let table = read_table(&path)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut set = Dataset::new("FER2013", file, owned(&FER2013));
    for (row, (&split, &label)) in table.splits.iter().zip(&table.labels).enumerate() {
        let image = ImageSource::Inline { table: table.pixels.clone(), row };
        set.split_mut(split).push(Sample::new(format!("row{row:05}"), image, label));
    }
    Ok(set)
}

/// The pixel table of a root under either of its names.
pub fn table_in(root: &Path) -> Option<PathBuf> {
    ["fer2013.csv", "icml_face_data.csv"].into_iter().map(|name| root.join(name)).find(|p| p.is_file())
}

/// FER2013's words for the three splits.
pub fn split_of(usage: &str) -> Option<Split> {
    match usage {
        "Training" => Some(Split::Train),
        "PublicTest" => Some(Split::Validation),
        "PrivateTest" => Some(Split::Test),
        _ => None,
    }
}

/// Reads `emotion,pixels,Usage` rows, in any column order and with blanks in the header.
pub fn read_table(path: &Path) -> Result<FaceTable> {
    let mut table = Table::open(path)?;
    let [emotion, pixels, usage] = table.columns(["emotion", "pixels", "Usage"])?;
    let (mut all, mut splits, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(row) = table.next_row()? {
        let label: usize = row.number(emotion, "an emotion 0..=6")?;
        if label >= FER2013.len() {
            return Err(row.error(format!("emotion {label}"), "0..=6"));
        }
        labels.push(label);
        let word = row.text(usage, "a usage")?;
        splits.push(
            split_of(word)
                .ok_or_else(|| row.error(format!("usage `{word}`"), "Training, PublicTest or PrivateTest"))?,
        );
        let before = all.len();
        for value in row.text(pixels, "pixels")?.split_ascii_whitespace() {
            all.push(
                value
                    .parse::<u8>()
                    .map_err(|_| row.error(format!("pixel `{value}`"), "integers 0..=255 separated by blanks"))?,
            );
        }
        if all.len() - before != PIXELS {
            return Err(row
                .error(format!("{} pixels", all.len() - before), format!("{PIXELS} ({INLINE_SIDE} x {INLINE_SIDE})")));
        }
    }
    Ok(FaceTable { pixels: Arc::new(all), splits, labels })
}
