//! Files that are either the old ones or the new ones, never half of each.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}{}", path.display(), hint(source))]
pub struct FileError {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space, nothing was changed",
        io::ErrorKind::ReadOnlyFilesystem => "; choose a folder that can be written",
        _ => "",
    }
}

impl FileError {
    pub(crate) fn on<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + use<'a> {
        move |source| FileError { action, path: path.to_owned(), source }
    }
}

/// Replaces a file by what `fill` writes: into a temporary file of the same folder, which is flushed to the disk and then renamed.
/// Readers see the old content or the new one, also after a power cut.
///
/// # Errors
/// [`FileError`]; the old file is then untouched and the temporary one gone.
pub fn write_atomically_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    replace(path, fill).map_err(FileError::on("write", path))
}

/// [`write_atomically_with`] of known bytes.
///
/// # Errors
/// See [`write_atomically_with`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_atomically_with(path, |out| out.write_all(bytes))
}

fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".tmp");
    // Without this the file would be readable by its owner alone; the process's umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder)?;
    let mut out = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes the rename itself durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened; the rename is durable when the file system says so.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// A file to which whole lines are appended; each is on the disk when [`LineLog::append`] returns.
#[derive(Debug)]
pub struct LineLog {
    path: PathBuf,
    file: File,
}

impl LineLog {
    /// A new, empty log; an old file of that name is emptied.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn create(path: &Path) -> Result<LineLog, FileError> {
        let file = File::create(path).map_err(FileError::on("create", path))?;
        Ok(LineLog { path: path.to_owned(), file })
    }

    /// Continues a log: keeps its lines up to the first that `keep` refuses (or that is cut off, by a crash in mid-write)
    /// and drops the rest, so that a resumed run does not report a step twice. A missing file is a new log.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn resume(path: &Path, mut keep: impl FnMut(&str) -> bool) -> Result<LineLog, FileError> {
        let mut open = || -> io::Result<File> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let mut content = vec![];
            file.read_to_end(&mut content)?;
            let kept: usize = content
                .split_inclusive(|&byte| byte == b'\n')
                .take_while(|line| {
                    let line = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
                    line.is_some_and(&mut keep)
                })
                .map(<[u8]>::len)
                .sum();
            file.set_len(kept as u64)?;
            file.seek(SeekFrom::Start(kept as u64))?;
            file.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(FileError::on("resume", path))?;
        Ok(LineLog { path: path.to_owned(), file })
    }

    /// Appends a line and waits until it is on the disk.
    ///
    /// # Errors
    /// [`FileError`].
    ///
    /// # Panics
    /// When the line holds a line break: a fault of the caller.
    pub fn append(&mut self, line: &str) -> Result<(), FileError> {
        assert!(!line.contains('\n'), "a line of a log cannot hold a line break");
        // One write, so that a crash can cut a line but not mix two.
        let write = self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        write.map_err(FileError::on("append to", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_failure_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomically(&path, b"old").unwrap();
        let full = write_atomically_with(&path, |out| {
            out.write_all(b"half of the n")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        let message = full.unwrap_err().to_string();
        assert!(message.contains("a.json") && message.contains("free some space"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_folder_in_the_way_or_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_atomically(&taken, b"x").unwrap_err().to_string().contains("taken"));
        assert_eq!(names(folder.path()), ["taken"]);
        let missing = folder.path().join("no").join("a");
        assert!(write_atomically(&missing, b"x").unwrap_err().to_string().contains("no"));
    }

    #[test]
    fn a_log_resumes_where_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = LineLog::create(&path).unwrap();
        for epoch in 0..4 {
            log.append(&format!("{epoch}")).unwrap();
        }
        fs::write(&path, [fs::read(&path).unwrap(), b"2".to_vec()].concat()).unwrap();
        let mut log = LineLog::resume(&path, |_| true).unwrap();
        log.append("4").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n1\n2\n3\n4\n");
        let mut log = LineLog::resume(&path, |line| line.parse::<usize>().is_ok_and(|e| e < 2)).unwrap();
        log.append("two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n1\ntwo\n");
        LineLog::resume(&folder.path().join("new.jsonl"), |_| true).unwrap().append("0").unwrap();
    }
}
