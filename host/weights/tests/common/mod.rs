//! What the tests of files share.

use std::path::{Path, PathBuf};

use fer_weights::{WeightError, WeightErrorKind, inspect, read};

/// A file that PyTorch wrote.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Sentence, notes and help.
pub fn told(error: &WeightError) -> String {
    let lines = std::iter::once(&error.message).chain(&error.notes).chain(&error.help);
    lines.cloned().collect::<Vec<_>>().join("\n")
}

/// A file that is refused, read or inspected, and why.
#[track_caller]
pub fn refused(path: impl AsRef<Path>, kind: WeightErrorKind, parts: &[&str]) {
    let path = data("").join(path);
    for error in [read(&path).map(drop).unwrap_err(), inspect(&path).map(drop).unwrap_err()] {
        assert_eq!(error.kind, kind, "{error}");
        for part in parts {
            assert!(told(&error).contains(part), "{part:?} is not in:\n{}", told(&error));
        }
    }
}
