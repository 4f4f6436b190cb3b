//! The lock file: the libraries that were accepted, as RON.

use std::{collections::BTreeSet, path::Path};

use fer_registry::Component;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// What the file begins with.
const HEADER: &str = "// The plugin libraries that were accepted, written by `fer-host plugin lock`. Where a config says `plugins: Lock(\"this file\")`, no\n\
                      // code of any other library is run. One that has changed is accepted anew by `fer-host plugin lock --accept NAME`.\n";

/// The form of the file; another one is another number.
const VERSION: u32 = 1;

/// The libraries that were accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Lock", deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    pub plugins: Vec<Entry>,
}

/// A component, and the library that it was accepted from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub kind: String,
    pub id: String,
    pub version: String,
    /// Of the library, in hexadecimal.
    pub sha256: String,
    /// Where it lay; it may lie anywhere.
    pub library: String,
    /// When it was accepted, in UTC.
    pub accepted: String,
}

/// What became of a component that was to be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    Unchanged,
    Added,
    /// In place of another hash.
    Anew,
}

impl Accepted {
    pub fn word(self) -> &'static str {
        match self {
            Accepted::Unchanged => "unchanged",
            Accepted::Added => "added",
            Accepted::Anew => "accepted",
        }
    }
}

impl Default for LockFile {
    fn default() -> LockFile {
        LockFile { version: VERSION, plugins: vec![] }
    }
}

impl LockFile {
    /// # Errors
    /// A file that is not there, no lock, or one of another version.
    pub fn read(path: &Path) -> Result<LockFile> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(format!("there is no lock file {shown}")).help(format!(
                "fer-host plugin lock CONFIG --file {shown} writes it; look first at what it will accept"
            )),
            _ => Failure::new(format!("cannot read the lock file {shown}: {error}")),
        })?;
        let broken = |what: String| {
            Failure::new(format!("{shown} is no lock file: {what}"))
                .help("put it back as it was, or write it anew with fer-host plugin lock")
        };
        let lock: LockFile = ron::from_str(&text)
            .map_err(|error| broken(format!("{}, at {}", lower(&error.code.to_string()), error.span.start)))?;
        if lock.version != VERSION {
            return Err(broken(format!("its version is {}, this host knows {VERSION}", lock.version)));
        }
        let hash = |entry: &&Entry| entry.sha256.len() != 64 || !entry.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(odd) = lock.plugins.iter().find(hash) {
            return Err(broken(format!("the sha256 of {} {:?} is {:?}", odd.kind, odd.id, odd.sha256)));
        }
        let names: BTreeSet<_> = lock.plugins.iter().map(|entry| (&entry.kind, &entry.id)).collect();
        if names.len() != lock.plugins.len() {
            return Err(broken("it holds a component twice".into()));
        }
        Ok(lock)
    }

    /// # Errors
    /// A place that cannot be written to; an older file is then as it was.
    pub fn write(&self, path: &Path) -> Result<()> {
        let pretty = ron::ser::PrettyConfig::new().struct_names(false).depth_limit(4);
        let body = ron::ser::to_string_pretty(self, pretty)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        Ok(fer_train::write_atomically(path, format!("{HEADER}Lock{body}\n").as_bytes())?)
    }

    pub fn entry(&self, kind: &str, id: &str) -> Option<&Entry> {
        self.plugins.iter().find(|entry| entry.kind == kind && entry.id == id)
    }

    /// Whether some component was accepted from a library of this hash.
    pub fn accepts(&self, sha256: &str) -> bool {
        self.plugins.iter().any(|entry| entry.sha256 == sha256)
    }

    /// Puts a component in, unless it is there with another hash and is not to be accepted anew.
    ///
    /// # Errors
    /// The entry that is there instead.
    pub fn put(&mut self, component: &Component, accept: bool, now: &str) -> Result<Accepted, Box<Entry>> {
        let entry = Entry {
            kind: component.kind().to_owned(),
            id: component.id().to_owned(),
            version: component.version().to_owned(),
            sha256: component.sha256().to_owned(),
            library: component.library().display().to_string(),
            accepted: now.to_owned(),
        };
        let place = self.plugins.iter_mut().find(|old| old.kind == entry.kind && old.id == entry.id);
        let what = match place {
            Some(old) if old.sha256 == entry.sha256 => Accepted::Unchanged,
            Some(old) if accept => {
                *old = entry;
                Accepted::Anew
            }
            Some(old) => return Err(Box::new(old.clone())),
            None => {
                self.plugins.push(entry);
                Accepted::Added
            }
        };
        self.plugins.sort();
        Ok(what)
    }
}

/// A sentence as the other errors begin.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.lock");
        let entry = Entry {
            kind: "loss".into(),
            id: "pdls".into(),
            version: "0.1.0".into(),
            sha256: "0a".repeat(32),
            library: "/p/lib \"x\".so".into(),
            accepted: "2026-01-31T12:00:00Z".into(),
        };
        let lock = LockFile { plugins: vec![entry], ..LockFile::default() };
        lock.write(&path).unwrap();
        assert_eq!(LockFile::read(&path).unwrap(), lock);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("// The plugin libraries") && text.contains("Lock(\n"), "{text}");
        for (from, to, said) in [
            ("0a0a", "0a0z", "the sha256 of loss \"pdls\""),
            ("version: 1", "version: 2", "its version is 2"),
            ("kind:", "kin:", "unexpected field named `kin`"),
            ("\nLock(", "\nLook(", "at "),
        ] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let failure = LockFile::read(&path).unwrap_err();
            assert!(failure.error.message().contains(said), "{said}: {failure:?}");
        }
        let failure = LockFile::read(&folder.path().join("none")).unwrap_err();
        assert!(failure.error.message().starts_with("there is no lock file"), "{failure:?}");
    }
}
