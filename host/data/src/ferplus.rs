//! FERPlus: FER2013's faces with ten annotator votes each (Barsoum et al. 2016).
//!
//! The votes are published twice, as `fer2013new.csv` and as `data/FER2013{Train,Valid,Test}/label.csv`, and differ in
//! 1,602 rows; [`VoteSource`] says which are meant. The faces are read from the image folders, or from `fer2013.csv`
//! where there are no folders. Votes and faces are joined by image name. `fer2013.csv` has no names: row n of it is the
//! face of row n of `fer2013new.csv`. The number in a name is *not* the row (the two drift apart by 85 rows).
//!
//! `fer2013new.csv` names four faces twice, since FER2013 holds them twice. Both rows are kept, as in the published
//! split sizes, and the second gets the id `NAME#2`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::classes::{FERPLUS, owned};
use crate::dataset::{Dataset, ImageSource, Sample, Split};
use crate::error::{DataError, Result};
use crate::fer2013;
use crate::spec::{LabelMode, VoteSource};
use crate::table::{Row, Table};
use crate::votes::{Verdict, Votes, decide};

const NAME: &str = "FERPlus";
const FOLDERS: [&str; 3] = ["FER2013Train", "FER2013Valid", "FER2013Test"];
const UNNAMED: &str = "no image name";
const HEADER: [&str; 12] = [
    "Usage",
    "Image name",
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
];

/// One row of votes; rows without an image name have an empty `name`.
struct Vote {
    name: String,
    split: Split,
    votes: Votes,
}

/// Reads the root: votes from `source`, training labels by `mode`, validation and test labels always by majority.
pub fn read(root: &Path, source: VoteSource, mode: LabelMode) -> Result<Dataset> {
    let rows = read_votes(root, source)?;
    let faces = Faces::find(root, &folders(root), &new_csv(root))?;

    let origin = format!(
        "{}, {}, {}",
        match source {
            VoteSource::ImageLists => "image lists",
            VoteSource::NewCsv => "fer2013new.csv",
        },
        match mode {
            LabelMode::Majority => "majority",
            LabelMode::Probability => "probability",
            LabelMode::MultiTarget => "multi target",
        },
        match faces {
            Faces::Folders(_) => "image folders",
            Faces::Table { .. } => "fer2013.csv",
        }
    );
    let mut set = Dataset::new(NAME, origin, owned(&FERPLUS));
    let mut seen: HashMap<String, usize> = HashMap::new();
    for row in rows {
        if row.name.is_empty() {
            set.drop_row(UNNAMED);
            continue;
        }
        let times = seen.entry(row.name.clone()).or_default();
        *times += 1;
        let mode = if row.split == Split::Train { mode } else { LabelMode::Majority };
        let (label, target) = match decide(&row.votes, mode) {
            Verdict::Label { label, target } => (label, target),
            Verdict::Dropped(reason) => {
                set.drop_row(reason);
                continue;
            }
        };
        let id = if *times == 1 { row.name.clone() } else { format!("{}#{times}", row.name) };
        let mut sample = Sample::new(id, faces.of(&row)?, label);
        sample.target = target.map(Vec::from);
        sample.votes = Some(row.votes);
        set.split_mut(row.split).push(sample);
    }
    for split in Split::ALL {
        set.split_mut(split).sort_by(|a, b| a.id.cmp(&b.id));
    }
    Ok(set)
}

/// How many rows of the train, public and private list each mode keeps when it is applied to all three.
pub fn kept<const N: usize>(root: &Path, source: VoteSource, modes: [LabelMode; N]) -> Result<[[usize; 3]; N]> {
    let mut kept = [[0; 3]; N];
    for row in read_votes(root, source)?.iter().filter(|row| !row.name.is_empty()) {
        for (counts, mode) in kept.iter_mut().zip(modes) {
            counts[row.split as usize] += usize::from(matches!(decide(&row.votes, mode), Verdict::Label { .. }));
        }
    }
    Ok(kept)
}

/// Every row of the votes, in the order of the files.
fn read_votes(root: &Path, source: VoteSource) -> Result<Vec<Vote>> {
    match source {
        VoteSource::ImageLists => {
            let mut rows = Vec::new();
            for (split, folder) in Split::ALL.into_iter().zip(&folders(root)) {
                rows.extend(read_list(&folder.join("label.csv"), split)?);
            }
            Ok(rows)
        }
        VoteSource::NewCsv => read_new_csv(&new_csv(root)),
    }
}

fn new_csv(root: &Path) -> PathBuf {
    root.join("fer2013new.csv")
}

/// The three folders, below `data/` as published or directly below the root.
fn folders(root: &Path) -> [PathBuf; 3] {
    let data = root.join("data");
    let base = if data.is_dir() { data } else { root.to_path_buf() };
    FOLDERS.map(|f| base.join(f))
}

