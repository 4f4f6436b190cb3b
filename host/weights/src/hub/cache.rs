//! The cache's folders, as Python's `huggingface_hub` lays them out:
//!
//! ```text
//! models--owner--name/
//!     blobs/ETAG                     the bytes; an LFS file's tag is its sha256
//!     blobs/ETAG.incomplete          the beginning of them
//!     refs/REVISION                  the commit that a branch or tag stood for
//!     snapshots/COMMIT/FILE          a link to the blob
//! .locks/models--owner--name/ETAG.lock
//! ```

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use fer_train::write_atomically;
use sha2::{Digest, Sha256};

use super::{WEIGHTS, name::HubName};
use crate::error::{Result, WeightError, WeightErrorKind};

/// A repository's part of the cache. Nothing of it need exist.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub fn new(cache: &Path, name: &HubName) -> Cache {
        let folder = format!("models--{}--{}", name.owner, name.name);
        Cache { root: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    /// The commit that a revision stood for when it was last fetched.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    pub fn snapshot(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join("snapshots").join(commit).join(file)
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    pub fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// The sha256 that a file of the cache is to have: the name of its blob. `None` for small text files, whose tag is another
    /// hash, and where links are not used.
    pub fn claimed_sha256(&self, commit: &str, file: &str) -> Option<String> {
        let target = fs::read_link(self.snapshot(commit, file)).ok()?;
        let tag = target.file_name()?.to_str()?;
        is_sha256(tag).then(|| tag.to_owned())
    }

    /// Makes a blob the file of a commit, and the commit that of the revision.
    pub fn place(&self, revision: &str, commit: &str, file: &str, etag: &str) -> Result<PathBuf> {
        let link = self.snapshot(commit, file);
        create_folders(&link)?;
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link).map_err(WeightError::io("replace", &link))?;
        }
        connect(&self.blob(etag), &self.root, &link).map_err(WeightError::io("create", &link))?;
        if !is_commit(revision) {
            let path = self.root.join("refs").join(revision);
            create_folders(&path)?;
            write_atomically(&path, commit.as_bytes()).map_err(|e| WeightError::io(e.action, &e.path)(e.source))?;
        }
        Ok(link)
    }

    /// Removes the file that a name stands for, link and bytes.
    pub fn forget(&self, name: &HubName) -> Result<()> {
        let Some(commit) = self.commit(name.revision()) else { return Ok(()) };
        let wanted: Vec<&str> = name.file.as_deref().map_or(WEIGHTS.to_vec(), |file| vec![file]);
        let Some(link) = wanted.into_iter().map(|f| self.snapshot(&commit, f)).find(|p| p.is_file()) else {
            return Ok(());
        };
        let blob = link.canonicalize().map_err(WeightError::io("read", &link))?;
        // A link that leads elsewhere is not the cache's to follow.
        let ours = self.root.canonicalize().is_ok_and(|root| blob.starts_with(root));
        for path in [Some(&link), ours.then_some(&blob).filter(|&b| *b != link)].into_iter().flatten() {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(WeightError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The folders above a file.
pub fn create_folders(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(WeightError::io("create", folder))
}

/// A relative link, so that the cache can be moved.
#[cfg(unix)]
fn connect(blob: &Path, root: &Path, link: &Path) -> io::Result<()> {
    let below = |path: &Path| path.strip_prefix(root).map(Path::to_owned).map_err(io::Error::other);
    let up = below(link)?.components().filter(|c| matches!(c, Component::Normal(_))).count().saturating_sub(1);
    let target: PathBuf = std::iter::repeat_n(PathBuf::from(".."), up).chain([below(blob)?]).collect();
    std::os::unix::fs::symlink(target, link)
}

/// Elsewhere links need a permission that few users have.
#[cfg(not(unix))]
fn connect(blob: &Path, _: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(drop))
}

/// A commit is named by 40 hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Of a file's bytes, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let hash = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
                n => hasher.update(&buffer[..n]),
            }
        }
    };
    hash().map_err(WeightError::io("read", path))
}

/// A tag becomes a file's name, so that it may not be a path.
pub fn checked_tag(etag: &str) -> Result<&str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=200).contains(&etag.len()) && etag.bytes().all(allowed) {
        return Ok(etag);
    }
    Err(WeightError::new(WeightErrorKind::Network, format!("the hub's tag of the file is no tag: {etag:?}"))
        .help("if HF_ENDPOINT is set, it is not the address of a hub"))
}
