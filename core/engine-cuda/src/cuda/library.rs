//! Finding and opening NVRTC and cublasLt: the first that opens and that the driver can work with.
//!
//! The bindings of the driver look libraries up by name alone, so a wheel's could not be loaded from where it lies; and a name says
//! nothing of where a library came from. Hence both are opened here, by full path where there is one.

use std::path::{Path, PathBuf};

use libloading::Library;

use super::search::{Machine, Part, folders_in};

/// A version of CUDA, as in 12.4.
pub type Version = (u32, u32);

/// A part that was found, and opened.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub part: T,
    /// The file, or the name by which the system found it.
    pub path: PathBuf,
}

/// Why a part is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// What was found and cannot be used, and why.
    pub unusable: Vec<String>,
    /// Folders and names that were tried.
    pub looked: Vec<String>,
}

/// Something that can be made of a library.
pub(super) trait Opened: Sized {
    const PART: Part;
    /// # Errors
    /// A symbol that is missing, or what the library says.
    fn of(library: Library) -> Result<Self, String>;
    fn version(&self) -> Version;
}

/// Finds a part on this machine; `driver` is the version that it must not be newer than.
pub(super) fn find<T: Opened>(driver: Option<Version>) -> Result<Found<T>, Missing> {
    let machine = Machine { variable: &|name| std::env::var_os(name), folders_in: &folders_in };
    let places = machine.places(T::PART);
    let mut missing = Missing { unusable: vec![], looked: vec![] };
    if let Some(named) = places.named {
        let asked_by = format!("{} ({})", named.display(), T::PART.variable());
        let files = in_folder::<T>(&named);
        let files = if named.is_dir() { files } else { vec![named] };
        if files.is_empty() {
            missing.unusable.push(format!("{asked_by} has none of {}", T::PART.files().join(", ")));
        }
        return attempt(files, driver, &mut missing).ok_or(missing);
    }
    let present = places.folders.iter().flat_map(|folder| in_folder::<T>(folder)).collect();
    if let Some(found) = attempt(present, driver, &mut missing) {
        return Ok(found);
    }
    missing.looked = places.folders.iter().map(|folder| folder.display().to_string()).collect();
    // By name, in the folders that the system searches.
    for &name in T::PART.files() {
        // SAFETY: see `open`.
        if unsafe { Library::new(name) }.is_ok()
            && let Some(found) = attempt(vec![PathBuf::from(name)], driver, &mut missing)
        {
            return Ok(found);
        }
    }
    Err(missing)
}

fn in_folder<T: Opened>(folder: &Path) -> Vec<PathBuf> {
    T::PART.files().iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
}

/// The first of some files that opens and suits the driver.
fn attempt<T: Opened>(files: Vec<PathBuf>, driver: Option<Version>, missing: &mut Missing) -> Option<Found<T>> {
    for path in files {
        match open::<T>(&path) {
            Ok(part) => match unsuited(part.version(), driver) {
                None => return Some(Found { part, path }),
                Some(why) => missing.unusable.push(format!("{} {why}", path.display())),
            },
            Err(why) => missing.unusable.push(format!("{} {why}", path.display())),
        }
    }
    None
}

/// Why a version does not suit the driver, if it does not. Within one major version of CUDA any driver loads what any compiler made.
fn unsuited(version: Version, driver: Option<Version>) -> Option<String> {
    let driver = driver.filter(|driver| version.0 > driver.0)?;
    let (major, minor) = version;
    Some(format!("is of CUDA {major}.{minor}, and the driver is for CUDA {}.{} at most", driver.0, driver.1))
}

fn open<T: Opened>(path: &Path) -> Result<T, String> {
    // NVRTC opens a second library by its bare name, which a loader that was not told of the folder does not find: it is
    // opened here, and a name that is already open is found.
    for builtins in builtins_beside(path) {
        // SAFETY: see below.
        if let Ok(library) = unsafe { Library::new(&builtins) } {
            std::mem::forget(library);
        }
    }
    // SAFETY: opening runs the library's initialisers. It is one of NVIDIA's by its name, in a place for libraries or one that the
    // user named.
    let library = unsafe { Library::new(path) }.map_err(|error| format!("cannot be opened: {error}"))?;
    T::of(library)
}

/// NVRTC's second library, where it lies beside the first; the longest name last, because that is the one asked for.
fn builtins_beside(path: &Path) -> Vec<PathBuf> {
    let Some(folder) = path.parent().filter(|folder| folder.is_absolute()) else { return vec![] };
    let is_nvrtc = path.file_name().is_some_and(|name| name.to_string_lossy().contains("nvrtc"));
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        is_nvrtc && (name.starts_with("libnvrtc-builtins.so.") || name.starts_with("nvrtc-builtins64_"))
    });
    found.sort();
    found
}

/// A function of a library that stays loaded.
///
/// # Safety
/// `F` is the function's type.
pub(super) unsafe fn symbol<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // SAFETY: the caller's promise.
    match unsafe { library.get::<F>(name.as_bytes()) } {
        Ok(symbol) => Ok(*symbol),
        Err(_) => Err(format!("has no function {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_may_be_older_than_the_driver_but_not_of_a_later_major_version() {
        assert_eq!(unsuited((12, 9), Some((12, 0))), None);
        assert_eq!(unsuited((12, 0), Some((13, 0))), None);
        assert_eq!(unsuited((13, 0), None), None);
        assert_eq!(
            unsuited((13, 0), Some((12, 4))).as_deref(),
            Some("is of CUDA 13.0, and the driver is for CUDA 12.4 at most")
        );
    }

    #[derive(Debug)]
    struct Never;
    impl Opened for Never {
        const PART: Part = Part::Nvrtc;
        fn of(_: Library) -> Result<Never, String> {
            Err("has no function nvrtcVersion".into())
        }
        fn version(&self) -> Version {
            (0, 0)
        }
    }

    #[test]
    fn a_file_that_is_no_library_is_told_and_the_next_is_tried() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("libnvrtc.so.13"), folder.path().join("libnvrtc.so.12"));
        std::fs::write(&first, "not a library").expect("writable");
        std::fs::write(&second, "").expect("writable");
        let mut missing = Missing { unusable: vec![], looked: vec![] };
        assert!(attempt::<Never>(vec![first.clone(), second], None, &mut missing).is_none());
        assert_eq!(missing.unusable.len(), 2);
        assert!(missing.unusable[0].starts_with(&format!("{} cannot be opened: ", first.display())), "{missing:?}");
    }

    #[test]
    fn the_second_library_of_nvrtc_is_found_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let builtins = folder.path().join("libnvrtc-builtins.so.13.0");
        std::fs::write(&builtins, "").expect("writable");
        assert_eq!(builtins_beside(&folder.path().join("libnvrtc.so.13")), [builtins]);
        assert!(builtins_beside(&folder.path().join("libcublasLt.so.13")).is_empty());
        assert!(builtins_beside(Path::new("libnvrtc.so.13")).is_empty());
    }
}
