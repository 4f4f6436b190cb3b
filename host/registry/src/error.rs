//! What can be wrong with a library, and with what is asked of the registry.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Why a library cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// One line that fits "libx.so: ...".
    pub reason: String,
    /// What a plugin's author wants to see and a user does not: the dump of two layouts, a child's standard error.
    pub detail: Option<String>,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>) -> Fault {
        Fault { reason: reason.into(), detail: None }
    }

    pub(crate) fn with_detail(reason: impl Into<String>, detail: impl Into<String>) -> Fault {
        let detail: String = detail.into();
        Fault { reason: reason.into(), detail: (!detail.trim().is_empty()).then_some(detail) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// A file that looks like a plugin but cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub path: PathBuf,
    #[serde(flatten)]
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.fault)
    }
}

/// What kind of mistake a [`RegistryError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryErrorKind {
    /// No component of that kind has that id.
    Unknown,
    /// The id belongs to a component of another kind.
    OtherKind,
    /// There are no components at all.
    NoPlugins,
    /// Different libraries offer it.
    Ambiguous,
    /// The kind itself is not known.
    UnknownKind,
}

/// A component that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RegistryError {
    pub kind: RegistryErrorKind,
    /// Fits "error: ...".
    pub message: String,
    /// What the user can do; fits "help: ...".
    pub help: String,
    /// The name that was probably meant.
    pub nearest: Option<String>,
}

/// The candidate that a person probably meant, or `None` when nothing is near.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typing_mistakes_find_their_name() {
        let ids = ["bilinear", "ltr", "sr", "stn"];
        for (wanted, found) in [
            ("ltrr", Some("ltr")),
            ("LTR", Some("ltr")),
            ("bilenear", Some("bilinear")),
            ("st", Some("stn")),
            ("swin", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, ids), found, "{wanted}");
        }
    }
}