/// Reads `name,"(left, top, right, bottom)",ten votes` rows.
fn read_list(path: &Path, split: Split) -> Result<Vec<Vote>> {
    require(path, "the vote list of the image folder, or `votes: NewCsv` with fer2013new.csv")?;
    let mut table = Table::open(path)?;
    let mut rows = Vec::new();
    while let Some(row) = table.next_row()? {
        if row.len() != 12 {
            return Err(row.error(format!("{} fields", row.len()), "12: image name, face box and ten votes"));
        }
        let name = row.text(0, "an image name")?.to_owned();
        rows.push(Vote { name, split, votes: ten_votes(&row, std::array::from_fn(|i| i + 2))? });
    }
    Ok(rows)
}

/// Reads `fer2013new.csv`, whose rows stand in the order of `fer2013.csv`.
fn read_new_csv(path: &Path) -> Result<Vec<Vote>> {
    require(path, "the FERPlus vote file")?;
    let mut table = Table::open(path)?;
    let columns = table.columns(HEADER)?;
    let mut rows = Vec::new();
    while let Some(row) = table.next_row()? {
        let usage = row.text(columns[0], "a usage")?;
        let split = fer2013::split_of(usage)
            .ok_or_else(|| row.error(format!("usage `{usage}`"), "Training, PublicTest or PrivateTest"))?;
        let name = row.text(columns[1], "an image name")?.to_owned();
        rows.push(Vote { name, split, votes: ten_votes(&row, std::array::from_fn(|i| columns[i + 2]))? });
    }
    Ok(rows)
}

fn ten_votes(row: &Row<'_>, columns: [usize; 10]) -> Result<Votes> {
    let mut votes = [0u8; 10];
    for (i, column) in columns.into_iter().enumerate() {
        let what = format!("a vote count 0..=10 for {}", HEADER[i + 2]);
        votes[i] = row.number(column, &what)?;
        if votes[i] > 10 {
            return Err(row.error(votes[i].to_string(), what));
        }
    }
    Ok(votes)
}

fn require(path: &Path, expected: &str) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    Err(DataError::Layout { dataset: NAME, path: path.into(), found: "is missing".into(), expected: expected.into() })
}

/// Where the pixels come from.
enum Faces {
    Folders([PathBuf; 3]),
    /// Pixel table and the row of each image name.
    Table {
        pixels: Arc<Vec<u8>>,
        rows: BTreeMap<String, usize>,
        new_csv: PathBuf,
    },
}

impl Faces {
    fn find(root: &Path, folders: &[PathBuf; 3], new_csv: &Path) -> Result<Self> {
        if folders.iter().all(|folder| holds_images(folder)) {
            return Ok(Self::Folders(folders.clone()));
        }
        let Some(table) = fer2013::table_in(root) else {
            return Err(DataError::Layout {
                dataset: NAME,
                path: root.into(),
                found: "holds no faces".into(),
                expected: "images in data/FER2013Train, FER2013Valid and FER2013Test, or fer2013.csv in the root"
                    .into(),
            });
        };
        require(new_csv, "fer2013new.csv, which names the rows of fer2013.csv")?;
        let names = read_new_csv(new_csv)?;
        let faces = fer2013::read_table(&table)?;
        if faces.splits.len() != names.len() {
            return Err(DataError::Layout {
                dataset: NAME,
                path: table,
                found: format!("has {} rows", faces.splits.len()),
                expected: format!("{} rows, as fer2013new.csv names them", names.len()),
            });
        }
        let mut rows = BTreeMap::new();
        for (row, (vote, split)) in names.into_iter().zip(&faces.splits).enumerate() {
            if vote.split != *split {
                return Err(DataError::Row {
                    path: table,
                    line: row as u64 + 2,
                    found: format!("a row of the {split} split"),
                    expected: format!(
                        "{}, as in the same row of fer2013new.csv: the two files are not in one order",
                        vote.split
                    ),
                });
            }
            if !vote.name.is_empty() {
                rows.entry(vote.name).or_insert(row);
            }
        }
        Ok(Self::Table { pixels: faces.pixels, rows, new_csv: new_csv.into() })
    }

    fn of(&self, vote: &Vote) -> Result<ImageSource> {
        match self {
            Self::Folders(folders) => Ok(ImageSource::file(folders[vote.split as usize].join(&vote.name))),
            Self::Table { pixels, rows, new_csv } => rows
                .get(&vote.name)
                .map(|&row| ImageSource::Inline { table: pixels.clone(), row })
                .ok_or_else(|| DataError::Layout {
                    dataset: NAME,
                    path: new_csv.clone(),
                    found: format!("does not name {}", vote.name),
                    expected: "every image of the vote lists".into(),
                }),
        }
    }
}

/// Whether a folder holds at least one PNG (the published folders hold only `label.csv`).
fn holds_images(folder: &Path) -> bool {
    std::fs::read_dir(folder)
        .is_ok_and(|entries| entries.flatten().any(|e| e.path().extension().is_some_and(|x| x == "png")))
}
