//! `fer-host plugin lock [CONFIG]`: writes down which libraries are trusted.

use std::path::{Path, PathBuf};

use fer_config::Plugins;
use fer_registry::{Component, Registry};

use super::output::print;
use crate::{
    failure::{Failure, Result},
    session::{ConfigArguments, plugins},
    trust::{Accepted, Entry, LibraryFile, LockFile, named},
};

/// Where the lock lies unless a config or the command line says otherwise.
const USUAL: &str = "plugins.lock";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An experiment whose components are locked; without it, every component on this machine
    config: Option<PathBuf>,
    /// The lock file; the one that the config names, or plugins.lock
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Accept this component's library as it is now, though it has changed, and leave the others alone; NAME or KIND/NAME; may be repeated
    #[arg(long, value_name = "NAME")]
    accept: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let resolved = match &arguments.config {
        Some(config) => Some(ConfigArguments { config: config.clone(), ..Default::default() }.resolve()?),
        None => None,
    };
    let of_config = resolved.as_ref().and_then(|r| match &r.experiment.plugins {
        Plugins::Lock(file) => Some(file.clone()),
        Plugins::Any => None,
    });
    let file = arguments.file.clone().or(of_config).unwrap_or_else(|| USUAL.into());
    let mut lock = if file.symlink_metadata().is_ok() { LockFile::read(&file)? } else { LockFile::default() };
    let registry = plugins()?;
    let accepted: Vec<&Component> =
        arguments.accept.iter().map(|name| wanted(&registry, name)).collect::<Result<_>>()?;
    let mut chosen: Vec<&Component> = match &resolved {
        Some(resolved) => {
            let each = named(&resolved.experiment).into_iter();
            let find = |(kind, c, at): (&str, &fer_config::Component, String)| {
                let missing =
                    |e: fer_registry::RegistryError| resolved.error_at(&at, &e.message, "found here", Some(&e.help));
                registry.get(kind, &c.plugin).map_err(missing)
            };
            each.map(find).collect::<Result<_, _>>()?
        }
        None if accepted.is_empty() => registry.components().collect(),
        None => vec![],
    };
    chosen.extend(&accepted);
    chosen.sort_by_key(|c| (c.kind(), c.id()));
    chosen.dedup_by_key(|c| (c.kind(), c.id()));
    if chosen.is_empty() {
        return Err(
            Failure::new("there is nothing to lock: no plugins were found").help("fer-host plugin list says why")
        );
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut rows = vec![];
    let mut changed: Vec<(&Component, Box<Entry>)> = vec![];
    for component in chosen {
        let accept = accepted.iter().any(|a| (a.kind(), a.id()) == (component.kind(), component.id()));
        match lock.put(component, accept, &now) {
            Ok(what) => rows.push(row(what, component)),
            Err(old) => changed.push((component, old)),
        }
    }
    if !changed.is_empty() {
        return Err(refusal(&file, &changed));
    }
    lock.write(&file)?;
    let count = lock.plugins.len();
    print(&format!("{}\n\n{}: {count} component{}", rows.join("\n"), file.display(), if count == 1 { "" } else { "s" }))
}

fn row(what: Accepted, component: &Component) -> String {
    let name = format!("{} {}", component.kind(), component.id());
    format!("{:<10} {:<24} {:.12}   {}", what.word(), name, component.sha256(), component.library().display())
}

/// The component that is meant by NAME, or KIND/NAME.
fn wanted<'r>(registry: &'r Registry, name: &str) -> Result<&'r Component> {
    let (kind, id) = name.split_once('/').map_or((None, name), |(kind, id)| (Some(kind), id));
    let found: Vec<&Component> =
        registry.components().filter(|c| c.id() == id && kind.is_none_or(|k| k == c.kind())).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let ids: Vec<&str> = registry.components().map(Component::id).collect();
            let failure = Failure::new(format!("no plugin is called {name:?}"))
                .note(format!("plugins on this machine: {}", ids.join(", ")));
            Err(match fer_config::nearest(id, ids.iter().copied()) {
                Some(near) => failure.help(format!("did you mean {near:?}?")),
                None => failure,
            })
        }
        several => {
            let names: Vec<String> = several.iter().map(|c| format!("{}/{}", c.kind(), c.id())).collect();
            Err(Failure::new(format!("several plugins are called {id:?}"))
                .help(format!("say which: {}", names.join(", "))))
        }
    }
}

fn refusal(file: &Path, changed: &[(&Component, Box<Entry>)]) -> Failure {
    let names: Vec<&str> = changed.iter().map(|(component, _)| component.id()).collect();
    let mut failure = Failure::new(format!("libraries have changed since they were accepted: {}", names.join(", ")))
        .note(format!("{} is left as it was", file.display()));
    for (component, old) in changed {
        let now = LibraryFile { sha256: component.sha256().to_owned(), modified: component.modified() };
        failure = failure
            .note(format!("{} {}: {}", component.kind(), component.id(), component.library().display()))
            .note(format!("  accepted: {} on {}", old.sha256, old.accepted))
            .note(format!("  now:      {}", now.told()));
    }
    let accept: Vec<String> = names.iter().map(|name| format!("--accept {name}")).collect();
    failure.help(format!(
        "if that was you, or somebody you trust: fer-host plugin lock --file {} {}",
        file.display(),
        accept.join(" ")
    ))
}
