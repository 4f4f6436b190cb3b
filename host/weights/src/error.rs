//! What can go wrong between a name and its tensors.

use std::{io, path::Path};

/// What kind of fault a [`WeightError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightErrorKind {
    /// The file cannot be opened, read or written.
    File,
    /// The file is of another format than weights come in.
    Format,
    /// The file is cut off or contradicts itself.
    Damaged,
    /// The file is sound, but holds what is not supported.
    Unsupported,
    /// The pickle asks for code that no weight file needs.
    Unsafe,
    /// The name of a hub file is not one.
    Name,
    /// The hub cannot be reached, or answers as a hub does not.
    Network,
    /// The hub has stopped answering.
    Stalled,
    /// The hub wants a token, or another one.
    Forbidden,
    /// The hub has no such repository, revision or file.
    Missing,
    /// The bytes are not those that the hub names.
    Checksum,
    /// The disk is full.
    DiskFull,
    /// The network is switched off and the file is not in the cache.
    Offline,
}

/// Weights that cannot be had. `Display` is the sentence alone, in lower case and without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WeightError {
    pub kind: WeightErrorKind,
    /// Fits "error: ...".
    pub message: String,
    /// Facts in lines of their own.
    pub notes: Vec<String>,
    /// What the user can do; fits "help: ...".
    pub help: Option<String>,
}

pub type Result<T, E = WeightError> = std::result::Result<T, E>;

impl WeightError {
    pub(crate) fn new(kind: WeightErrorKind, message: impl Into<String>) -> WeightError {
        WeightError { kind, message: message.into(), notes: vec![], help: None }
    }

    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> WeightError {
        self.notes.push(note.into());
        self
    }

    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> WeightError {
        self.help = Some(help.into());
        self
    }

    /// A file's fault: `action` fits "cannot ... PATH".
    pub(crate) fn io<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> WeightError + use<'a> {
        move |error| {
            let message = format!("cannot {action} {}: {error}", path.display());
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    WeightError::new(WeightErrorKind::DiskFull, message)
                        .help("free some space there and run it again, or set HF_HOME to a folder on another disk")
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    WeightError::new(WeightErrorKind::File, message).help("choose a place that this user may use")
                }
                _ => WeightError::new(WeightErrorKind::File, message),
            }
        }
    }
}
