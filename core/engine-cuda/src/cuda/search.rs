//! Where NVRTC and cublasLt are looked for: files by their full path first, then what the system knows by name.
//!
//! They need not be installed with the driver. Python's wheels of them do, wherever an environment of Python has them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// A library beside the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The compiler of kernels.
    Nvrtc,
    /// The products of matrices.
    CublasLt,
}

impl Part {
    /// As its maker calls it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Nvrtc => "NVRTC",
            Part::CublasLt => "cublasLt",
        }
    }

    /// The environment variable that names its file, or the folder that it is in.
    pub fn variable(self) -> &'static str {
        match self {
            Part::Nvrtc => "FER_NVRTC",
            Part::CublasLt => "FER_CUBLASLT",
        }
    }

    /// Its names as a file, the newest first.
    pub(super) fn files(self) -> &'static [&'static str] {
        match (self, cfg!(windows)) {
            (Part::Nvrtc, false) => &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"],
            (Part::CublasLt, false) => &["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"],
            (Part::Nvrtc, true) => &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"],
            (Part::CublasLt, true) => &["cublasLt64_13.dll", "cublasLt64_12.dll"],
        }
    }

    /// Its folders below `site-packages`.
    fn wheel_folders(self) -> [PathBuf; 2] {
        let folder = if cfg!(windows) { "bin" } else { "lib" };
        let old = match self {
            Part::Nvrtc => "cuda_nvrtc",
            Part::CublasLt => "cublas",
        };
        ["cu13", old].map(|package| Path::new("nvidia").join(package).join(folder))
    }
}

/// The machine as the search sees it.
pub(super) struct Machine<'a> {
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The folders in a folder, sorted.
    pub folders_in: &'a dyn Fn(&Path) -> Vec<PathBuf>,
}

/// What to try, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// What the user named; then nothing else is tried.
    pub named: Option<PathBuf>,
    pub folders: Vec<PathBuf>,
}

impl Machine<'_> {
    fn set(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Where a part may lie.
    pub fn places(&self, part: Part) -> Places {
        let mut folders: Vec<PathBuf> = vec![];
        let loader = if cfg!(windows) { "PATH" } else { "LD_LIBRARY_PATH" };
        if let Some(list) = (self.variable)(loader) {
            folders.extend(std::env::split_paths(&list).filter(|folder| folder.is_absolute()));
        }
        for name in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
            let Some(prefix) = self.set(name) else { continue };
            folders.extend(self.wheels(part, &prefix));
            if name == "CONDA_PREFIX" {
                folders.push(prefix.join("lib"));
            }
        }
        for name in ["CUDA_HOME", "CUDA_PATH"] {
            folders.extend(self.set(name).iter().flat_map(|root| toolkit(root)));
        }
        if !cfg!(windows) {
            folders.extend(toolkit(Path::new("/usr/local/cuda")));
            let home = self.set("HOME").map(|home| home.join(".local"));
            for prefix in home.into_iter().chain(["/usr/local", "/usr"].map(PathBuf::from)) {
                folders.extend(self.wheels(part, &prefix));
            }
        }
        let mut seen = std::collections::HashSet::new();
        folders.retain(|folder| seen.insert(folder.clone()));
        Places { named: self.set(part.variable()), folders }
    }

    /// Folders of Python's wheels below a prefix that Python is installed to.
    fn wheels(&self, part: Part, prefix: &Path) -> Vec<PathBuf> {
        let mut found = vec![];
        let mut packages = |site: PathBuf| found.extend(part.wheel_folders().map(|folder| site.join(folder)));
        if cfg!(windows) {
            packages(prefix.join("Lib").join("site-packages"));
            return found;
        }
        for python in (self.folders_in)(&prefix.join("lib")) {
            if python.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python")) {
                let sites = (self.folders_in)(&python);
                sites
                    .into_iter()
                    .filter(|site| site.ends_with("site-packages") || site.ends_with("dist-packages"))
                    .for_each(&mut packages);
            }
        }
        found
    }
}

/// Folders of libraries below a toolkit.
fn toolkit(root: &Path) -> Vec<PathBuf> {
    let folders: &[&str] = if cfg!(windows) { &["bin", "bin/x64"] } else { &["lib64", "lib"] };
    folders.iter().map(|folder| root.join(folder)).collect()
}

/// The folders in a folder of this machine, sorted.
pub(super) fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

#[cfg(all(test, not(windows)))]
mod tests {
    use super::*;

    fn places(part: Part, variables: &[(&str, &str)], folders: &[&str]) -> Places {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        let folders_in = |folder: &Path| {
            folders.iter().map(PathBuf::from).filter(|path| path.parent() == Some(folder)).collect::<Vec<_>>()
        };
        Machine { variable: &variable, folders_in: &folders_in }.places(part)
    }

    fn texts(places: &Places) -> Vec<String> {
        places.folders.iter().map(|folder| folder.display().to_string()).collect()
    }

    #[test]
    fn an_environment_of_python_is_looked_through() {
        let found = places(
            Part::Nvrtc,
            &[("VIRTUAL_ENV", "/env"), ("LD_LIBRARY_PATH", "/a:relative:/b:/a"), ("CUDA_HOME", "/toolkit")],
            &["/env/lib/python3.12", "/env/lib/python3.12/site-packages", "/env/lib/other"],
        );
        assert_eq!(found.named, None);
        assert_eq!(
            texts(&found)[..6],
            [
                "/a",
                "/b",
                "/env/lib/python3.12/site-packages/nvidia/cu13/lib",
                "/env/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib",
                "/toolkit/lib64",
                "/toolkit/lib",
            ]
        );
    }

    #[test]
    fn cublas_has_folders_of_its_own() {
        let found = places(
            Part::CublasLt,
            &[("CONDA_PREFIX", "/conda")],
            &["/conda/lib/python3.11", "/conda/lib/python3.11/site-packages"],
        );
        let found = texts(&found);
        assert!(found.contains(&"/conda/lib/python3.11/site-packages/nvidia/cublas/lib".to_owned()), "{found:?}");
        assert!(found.contains(&"/conda/lib".to_owned()), "{found:?}");
        assert!(!found.iter().any(|folder| folder.contains("nvrtc")), "{found:?}");
    }

    #[test]
    fn a_user_s_word_and_empty_variables() {
        let found = places(Part::Nvrtc, &[("FER_NVRTC", "/mine"), ("VIRTUAL_ENV", "")], &["/lib/python3.9"]);
        assert_eq!(found.named.as_deref(), Some(Path::new("/mine")));
        assert_eq!(texts(&found), ["/usr/local/cuda/lib64", "/usr/local/cuda/lib"]);
    }
}
