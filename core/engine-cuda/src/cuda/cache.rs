//! Compiled kernels on disk, so that a card's first run compiles and later ones do not.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use sha2::{Digest, Sha256};

/// The environment variable that names the folder of what this program can make again.
pub const FOLDER_VARIABLE: &str = "FER_CACHE";

/// What a file begins with; the checksum of the rest follows, then the code.
const MARK: &[u8; 8] = b"fercubi1";
const CHECKSUM: usize = 32;

/// A name for what is compiled: everything that decides the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub fn of(source: &str, options: &[String], compiler: (u32, u32)) -> Key {
        let mut hash = Sha256::new();
        // Lengths keep parts apart that only together are the same text.
        for part in options.iter().map(String::as_str).chain([source]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(format!("NVRTC {}.{}", compiler.0, compiler.1));
        Key(hash.finalize().into())
    }

    fn file(&self) -> String {
        let mut name = String::new();
        for byte in self.0 {
            let _ = write!(name, "{byte:02x}");
        }
        name + ".cubin"
    }
}

/// The folder of compiled kernels.
#[derive(Debug)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
    /// Whether it was said that nothing can be kept.
    told: AtomicBool,
}

impl Cache {
    /// `None` keeps nothing.
    pub fn new(folder: Option<PathBuf>) -> Cache {
        Cache { folder, told: AtomicBool::new(false) }
    }

    /// What was kept under a key, if it is whole.
    pub fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.folder.as_ref()?.join(key.file());
        let bytes = std::fs::read(&path).ok()?;
        let code = whole(&bytes);
        if code.is_none() {
            tracing::warn!("{} is damaged; its kernels are compiled again", path.display());
        }
        code.map(<[u8]>::to_vec)
    }

    /// Keeps code under a key. A reader sees all of it or nothing.
    pub fn put(&self, key: &Key, code: &[u8]) {
        let Some(folder) = &self.folder else { return };
        if let Err(error) = write(folder, &key.file(), code)
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "compiled kernels cannot be kept in {}: {error}; each start compiles them anew \
                 ({FOLDER_VARIABLE} names another folder)",
                folder.display()
            );
        }
    }
}

/// The code in a file's bytes, if they are what was written.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, code) = bytes.strip_prefix(MARK)?.split_at_checked(CHECKSUM)?;
    (Sha256::digest(code)[..] == *checksum).then_some(code)
}

fn write(folder: &Path, name: &str, code: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(MARK)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name))?;
    Ok(())
}

/// Where compiled kernels are kept: `$FER_CACHE/cuda`, else in the user's folder for such things.
pub fn standard_folder() -> Option<PathBuf> {
    folder(&|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn folder(set: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let ours = set(FOLDER_VARIABLE).or_else(|| {
        let caches = set("XDG_CACHE_HOME").or_else(|| set("LOCALAPPDATA"));
        let user = || set("HOME").or_else(|| set("USERPROFILE"));
        Some(caches.or_else(|| Some(user()?.join(".cache")))?.join("fer-host"))
    });
    Some(ours?.join("cuda"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: &str) -> Key {
        Key::of(source, &["--gpu-architecture=sm_90".into()], (13, 0))
    }

    #[test]
    fn a_key_depends_on_all_that_decides_the_code() {
        let options = |text: &str| vec![text.to_owned()];
        let keys = [
            key("a"),
            key("b"),
            Key::of("a", &options("--gpu-architecture=sm_80"), (13, 0)),
            Key::of("a", &options("--gpu-architecture=sm_90"), (12, 8)),
            Key::of("0a", &options("--gpu-architecture=sm_9"), (13, 0)),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|b| a != b), "key {i} is another's");
        }
        assert_eq!(key("a"), key("a"));
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(Some(folder.path().join("deep/cuda")));
        assert_eq!(cache.get(&key("a")), None);
        cache.put(&key("a"), b"code");
        assert_eq!(cache.get(&key("a")).as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.get(&key("b")), None);
        assert_eq!(std::fs::read_dir(folder.path().join("deep/cuda")).expect("is there").count(), 1, "one file alone");
    }

    #[test]
    fn what_is_damaged_is_not_trusted() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(Some(folder.path().to_owned()));
        cache.put(&key("a"), b"code of a kernel");
        let path = folder.path().join(key("a").file());
        let good = std::fs::read(&path).expect("is there");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).expect("writable");
            assert_eq!(cache.get(&key("a")), None, "byte {at} was changed");
            std::fs::write(&path, &good[..at]).expect("writable");
            assert_eq!(cache.get(&key("a")), None, "cut after {at} bytes");
        }
        cache.put(&key("a"), b"code of a kernel");
        assert!(cache.get(&key("a")).is_some(), "written again");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("writable");
        let cache = Cache::new(Some(file.join("below")));
        cache.put(&key("a"), b"code");
        assert_eq!(cache.get(&key("a")), None);
        assert!(cache.told.load(Ordering::Relaxed));
    }

    #[test]
    fn the_folder_is_the_user_s_or_the_one_that_is_named() {
        let of = |variables: &[(&str, &str)]| {
            folder(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| PathBuf::from(value)))
        };
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(of(&[("FER_CACHE", "/c"), ("HOME", "/u")]), path("/c/cuda"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/u")]), path("/x/fer-host/cuda"));
        assert_eq!(of(&[("HOME", "/u")]), path("/u/.cache/fer-host/cuda"));
        assert_eq!(of(&[]), None);
    }
}
