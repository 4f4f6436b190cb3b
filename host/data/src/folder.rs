//! Sorted listings of folders, so that nothing depends on the order in which a file system answers.

use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};

/// Extensions of the image formats that can be decoded.
const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "webp", "pgm", "ppm", "pnm"];

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io("list", folder))? {
        paths.push(entry.map_err(DataError::io("list", folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The last part of a path as text.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_hidden(path: &Path) -> bool {
    name_of(path).starts_with('.')
}

/// Folders directly below `folder`, sorted, hidden ones left out.
pub fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|p| p.is_dir() && !is_hidden(p)).collect())
}

/// Image files directly in `folder`, sorted, hidden ones left out.
pub fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_image =
        |p: &PathBuf| p.extension().is_some_and(|x| EXTENSIONS.contains(&x.to_string_lossy().to_lowercase().as_str()));
    Ok(entries(folder)?.into_iter().filter(|p| is_image(p) && !is_hidden(p)).collect())
}

/// A path below `root` with forward slashes: a sample id that is the same on every system.
pub fn id_below(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
