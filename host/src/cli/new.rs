//! `fer-host plugin new NAME --kind KIND`: the crate of a new plugin.

use std::path::{Path, PathBuf};

use super::output::print;
use crate::{
    failure::{Failure, Result},
    kit::{Kind, Name, Sdk, files, write_folder},
    session::plugins,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Of the crate and of the component, like my-loss
    name: String,
    #[arg(long, value_enum)]
    kind: Kind,
    /// The folder to write, which must not exist yet; NAME in this folder unless given
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// Take the SDK from a folder of fer-host's sources; the one this program was built in unless given
    #[arg(long, value_name = "FOLDER", conflicts_with = "sdk_version")]
    sdk_path: Option<PathBuf>,
    /// Take the SDK from cargo's registry, in this version
    #[arg(long, value_name = "VERSION")]
    sdk_version: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let name = Name::new(&arguments.name)?;
    let sdk = match (&arguments.sdk_path, &arguments.sdk_version) {
        (Some(path), _) => Sdk::path(path)?,
        (None, Some(version)) => Sdk::version(version)?,
        (None, None) => Sdk::of_this_program(),
    };
    free(arguments.kind, &name.id)?;
    let folder = arguments.path.clone().unwrap_or_else(|| PathBuf::from(&name.id));
    write_folder(&folder, &files(&name, arguments.kind, &sdk))?;
    print(&text(&name, arguments.kind, &sdk, &folder))
}

/// Two libraries that offer the same component disable each other.
fn free(kind: Kind, id: &str) -> Result<()> {
    match plugins()?.get(kind.name(), id) {
        Err(_) => Ok(()),
        Ok(there) => Err(Failure::new(format!("this machine has a {} called {id:?} already", kind.name()))
            .note(format!("library: {}", there.library().display()))
            .help("choose another name: of two libraries that offer the same component, none is used")),
    }
}

fn text(name: &Name, kind: Kind, sdk: &Sdk, folder: &Path) -> String {
    let Name { id, .. } = name;
    let article = kind.name();
    let library = Path::new("target").join("debug").join(name.file());
    let warning = sdk.warning().map_or(String::new(), |warning| format!("\nnote: {warning}"));
    format!(
        "{id}   a {article} in {}, with {sdk}{warning}\n\n\
         next\n  \
         cd {}\n  \
         cargo build\n  \
         cargo test\n  \
         fer-host plugin check {}\n  \
         FER_PLUGIN_PATH=\"$PWD/target/debug\" fer-host plugin show {id}\n\n\
         src/lib.rs is the {article}, tests/contract.rs what it is held to, README.md how a config uses it.",
        folder.display(),
        shell(&folder.to_string_lossy()),
        shell(&library.to_string_lossy()),
    )
}

/// A word as a POSIX shell takes it.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
