//! What can go wrong with data: each error says what was found, where, what was expected and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::dataset::Split;

/// Every failure of this crate. Printing one gives a complete sentence or two; nothing else is needed to act on it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The root folder of a data set is not there and nothing stands in for it.
    #[error(
        "{dataset}: root {} not found. Expected {layout}. {get} Or give `otherwise: Builtin(())` to use the built-in faces.",
        .root.display()
    )]
    RootMissing { dataset: &'static str, root: PathBuf, layout: &'static str, get: &'static str },

    /// The root is there but does not look like the data set.
    #[error("{dataset}: {} {found}; expected {expected}", .path.display())]
    Layout { dataset: &'static str, path: PathBuf, found: String, expected: String },

    /// A row of a table that cannot be used. `line` counts from 1, the header included.
    #[error("{}:{line}: found {found}, expected {expected}", .path.display())]
    Row { path: PathBuf, line: u64, found: String, expected: String },

    /// Images that a list names but that do not exist.
    #[error(
        "{dataset}: {} is listed but missing{}; restore the files or run the data check for the whole list",
        .first.display(),
        and_others(*.others)
    )]
    MissingImages { dataset: String, first: PathBuf, others: usize },

    /// A split without samples.
    #[error("{dataset}: the {split} split is empty; {help}")]
    EmptySplit { dataset: String, split: Split, help: String },

    /// A class without a single training sample: no model can learn it.
    #[error(
        "{dataset}: class `{class}` has no training sample; remove the class from the data set or add images of it"
    )]
    EmptyClass { dataset: String, class: String },

    /// A class name that is in no map.
    #[error("unknown class `{found}` in {place}; known: {known}")]
    UnknownClass { found: String, place: String, known: String },

    /// An image that cannot be decoded.
    #[error(
        "cannot read image {}: {reason}; replace it, or set `unreadable: Skip` to leave such images out",
        .path.display()
    )]
    Unreadable { path: PathBuf, reason: String },

    /// `size: None` needs images of one size.
    #[error(
        "images differ in size: {first} is {}x{}, {other} is {}x{}; set `size` in the image section",
        .first_size.0, .first_size.1, .other_size.0, .other_size.1
    )]
    MixedSizes { first: String, first_size: (u32, u32), other: String, other_size: (u32, u32) },

    /// A field of the experiment's data section that has no meaning.
    #[error("data field `{field}` is {found}, expected {expected}")]
    Field { field: String, found: String, expected: String },

    /// A class prior table that cannot be used.
    #[error("prior table {place}: {found}; expected {expected}")]
    Prior { place: String, found: String, expected: String },

    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },

    /// A loading thread ended without a result.
    #[error("a data loading thread stopped unexpectedly while preparing batch {batch}")]
    WorkerLost { batch: usize },
}

fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    }
}

impl DataError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn field(field: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Self {
        Self::Field { field: field.into(), found: found.to_string(), expected: expected.into() }
    }
}

pub type Result<T, E = DataError> = std::result::Result<T, E>;
