//! `fer-host plugin list`, `fer-host plugin show NAME`, and the commands of plugins that have files of their own.

use fer_abi::kind;
use fer_registry::{Component, describe};
use serde_json::json;

use super::{
    check, lock, new,
    output::{print, print_json, table},
};
use crate::{
    failure::{Failure, Result},
    session::plugins,
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the components on this machine, and libraries that cannot be used
    List {
        #[arg(long)]
        json: bool,
    },
    /// Describe a component: what it does, its options, its library
    Show {
        /// The component's name, or KIND/NAME where several kinds have it
        name: String,
        #[arg(long)]
        json: bool,
    },
    /// Write the crate of a new plugin: it builds, passes its tests, and is to be changed
    New(new::Arguments),
    /// Write down which libraries are trusted: a config that names the lock runs no others
    Lock(lock::Arguments),
    /// Hold a built library to the contract of its components
    Check(check::Arguments),
}

const KINDS: [&str; 3] = [kind::BACKBONE, kind::RESIZER, kind::LOSS];

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::List { json } => list(*json),
        Command::Show { name, json } => show(name, *json),
        Command::New(arguments) => new::run(arguments),
        Command::Lock(arguments) => lock::run(arguments),
        Command::Check(arguments) => check::run(arguments),
    }
}

fn list(as_json: bool) -> Result<()> {
    let registry = plugins()?;
    if as_json {
        let components: Vec<_> = registry.components().map(Component::report).collect();
        let problems: Vec<_> = registry
            .problems()
            .iter()
            .map(|p| json!({ "library": p.path, "reason": p.fault.reason, "detail": p.fault.detail }))
            .collect();
        return print_json(&json!({ "components": components, "problems": problems, "notes": registry.notes() }));
    }
    let mut blocks = vec![];
    for kind in KINDS {
        let rows: Vec<Vec<String>> =
            registry.of_kind(kind).map(|c| vec![format!("  {:<16} {}", c.id(), c.summary())]).collect();
        if !rows.is_empty() {
            blocks.push(format!("{}\n{}", plural(kind), table(&rows)));
        }
    }
    if blocks.is_empty() {
        blocks.push("no plugins were found beside this program, in plugins/ there, or on FER_PLUGIN_PATH".into());
    }
    if !registry.problems().is_empty() {
        let rows = registry.problems().iter().map(|p| format!("  {}: {}", p.path.display(), p.fault.reason));
        blocks.push(format!("cannot be used\n{}", rows.collect::<Vec<_>>().join("\n")));
    }
    blocks.extend(registry.notes().iter().map(|n| format!("note: {n}")));
    print(&blocks.join("\n\n"))
}

fn show(name: &str, as_json: bool) -> Result<()> {
    let registry = plugins()?;
    let (wanted, id) = match name.split_once('/') {
        Some((kind, id)) => (Some(kind), id),
        None => (None, name),
    };
    let found: Vec<&Component> =
        registry.components().filter(|c| c.id() == id && wanted.is_none_or(|k| k == c.kind())).collect();
    match found.as_slice() {
        [] => {
            let ids: Vec<&str> = registry.components().map(Component::id).collect();
            let failure = Failure::new(format!("no plugin is called {name:?}"))
                .note(format!("plugins on this machine: {}", ids.join(", ")));
            Err(match fer_config::nearest(id, ids.iter().copied()) {
                Some(near) => failure.help(format!("did you mean {near:?}?")),
                None => failure,
            })
        }
        [one] if as_json => print_json(&one.report()),
        [one] => print(&describe(one)),
        several => {
            let names: Vec<String> = several.iter().map(|c| format!("{}/{}", c.kind(), c.id())).collect();
            Err(Failure::new(format!("several plugins are called {id:?}"))
                .help(format!("say which: {}", names.join(", "))))
        }
    }
}

fn plural(kind: &str) -> String {
    if kind.ends_with('s') { format!("{kind}es") } else { format!("{kind}s") }
}
