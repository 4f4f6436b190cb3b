//! Bytes into the cache: continued where they broke off, checked, and only then given their name.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    cache::{Cache, create_folders, sha256},
    refusal,
    transport::{Remote, Transport, Trouble},
};
use crate::error::{Result, WeightError, WeightErrorKind};

/// A file that is whole and in its place.
#[derive(Debug)]
pub struct Placed {
    pub path: PathBuf,
    pub sha256: String,
    pub verified: bool,
}

/// Gets a file into the cache.
pub fn download(
    transport: &Transport,
    cache: &Cache,
    revision: &str,
    file: &str,
    remote: &Remote,
    progress: &dyn Fn(u64, u64),
) -> Result<Placed> {
    let (blob, partial) = (cache.blob(&remote.etag), cache.incomplete(&remote.etag));
    create_folders(&blob)?;
    let lock = lock(transport, &cache.lock(&remote.etag), &partial)?;
    // Another program may have fetched it meanwhile, or another revision has the same bytes.
    let present = blob.is_file().then(|| sha256(&blob)).transpose()?;
    let fits = |found: &String| remote.sha256.as_ref().is_none_or(|wanted| wanted == found);
    let found = match present.filter(fits) {
        Some(found) => found,
        None => {
            let found = complete(transport, remote, file, &partial, progress)?;
            fs::rename(&partial, &blob).map_err(WeightError::io("rename to", &blob))?;
            found
        }
    };
    let path = cache.place(revision, &remote.commit, file, &remote.etag)?;
    drop(lock);
    Ok(Placed { path, sha256: found, verified: remote.sha256.is_some() })
}

/// Fills the partial file to its end and checks it; gives its sha256.
fn complete(
    transport: &Transport,
    remote: &Remote,
    file: &str,
    partial: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<String> {
    let continued = length(partial) > 0;
    receive(transport, remote, file, partial, progress)?;
    let found = sha256(partial)?;
    let Some(wanted) = remote.sha256.as_ref().filter(|wanted| **wanted != found) else { return Ok(found) };
    remove(partial)?;
    if !continued {
        return Err(refusal::wrong_bytes(partial, wanted, &found));
    }
    // What an earlier attempt left may be at fault: once more, all of it.
    tracing::info!("what an earlier download of {file} left was damaged; it is fetched anew");
    complete(transport, remote, file, partial, progress)
}

/// Attempts until all bytes are there; each goes on where the last broke off.
fn receive(
    transport: &Transport,
    remote: &Remote,
    file: &str,
    partial: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<()> {
    let mut fruitless = 0;
    loop {
        let before = length(partial);
        match attempt(transport, remote, file, partial, progress) {
            Ok(()) => return Ok(()),
            Err(Trouble::Lasting(error)) => return Err(error),
            Err(Trouble::Passing(error)) => {
                fruitless = if length(partial) > before { 0 } else { fruitless + 1 };
                if fruitless >= transport.config().attempts {
                    return Err(error);
                }
                tracing::debug!(%error, fruitless, "continuing the download");
                transport.pause(fruitless.max(1));
            }
        }
    }
}

fn attempt(
    transport: &Transport,
    remote: &Remote,
    file: &str,
    partial: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<(), Trouble> {
    let start = match remote.size {
        Some(size) if length(partial) <= size => length(partial),
        // Of unknown length, or longer than it can be: from the beginning.
        _ => {
            remove(partial)?;
            0
        }
    };
    if start > 0 && remote.size == Some(start) {
        return Ok(());
    }
    let open = || OpenOptions::new().append(true).create(true).open(partial);
    let mut out = open().map_err(WeightError::io("write", partial))?;
    let total = remote.size.unwrap_or(0);
    let mut at = start;
    let mut ignored = false;
    progress(at, total);
    let range = (start > 0).then_some(start..total);
    transport
        .stream(&remote.commit, file, range, &mut |chunk| {
            at += chunk.len() as u64;
            if remote.size.is_some_and(|size| at > size) {
                ignored = true;
                return Err(too_long(file));
            }
            out.write_all(chunk).map_err(WeightError::io("write", partial))?;
            progress(at, total);
            Ok(())
        })
        .or_else(|trouble| match trouble {
            // A server that answers a request for the rest with the whole: the next attempt asks for the whole.
            Trouble::Lasting(error) if ignored && start > 0 => {
                remove(partial)?;
                Err(Trouble::Passing(error))
            }
            other => Err(other),
        })?;
    match remote.size {
        Some(size) if at < size => {
            let detail = format!("{at} of {size} bytes have arrived");
            Err(Trouble::Passing(refusal::cut_off(transport.config(), &detail)))
        }
        _ => Ok(()),
    }
}

fn too_long(file: &str) -> WeightError {
    WeightError::new(WeightErrorKind::Network, format!("the hub sends more bytes of {file} than it has"))
        .help("run it again; if that fails too, a proxy or mirror between here and the hub changes files")
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(WeightError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// How often a lock that another program holds is tried.
const TURN: Duration = Duration::from_millis(100);

/// The right to write this file's bytes. Another program that holds it is waited for as long as its download grows.
fn lock(transport: &Transport, path: &Path, partial: &Path) -> Result<File> {
    create_folders(path)?;
    let open = || OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = open().map_err(WeightError::io("lock", path))?;
    let (mut seen, mut since) = (length(partial), Instant::now());
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(WeightError::io("lock", path)(error)),
            Err(TryLockError::WouldBlock) if since.elapsed() > transport.config().patience => {
                let sentence =
                    format!("another program is fetching this file and makes no progress: {}", path.display());
                return Err(WeightError::new(WeightErrorKind::File, sentence).help("end that program, or wait for it"));
            }
            Err(TryLockError::WouldBlock) => {
                let now = length(partial);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                }
                std::thread::sleep(TURN);
            }
        }
    }
}
