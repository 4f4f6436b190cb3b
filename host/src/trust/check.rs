//! Whether the libraries at hand are the ones that a config, or its lock file, pins.

use std::path::Path;

use fer_config::{Component as Named, ConfigError, Plugins, Resolved};
use fer_registry::{Component, Registry, RegistryError};

use super::{Entry, LibraryFile, LockFile, named};
use crate::failure::{Failure, Result};

/// What an experiment says of the libraries it trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The lock file's name as it is written, and what it holds.
    lock: Option<(String, LockFile)>,
}

impl Trust {
    /// Reads the lock file, where there is one, and sees that it knows every component that the experiment names.
    ///
    /// # Errors
    /// A lock file that cannot be read, or a component that is not in it.
    pub fn of(resolved: &Resolved) -> Result<Trust> {
        let Plugins::Lock(path) = &resolved.experiment.plugins else { return Ok(Trust { lock: None }) };
        let shown = path.display().to_string();
        let lock = LockFile::read(path)
            .map_err(|failure| Failure::from(resolved.with_label(*failure.error, "plugins", "asked for here")))?;
        for (kind, component, at) in named(&resolved.experiment) {
            if lock.entry(kind, &component.plugin).is_none() {
                let message = format!("{kind} {:?} is not in {shown}", component.plugin);
                let help = format!(
                    "if you trust its library: fer-host plugin lock --file {shown} --accept {}",
                    component.plugin
                );
                return Err(resolved.error_at(&at, &message, "named here", Some(&help)).into());
            }
        }
        Ok(Trust { lock: Some((shown, lock)) })
    }

    /// Whether code of the library of this hash may be run at all.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn admit(&self, sha256: &str) -> Result<(), String> {
        match &self.lock {
            Some((file, lock)) if !lock.accepts(sha256) => Err(format!("is not in {file}: nothing of it is run")),
            _ => Ok(()),
        }
    }

    /// Whether each component that the experiment names comes from the library that is pinned for it.
    ///
    /// # Errors
    /// The first that does not: both hashes, when the file changed, and what to do.
    pub fn check(&self, resolved: &Resolved, registry: &Registry) -> Result<()> {
        for (kind, component, at) in named(&resolved.experiment) {
            let found = registry.get(kind, &component.plugin);
            if let Some((file, lock)) = &self.lock
                && let Some(entry) = lock.entry(kind, &component.plugin)
            {
                locked(resolved, &at, entry, &found).map_err(|error| told(error, file, &component.plugin))?;
            }
            if let (Some(pinned), Ok(found)) = (&component.sha256, &found) {
                pinned_by_config(resolved, &at, component, pinned, found)?;
            }
        }
        Ok(())
    }
}

fn told(error: ConfigError, file: &str, id: &str) -> Failure {
    error
        .help(format!("if that was you, or somebody you trust: fer-host plugin lock --file {file} --accept {id}"))
        .into()
}

/// What the lock accepted, beside what is there.
fn locked(
    resolved: &Resolved,
    at: &str,
    entry: &Entry,
    found: &Result<&Component, RegistryError>,
) -> Result<(), ConfigError> {
    let Entry { kind, id, sha256, library, accepted, .. } = entry;
    let error = |what: &str| resolved.error_at(at, &format!("the library of {kind} {id:?} {what}"), "named here", None);
    let accepted = format!("accepted: {sha256} on {accepted}");
    let other = |file: &Path, now: &LibraryFile| {
        error("has changed since it was accepted")
            .note(format!("library:  {}", file.display()))
            .note(accepted.clone())
            .note(format!("now:      {}", now.told()))
    };
    match found {
        Ok(component) if component.sha256() == sha256 => Ok(()),
        Ok(component) => Err(other(component.library(), &seen(component))),
        // Nothing of it was run, so that nobody knows which file offers the component: the one that did is looked at.
        Err(_) => match LibraryFile::look(Path::new(library)) {
            Ok(now) if now.sha256 == *sha256 => Ok(()),
            Ok(now) => Err(other(Path::new(library), &now)),
            Err(why) => {
                let gone = error("is not where it was accepted, nor elsewhere on the search path");
                Err(gone.note(format!("library:  {library}: {why}")).note(accepted))
            }
        },
    }
}

fn pinned_by_config(
    resolved: &Resolved,
    at: &str,
    named: &Named,
    pinned: &str,
    found: &Component,
) -> Result<(), ConfigError> {
    if found.sha256() == pinned {
        return Ok(());
    }
    let message = format!("the library of {} {:?} is not the one that is pinned", found.kind(), named.plugin);
    let help = "if you trust it, write what is found in the place of what is pinned";
    Err(resolved
        .error_at(&format!("{at}.sha256"), &message, "pinned here", Some(help))
        .note(format!("library: {}", found.library().display()))
        .note(format!("pinned:  {pinned}"))
        .note(format!("found:   {}", seen(found).told())))
}

fn seen(component: &Component) -> LibraryFile {
    LibraryFile { sha256: component.sha256().to_owned(), modified: component.modified() }
}
