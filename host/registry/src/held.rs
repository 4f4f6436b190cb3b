//! The bytes of a library as they were hashed, held so that the loader gets no others.
//!
//! On Linux they are copied into a file without a name, sealed against writing, and loaded from there: whatever happens to the
//! file on disk, what runs is what was hashed. Elsewhere, where the system refuses such files, and for a library that looks
//! for others beside itself (`$ORIGIN`), it is loaded by its name right after its hash was found unchanged; whoever can write to the
//! file has that moment. A child of [`crate::probe`] is told the hash and does the same.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Mutex,
};

use sha2::{Digest, Sha256};

use crate::error::Fault;

/// The path to load a scanned file by.
pub(crate) fn path(library: &Path, sha256: &str) -> Result<PathBuf, Fault> {
    if let Some(known) = known(sha256) {
        return Ok(known);
    }
    let bytes = std::fs::read(library).map_err(|error| Fault::new(format!("cannot be read any more: {error}")))?;
    // What was checked is what is loaded. Cargo replaces a library while a run prepares.
    if hash(&bytes) != sha256 {
        return Err(Fault::new("changed since it was scanned: start again"));
    }
    if looks_beside_itself(&bytes) {
        return Ok(library.to_owned());
    }
    match sealed(library, &bytes) {
        Some(path) => Ok(remember(sha256, path)),
        None => Ok(library.to_owned()),
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file without a name has nothing beside it.
fn looks_beside_itself(bytes: &[u8]) -> bool {
    [b"$ORIGIN".as_slice(), b"${ORIGIN}"].iter().any(|word| bytes.windows(word.len()).any(|found| found == *word))
}

/// By hash, so that one library is loaded once. Never closed: libraries are never unloaded.
static HELD: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);

fn known(sha256: &str) -> Option<PathBuf> {
    HELD.lock().ok()?.as_ref()?.get(sha256).cloned()
}

fn remember(sha256: &str, path: PathBuf) -> PathBuf {
    match HELD.lock() {
        // Two threads may have held the same bytes; the first path stays, so that both load the same library.
        Ok(mut held) => held.get_or_insert_with(HashMap::new).entry(sha256.to_owned()).or_insert(path).clone(),
        Err(_) => path,
    }
}

/// A sealed copy without a name; `None` where the system has no such thing.
#[cfg(target_os = "linux")]
fn sealed(library: &Path, bytes: &[u8]) -> Option<PathBuf> {
    use std::{
        io::Write,
        os::fd::{AsRawFd, IntoRawFd},
    };

    use rustix::{
        fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
        process::{Resource, getrlimit},
    };

    // A limit of the size of files is one of files without a name too, and whoever goes beyond it is killed.
    if getrlimit(Resource::Fsize).current.is_some_and(|most| most < bytes.len() as u64) {
        return None;
    }

    // What a debugger shows.
    let name = library.file_name()?.to_string_lossy();
    let held = memfd_create(name.as_ref(), MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
    let mut file = std::fs::File::from(held);
    file.write_all(bytes).ok()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).ok()?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    // Without /proc there is no way to name it.
    path.exists().then(|| {
        // Left open on purpose: the loader opens it by this number, now and whenever it is asked again.
        let _ = file.into_raw_fd();
        path
    })
}

#[cfg(not(target_os = "linux"))]
fn sealed(_: &Path, _: &[u8]) -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_does_not_change_with_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let library = folder.path().join("libx.so");
        std::fs::write(&library, b"the first bytes").expect("a file");
        let file = hash(b"the first bytes");
        let held = path(&library, &file).expect("it is what was hashed");
        if cfg!(target_os = "linux") {
            std::fs::write(&library, b"other bytes").expect("a file");
            assert_eq!(std::fs::read(&held).expect("held"), b"the first bytes");
            assert!(std::fs::write(&held, b"others").is_err(), "it is sealed");
            assert_eq!(path(&library, &file), Ok(held), "held once");
        }
        let later = path(&library, &hash(b"third bytes")).expect_err("another file");
        assert_eq!(later.reason, "changed since it was scanned: start again");
    }

    #[test]
    fn a_library_with_others_beside_it_stays_where_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let library = folder.path().join("liby.so");
        std::fs::write(&library, b"... $ORIGIN/../lib ...").expect("a file");
        assert_eq!(path(&library, &hash(b"... $ORIGIN/../lib ...")), Ok(library));
    }
}
