//! The workspace as files: sources, manifests, and what a manifest says of dependencies.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of the workspace's `Cargo.toml`.
///
/// # Panics
/// Never in a checkout: this crate lies one folder below.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in a folder of the workspace")
}

/// A file by its path from the root, with `/` between folders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File(pub String);

impl File {
    /// The text; `None` for what is no text.
    pub fn text(&self) -> Option<String> {
        fs::read(root().join(&self.0)).ok().and_then(|bytes| String::from_utf8(bytes).ok())
    }

    pub fn is_under(&self, folder: &str) -> bool {
        self.0.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Rust that is shipped: not a test, an example or a bench.
    pub fn is_shipped_source(&self) -> bool {
        let aside = ["tests", "examples", "benches"];
        self.0.ends_with(".rs") && self.name() != "tests.rs" && !self.0.split('/').any(|part| aside.contains(&part))
    }
}

/// What git tracks or would track; in an unpacked archive, everything but build outputs and hidden files.
pub fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).lines().map(|l| File(l.to_owned())).collect::<Vec<_>>());
    let mut files = match listed {
        Some(files) if !files.is_empty() => files,
        _ => walk(root()),
    };
    // A deleted file is tracked until the deletion is committed.
    files.retain(|file| root().join(&file.0).is_file());
    files.sort();
    files
}

fn walk(folder: &Path) -> Vec<File> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let visible = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or(".");
        !name.starts_with('.') && name != "target"
    };
    let relative = |path: &Path| {
        let path = path.strip_prefix(root()).unwrap_or(path);
        File(path.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"))
    };
    entries.filter(visible).flat_map(|path| if path.is_dir() { walk(&path) } else { vec![relative(&path)] }).collect()
}

/// A package of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    /// From the root.
    pub folder: String,
    /// What it is built from; build scripts' dependencies too.
    pub dependencies: BTreeSet<String>,
    /// What only its tests use.
    pub dev_dependencies: BTreeSet<String>,
    /// Whether it takes the workspace's lints.
    pub shares_lints: bool,
}

/// Every package, by its manifest.
pub fn packages() -> Vec<Package> {
    let manifests = files().into_iter().filter(|f| f.0.ends_with("/Cargo.toml"));
    manifests.filter_map(|file| package(&file)).collect()
}

fn package(file: &File) -> Option<Package> {
    let folder = file.0.strip_suffix("/Cargo.toml")?.to_owned();
    let mut package = Package {
        name: String::new(),
        folder,
        dependencies: BTreeSet::new(),
        dev_dependencies: BTreeSet::new(),
        shares_lints: false,
    };
    let text = file.text()?;
    let mut section = String::new();
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_owned();
            // `[dependencies.name]`
            if let Some((table, name)) = section.clone().rsplit_once("dependencies.") {
                let of =
                    if table.ends_with("dev-") { &mut package.dev_dependencies } else { &mut package.dependencies };
                of.insert(name.to_owned());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match section.as_str() {
            "package" if key == "name" => package.name = value.trim_matches('"').to_owned(),
            "lints" if key == "workspace" => package.shares_lints = value == "true",
            // `name.workspace = true`, `name = { .. }`; also below `target.'cfg(..)'`.
            table if table.ends_with("dependencies") => {
                let name = key.split('.').next().unwrap_or(key).to_owned();
                let of = if table.ends_with("dev-dependencies") {
                    &mut package.dev_dependencies
                } else {
                    &mut package.dependencies
                };
                of.insert(name);
            }
            _ => {}
        }
    }
    Some(package)
}

/// Lines of code with their numbers: no comments, and nothing from a file's `#[cfg(test)]` module on, which stands last.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let shipped = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    shipped.enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}
