//! A folder that appears whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use crate::failure::{Failure, Result};

/// Writes files into a new folder: beside it first, under a hidden name, which is gone again whatever happens; then by one rename.
///
/// # Errors
/// A folder that is there already, one that has no parent, and what the file system refuses.
pub fn write_folder(folder: &Path, files: &[(&str, String)]) -> Result<()> {
    let shown = folder.display();
    if folder.symlink_metadata().is_ok() {
        return Err(Failure::new(format!("{shown} is there already, and nothing is ever overwritten"))
            .help("another name, or --path FOLDER, puts the plugin elsewhere"));
    }
    let parent = match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(Failure::new(format!("{shown} cannot be a new folder"))),
    };
    if !parent.is_dir() {
        return Err(Failure::new(format!("there is no folder {}, in which {shown} is to be made", parent.display())));
    }
    replace(parent, folder, files).map_err(|error| {
        Failure::new(format!("cannot write {shown}: {error}")).help("nothing was left behind; --path puts it elsewhere")
    })
}

fn replace(parent: &Path, folder: &Path, files: &[(&str, String)]) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".tmp");
    // Without this the folder would be its owner's alone; the process's umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let temporary = builder.tempdir_in(parent)?;
    for (path, text) in files {
        let path = temporary.path().join(path);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        let mut file = File::create_new(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    fs::rename(temporary.path(), folder)?;
    // It has another name now: there is nothing to clear away.
    let _ = temporary.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_written_whole_or_not_at_all() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("new folder");
        let files = [("a.txt", "1".to_owned()), ("deep/er/b.txt", "2".to_owned())];
        write_folder(&folder, &files).unwrap();
        assert_eq!(fs::read_to_string(folder.join("deep/er/b.txt")).unwrap(), "2");
        let again = write_folder(&folder, &files).unwrap_err();
        assert!(again.error.message().contains("is there already"), "{again:?}");
        // A file that cannot be written, half way through.
        let broken = [("a", "1".to_owned()), ("a/b", "2".to_owned())];
        assert!(write_folder(&place.path().join("other"), &broken).is_err());
        assert!(write_folder(&place.path().join("no/where"), &files).is_err());
        let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["new folder"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_not_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(write_folder(&link, &[("a", "1".to_owned())]).is_err());
        assert!(link.symlink_metadata().unwrap().is_symlink());
    }
}
