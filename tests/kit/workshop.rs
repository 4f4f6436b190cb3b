//! A folder outside the workspace, in which cargo finds the packaged SDK.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;

/// The built program, where it was built.
const PROGRAM: &str = env!("CARGO_BIN_EXE_fer-host");

/// The workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace")
}

/// Where the workspace's build keeps everything.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("cargo's temporary folder lies in its target folder")
}

pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What a program wrote to both its outputs.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Standard output of a program that must do well.
#[track_caller]
pub fn done(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}:\n{}", said(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The crates that are made to be published, as a registry would hand them out.
pub struct Packages {
    /// Name, version, folder.
    pub crates: Vec<(String, String, PathBuf)>,
}

impl Packages {
    /// Packaged once a test program.
    pub fn get() -> &'static Packages {
        static PACKAGES: OnceLock<Packages> = OnceLock::new();
        PACKAGES.get_or_init(Packages::make)
    }

    /// The newest version of a crate.
    pub fn version(&self, name: &str) -> &str {
        let found = self.crates.iter().rfind(|(known, ..)| known == name);
        found.map_or_else(|| panic!("{name} cannot be published"), |(_, version, _)| version)
    }

    fn make() -> Packages {
        let metadata = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
        let metadata: Value = serde_json::from_str(&done(cargo().args(metadata).current_dir(root()))).expect("JSON");
        let members = metadata["packages"].as_array().expect("packages");
        // Null: any registry.
        let published: Vec<&Value> = members.iter().filter(|p| p["publish"].is_null()).collect();
        let place = target().join("kit");
        let mut package = packing(&place);
        package.current_dir(root());
        for member in &published {
            package.args(["--package", text(member, "name")]);
        }
        done(&mut package);
        let mut all: Vec<(String, String)> = vec![];
        for member in &published {
            all.push((text(member, "name").into(), text(member, "version").into()));
            // What lies in the repository and is no member: an older boundary.
            for needed in member["dependencies"].as_array().expect("dependencies") {
                let Some(folder) = needed["path"].as_str().map(Path::new) else { continue };
                let manifest = folder.join("Cargo.toml");
                if members.iter().any(|m| m["manifest_path"].as_str().map(Path::new) == Some(&manifest)) {
                    continue;
                }
                done(packing(&place).arg("--manifest-path").arg(manifest));
                all.push((text(needed, "name").into(), text(needed, "req").trim_start_matches('^').into()));
            }
        }
        all.sort();
        all.dedup();
        let unpacked = TempDir::new().expect("a temporary folder");
        let crates = all.into_iter().map(|(name, version)| {
            let full = format!("{name}-{version}");
            let file = place.join("package").join(format!("{full}.crate"));
            done(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(unpacked.path()));
            let folder = place.join("sdk").join(&full);
            renew(&unpacked.path().join(&full), &folder);
            (name, version, folder)
        });
        Packages { crates: crates.collect() }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().expect("a text")
}

/// No lock files: cargo would look for crates in the registry that are packaged only now.
fn packing(place: &Path) -> Command {
    let mut package = cargo();
    package.args(["package", "--no-verify", "--allow-dirty", "--offline", "--exclude-lockfile", "--target-dir"]);
    package.arg(place);
    package
}

/// Makes a folder like another, leaving alone what is the same: cargo builds what is newer.
fn renew(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    let names = |folder: &Path| -> Vec<_> {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect()
    };
    for name in names(to).into_iter().filter(|name| !from.join(name).exists()) {
        let old = to.join(name);
        let removed = if old.is_dir() { fs::remove_dir_all(&old) } else { fs::remove_file(&old) };
        removed.expect("a file that is no longer packaged can be removed");
    }
    for name in names(from) {
        let (new, old) = (from.join(&name), to.join(&name));
        if new.is_dir() {
            renew(&new, &old);
        } else if fs::read(&new).ok() != fs::read(&old).ok() {
            fs::copy(&new, &old).expect("a copy");
        }
    }
}

/// An empty folder, but for cargo's settings, and the program installed elsewhere; gone with its owner.
pub struct Workshop {
    folder: TempDir,
    installed: TempDir,
}

impl Workshop {
    pub fn new() -> Workshop {
        // Paths with spaces are paths.
        let folder = tempfile::Builder::new().prefix("a plugin ").tempdir().expect("a temporary folder");
        let settings = folder.path().join(".cargo");
        fs::create_dir(&settings).expect("a folder");
        fs::write(settings.join("config.toml"), settings_text()).expect("a file");
        Workshop { folder, installed: install() }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// With this program in front of all others, and no settings of the user's own.
    pub fn prepare(&self, command: &mut Command) {
        let mut places = vec![self.installed.path().to_owned()];
        places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        command.current_dir(self.folder.path()).env("PATH", std::env::join_paths(places).expect("paths"));
        for name in ["FER_PLUGIN_PATH", "FER_LOG", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        // Cargo tells its own tests' crate apart by these.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
            command.env_remove(name);
        }
        command.env("CARGO_BUILD_BUILD_DIR", target()).env("CARGO_TERM_COLOR", "never");
        command.env("CARGO_TERM_PROGRESS_WHEN", "never").env("CARGO_INCREMENTAL", "0").stdin(Stdio::null());
    }

    /// `fer-host` with arguments.
    #[track_caller]
    pub fn host(&self, arguments: &[&str]) -> String {
        done(&mut self.host_command(arguments))
    }

    pub fn host_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.installed.path().join("fer-host"));
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    /// Cargo in a crate of this folder, with the versions that the workspace has tested: what is newer may not be on this machine.
    #[track_caller]
    pub fn cargo(&self, name: &str, arguments: &[&str]) -> String {
        let lock = self.path(name).join("Cargo.lock");
        if !lock.exists() {
            fs::copy(root().join("Cargo.lock"), lock).expect("a copy");
        }
        let mut command = cargo();
        self.prepare(&mut command);
        done(command.current_dir(self.path(name)).args(arguments))
    }
}

/// The program in a folder that is not its sources', with the plugins beside it.
fn install() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let program = folder.path().join("fer-host");
    // Links where they can be had: the program is large. A symbolic one would lead back to the sources.
    if fs::hard_link(PROGRAM, &program).is_err() {
        fs::copy(PROGRAM, &program).expect("a copy");
    }
    let beside = Path::new(PROGRAM).parent().expect("the program lies in a folder");
    let suffix = std::env::consts::DLL_SUFFIX;
    let libraries = fs::read_dir(beside).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    for name in libraries.filter(|name| name.to_string_lossy().ends_with(suffix)) {
        link(&beside.join(&name), &folder.path().join(&name));
    }
    folder
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) {
    std::os::unix::fs::symlink(from, to).expect("a link");
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a copy");
}

/// The packaged crates in crates.io's place; the workspace's profile, so that what it compiled can be used; no network.
fn settings_text() -> String {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let from = manifest.find("[profile.dev]").expect("a profile");
    let to = manifest.find("[profile.release]").expect("another profile");
    let mut text = format!("[net]\noffline = true\n\n{}\n[patch.crates-io]\n", &manifest[from..to]);
    for (name, version, folder) in &Packages::get().crates {
        let folder = folder.to_str().expect("UTF-8");
        // A key of its own for each version of a crate.
        text += &format!("\"{name}-{}\" = {{ package = {name:?}, path = {folder:?} }}\n", version.replace('.', "-"));
    }
    text
}
