//! Where plugins are looked for.

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The environment variable that names more places, separated as in `PATH`: folders, or single libraries.
pub const PLUGIN_PATH: &str = "FER_PLUGIN_PATH";

/// The places where plugins are looked for, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    places: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    asked: Asked,
}

/// How a place came onto the search path, which decides what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Beside the program: holds other libraries too, so only what was meant to be a plugin is spoken of.
    BesideProgram,
    /// The folder `plugins`, which need not exist.
    PluginsFolder,
    /// Named by the user: must exist, and every library in it is meant to be a plugin.
    ByName,
}

/// A file that may be a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Canonical.
    pub path: PathBuf,
    /// Whether to say so when it is no plugin at all.
    pub expected: bool,
}

impl SearchPath {
    /// Beside the running program, `plugins` beside it, then every entry of `FER_PLUGIN_PATH`.
    pub fn standard() -> SearchPath {
        SearchPath::new(std::env::current_exe().ok().as_deref(), std::env::var_os(PLUGIN_PATH).as_deref())
    }

    /// [`SearchPath::standard`] for a given program and a given value of `FER_PLUGIN_PATH`.
    pub fn new(program: Option<&Path>, plugin_path: Option<&OsStr>) -> SearchPath {
        let mut search = SearchPath::default();
        if let Some(folder) = program.and_then(Path::parent) {
            search.push_program_folder(folder);
            // Cargo puts test programs into target/<profile>/deps and the libraries that were asked for one level up.
            if folder.file_name() == Some(OsStr::new("deps"))
                && let Some(parent) = folder.parent()
            {
                search.push_program_folder(parent);
            }
        }
        if let Some(list) = plugin_path {
            for entry in std::env::split_paths(list) {
                if !entry.as_os_str().is_empty() {
                    search.push(entry);
                }
            }
        }
        search
    }

    /// Only the given folders and libraries.
    pub fn of(entries: impl IntoIterator<Item = impl Into<PathBuf>>) -> SearchPath {
        let mut search = SearchPath::default();
        for entry in entries {
            search.push(entry);
        }
        search
    }

    /// Adds a folder, or a single library, at the end.
    pub fn push(&mut self, entry: impl Into<PathBuf>) {
        self.places.push(Place { path: entry.into(), asked: Asked::ByName });
    }

    /// The places, as they were given.
    pub fn places(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(|place| place.path.as_path())
    }

    fn push_program_folder(&mut self, folder: &Path) {
        self.places.push(Place { path: folder.to_owned(), asked: Asked::BesideProgram });
        self.places.push(Place { path: folder.join("plugins"), asked: Asked::PluginsFolder });
    }

    /// Every file named like a shared library, once, in search order; and what is to be said of the places themselves.
    pub(crate) fn candidates(&self) -> (Vec<Candidate>, Vec<String>) {
        let mut found = Found::default();
        for place in &self.places {
            found.look_into(place);
        }
        (found.candidates, found.notes)
    }
}

#[derive(Default)]
struct Found {
    candidates: Vec<Candidate>,
    /// Index into `candidates` by what makes a file the same file.
    seen: HashMap<Identity, usize>,
    notes: Vec<String>,
}

impl Found {
    fn look_into(&mut self, place: &Place) {
        let path = &place.path;
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                if place.asked == Asked::ByName {
                    let reason = match error.kind() {
                        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
                        _ => error.to_string(),
                    };
                    self.notes.push(format!("plugin path {}: {reason}", path.display()));
                }
                return;
            }
        };
        if metadata.is_file() {
            self.add(path, place.asked);
            return;
        }
        let mut files: Vec<PathBuf> = match std::fs::read_dir(path) {
            Ok(entries) => {
                entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|file| named_like_a_library(file)).collect()
            }
            Err(error) => {
                self.notes.push(format!("plugin path {}: {error}", path.display()));
                return;
            }
        };
        files.sort();
        for file in files {
            // Asking a pipe for its bytes would wait for ever.
            if std::fs::metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
                self.add(&file, place.asked);
            }
        }
    }

    fn add(&mut self, file: &Path, asked: Asked) {
        let expected = asked != Asked::BesideProgram;
        let Ok(path) = std::fs::canonicalize(file) else {
            return;
        };
        let Some(identity) = identity(&path) else {
            return;
        };
        match self.seen.get(&identity) {
            Some(&index) => self.candidates[index].expected |= expected,
            None => {
                self.seen.insert(identity, self.candidates.len());
                self.candidates.push(Candidate { path, expected });
            }
        }
    }
}

fn named_like_a_library(file: &Path) -> bool {
    let name = file.file_name().map(OsStr::to_string_lossy);
    name.is_some_and(|name| name.ends_with(std::env::consts::DLL_SUFFIX) && !name.starts_with('.'))
}

/// Device and inode: cargo hard-links what it builds to a second place.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
type Identity = PathBuf;

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str) -> String {
        format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
    }

    fn touch(path: &Path) {
        std::fs::write(path, b"").expect("a temporary file");
    }

    #[test]
    fn the_standard_places_come_in_order() {
        let list = std::env::join_paths(["/more", "", "/most/libx.so"]).expect("no separators");
        let search = SearchPath::new(Some(Path::new("/t/debug/deps/test")), Some(&list));
        let places: Vec<_> = search.places().collect();
        let expected =
            ["/t/debug/deps", "/t/debug/deps/plugins", "/t/debug", "/t/debug/plugins", "/more", "/most/libx.so"];
        assert_eq!(places, expected.map(Path::new));
        let installed = SearchPath::new(Some(Path::new("/usr/bin/fer-host")), None);
        assert_eq!(installed.places().collect::<Vec<_>>(), ["/usr/bin", "/usr/bin/plugins"].map(Path::new));
    }

    #[test]
    fn a_file_counts_once_and_order_is_by_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().canonicalize().expect("exists");
        for name in ["b", "a", "c"] {
            touch(&root.join(library(name)));
        }
        touch(&root.join("readme.txt"));
        touch(&root.join(format!(".{}", library("hidden"))));
        std::fs::create_dir(root.join(library("folder"))).expect("a folder");
        #[cfg(unix)]
        {
            std::fs::hard_link(root.join(library("a")), root.join(library("z"))).expect("a link");
            std::os::unix::fs::symlink(root.join(library("b")), root.join(library("y"))).expect("a link");
        }
        let single = root.join(library("c"));
        let (candidates, notes) = SearchPath::of([single.clone(), root.clone(), root.join("missing")]).candidates();
        let paths: Vec<_> = candidates.into_iter().map(|found| found.path).collect();
        assert_eq!(paths, [single, root.join(library("a")), root.join(library("b"))]);
        assert_eq!(notes, [format!("plugin path {}: does not exist", root.join("missing").display())]);
    }

    #[test]
    fn beside_the_program_nothing_is_expected_to_be_a_plugin() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        touch(&root.join(library("a")));
        let (candidates, notes) = SearchPath::new(Some(&root.join("host")), None).candidates();
        assert_eq!(notes, Vec::<String>::new());
        assert_eq!(candidates.len(), 1);
        assert!(!candidates[0].expected);
        // Named a second time by the user, it is.
        let search = SearchPath::new(Some(&root.join("host")), Some(root.as_os_str()));
        let (candidates, _) = search.candidates();
        assert_eq!(candidates.len(), 1);
        assert!(candidates[0].expected);
    }
}
