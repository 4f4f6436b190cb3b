//! A library as a file: its hash and its time, without running any of it.

use std::{
    io::{self, Read},
    path::Path,
    time::SystemTime,
};

use sha2::{Digest, Sha256};

/// What is seen of a library from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryFile {
    /// In hexadecimal.
    pub sha256: String,
    pub modified: Option<SystemTime>,
}

impl LibraryFile {
    /// # Errors
    /// A file that is not there or cannot be read.
    pub fn look(path: &Path) -> io::Result<LibraryFile> {
        // Reading a pipe would wait for ever.
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let mut file = std::fs::File::open(path)?;
        let (mut hash, mut part) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut part)? {
                0 => break,
                read => hash.update(&part[..read]),
            }
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(LibraryFile { sha256, modified: metadata.modified().ok() })
    }

    /// `HASH, changed 2026-01-31 12:00:00 UTC`.
    pub fn told(&self) -> String {
        match self.modified.and_then(time_of) {
            Some(time) => format!("{}, changed {time}", self.sha256),
            None => self.sha256.clone(),
        }
    }
}

/// A file's time as people read it.
pub fn time_of(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}
