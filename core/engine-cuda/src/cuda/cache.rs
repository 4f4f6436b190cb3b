//! Compiled kernels on disk, so that a card's first run compiles and later ones do not.
//!
//! Any number of processes use a folder at a time, without a lock: a file is written whole or not at all, and one that another process
//! takes away is compiled again. A file's time is when it was used last, so that what nobody uses goes first.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

/// The environment variable that names the folder of what this program can make again.
pub const FOLDER_VARIABLE: &str = "FER_CACHE";

/// What a file begins with; the checksum of the rest follows, then the code.
const MARK: &[u8; 8] = b"fercubi1";
const CHECKSUM: usize = 32;

/// What the name of a file of kernels ends with, and begins with while it is written.
const ENDING: &str = ".cubin";
const UNFINISHED: &str = ".unfinished-";

/// Bytes that the folder may hold: a plan's kernels are a few megabytes.
const MOST_BYTES: u64 = 1 << 30;
/// After so long nobody goes on with what is unfinished.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

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
        name + ENDING
    }
}

/// The folder of compiled kernels.
#[derive(Debug)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
    /// Bytes that it may hold.
    most: u64,
    /// Whether it was said that nothing can be kept.
    told: AtomicBool,
}

impl Cache {
    /// `None` keeps nothing.
    pub fn new(folder: Option<PathBuf>) -> Cache {
        Cache { folder, most: MOST_BYTES, told: AtomicBool::new(false) }
    }

    /// What was kept under a key, if it is whole.
    pub fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.folder.as_ref()?.join(key.file());
        let bytes = fs::read(&path).ok()?;
        let code = whole(&bytes);
        match code {
            // Where the time cannot be set, the file goes earlier than it might.
            Some(_) => drop(File::options().append(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()))),
            None => tracing::warn!("{} is damaged; its kernels are compiled again", path.display()),
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

    /// Takes away what was used least recently until the rest is small enough, and what was never finished. Where that cannot be done
    /// nothing is lost.
    pub fn shrink(&self) {
        let Some(Ok(entries)) = self.folder.as_ref().map(fs::read_dir) else { return };
        let (mut kept, mut bytes) = (vec![], 0);
        for entry in entries.flatten() {
            let Ok(about) = entry.metadata() else { continue };
            let (name, used) = (entry.file_name(), about.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            let name = name.to_string_lossy();
            if !about.is_file() {
                continue;
            } else if name.ends_with(ENDING) {
                bytes += about.len();
                kept.push((used, entry.path(), about.len()));
            } else if name.starts_with(UNFINISHED) && used.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
        kept.sort();
        for (_, path, size) in kept {
            if bytes <= self.most {
                return;
            }
            // Another process may have taken it away by now.
            let _ = fs::remove_file(path);
            bytes -= size;
        }
    }
}

/// The code in a file's bytes, if they are what was written.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, code) = bytes.strip_prefix(MARK)?.split_at_checked(CHECKSUM)?;
    (Sha256::digest(code)[..] == *checksum).then_some(code)
}

fn write(folder: &Path, name: &str, code: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
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
        assert_eq!(fs::read_dir(folder.path().join("deep/cuda")).expect("is there").count(), 1, "one file alone");
    }

    #[test]
    fn what_is_damaged_is_not_trusted() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(Some(folder.path().to_owned()));
        cache.put(&key("a"), b"code of a kernel");
        let path = folder.path().join(key("a").file());
        let good = fs::read(&path).expect("is there");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).expect("writable");
            assert_eq!(cache.get(&key("a")), None, "byte {at} was changed");
            fs::write(&path, &good[..at]).expect("writable");
            assert_eq!(cache.get(&key("a")), None, "cut after {at} bytes");
        }
        cache.put(&key("a"), b"code of a kernel");
        assert!(cache.get(&key("a")).is_some(), "written again");
    }

    /// Sets how long ago a file was used.
    fn age(path: &Path, seconds: u64) {
        let file = File::options().append(true).open(path).expect("is there");
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).expect("has a time");
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = (MARK.len() + CHECKSUM + 1000) as u64;
        let cache = Cache { most: 3 * one, ..Cache::new(Some(folder.path().to_owned())) };
        let names = ["a", "b", "c", "d", "e"];
        for (i, name) in names.iter().enumerate() {
            cache.put(&key(name), &[7; 1000]);
            age(&folder.path().join(key(name).file()), 100 - i as u64);
        }
        fs::write(folder.path().join("notes.txt"), [0; 5000]).expect("writable");
        // The oldest is used again.
        assert!(cache.get(&key("a")).is_some());
        cache.shrink();
        let there = names.map(|name| folder.path().join(key(name).file()).exists());
        assert_eq!(there, [true, false, false, true, true]);
        assert!(folder.path().join("notes.txt").exists(), "what is not the cache's is left alone");
        // What fits stays.
        cache.shrink();
        assert_eq!(names.map(|name| cache.get(&key(name)).is_some()), there);
    }

    #[test]
    fn what_was_never_finished_goes_after_a_day() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(Some(folder.path().to_owned()));
        let [old, new] = ["old", "new"].map(|name| folder.path().join(format!("{UNFINISHED}{name}")));
        for path in [&old, &new] {
            fs::write(path, "half").expect("writable");
        }
        age(&old, 25 * 60 * 60);
        cache.shrink();
        assert_eq!([old.exists(), new.exists()], [false, true]);
        Cache::new(Some(folder.path().join("absent"))).shrink();
        Cache::new(None).shrink();
    }

    /// Several at a time, in threads as in processes: whoever finds code finds the right one, whole.
    #[test]
    fn a_folder_that_many_use_gives_nothing_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = (MARK.len() + CHECKSUM + 4000) as u64;
        let work = |seed: usize| {
            let cache = Cache { most: 3 * one, ..Cache::new(Some(folder.path().to_owned())) };
            let mut found = 0;
            for i in 0..60 {
                // Each twice in a row, so that some are found.
                let which = (seed + i / 2) % 8;
                let code = vec![which as u8; 4000];
                match cache.get(&key(&which.to_string())) {
                    Some(kept) => {
                        assert_eq!(kept, code);
                        found += 1;
                    }
                    None => cache.put(&key(&which.to_string()), &code),
                }
                cache.shrink();
            }
            (found, cache.told.load(Ordering::Relaxed))
        };
        let answers: Vec<(i32, bool)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
            workers.into_iter().map(|worker| worker.join().expect("nobody sees half a file")).collect()
        });
        assert!(answers.iter().map(|a| a.0).sum::<i32>() > 0, "nothing was ever found");
        assert!(answers.iter().all(|a| !a.1), "everything could be kept");
        let left = fs::read_dir(folder.path()).expect("is there").count();
        assert!(left <= 3, "{left} files");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("writable");
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
