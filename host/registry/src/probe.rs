//! Loads a library in a child process first, so that one that hangs or crashes takes no run with it.
//!
//! The child is a program that calls [`probe_main`] before anything else: the host itself, or a helper in tests.

use std::{
    collections::HashMap,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use fer_abi::Descriptor;
use serde::{Deserialize, Serialize};

use crate::{child, error::Fault, held, info::ComponentInfo, load};

/// The hidden first argument that makes a program a prober.
pub const ARGUMENT: &str = "--fer-plugin-probe";

/// Set in a prober: a program that forgot to call [`probe_main`] would otherwise scan, and start itself, without end.
pub(crate) const INSIDE: &str = "FER_PLUGIN_PROBE";

/// Starts every line of the child's answer, which a chatty plugin may write between.
pub(crate) const MARK: &str = "fer-plugin-probe:";

/// How long a library may take, unless told otherwise.
pub const LIMIT: Duration = Duration::from_secs(5);

/// How libraries are described when they are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// In this process: a library that hangs or crashes does it here.
    Off,
    /// In a child process, killed after `limit`.
    Child { program: PathBuf, limit: Duration },
}

impl Probe {
    /// The running program probes; its `main` must call [`probe_main`] first.
    pub fn this_program() -> io::Result<Probe> {
        Ok(Probe::child(std::env::current_exe()?))
    }

    /// The given program probes.
    pub fn child(program: impl Into<PathBuf>) -> Probe {
        Probe::Child { program: program.into(), limit: LIMIT }
    }

    /// The same with another time limit.
    pub fn with_limit(self, limit: Duration) -> Probe {
        match self {
            Probe::Off => Probe::Off,
            Probe::Child { program, .. } => Probe::Child { program, limit },
        }
    }

    /// What a checked library says of itself, from memory where the very same file was asked before.
    pub(crate) fn describe(&self, file: &FileKey) -> Result<Vec<Descriptor>, Fault> {
        if let Some(known) = known(file) {
            return Ok(known);
        }
        let descriptors = match self {
            Probe::Off => load::describe(load::load(&held::path(file)?)?)?,
            Probe::Child { program, limit } => {
                child::ask(program, *limit, &file.path)?.into_iter().map(Descriptor::from).collect()
            }
        };
        remember(file, &descriptors);
        Ok(descriptors)
    }
}

/// What makes a file the same file as before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    /// Canonical.
    pub path: PathBuf,
    pub length: u64,
    pub modified: Option<SystemTime>,
    /// Hexadecimal.
    pub sha256: String,
}

/// Successes only: a library that failed may be waiting for another file, or the machine was too busy.
static KNOWN: Mutex<Option<HashMap<FileKey, Vec<Descriptor>>>> = Mutex::new(None);

fn known(file: &FileKey) -> Option<Vec<Descriptor>> {
    let known = KNOWN.lock().ok()?;
    known.as_ref()?.get(file).cloned()
}

fn remember(file: &FileKey, descriptors: &[Descriptor]) {
    // A poisoned lock means another thread panicked here; the cache is only a cache.
    if let Ok(mut known) = KNOWN.lock() {
        known.get_or_insert_with(HashMap::new).insert(file.clone(), descriptors.to_vec());
    }
}

/// What the child says, one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    Stage(Stage),
    Components(Vec<ComponentInfo>),
    Fault(Fault),
}

/// What the child is about to do, so that its end can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    Load,
    Describe,
    Exit,
}

/// Makes the program a prober when it was started as one: loads the library, prints what it says, and returns the exit code.
/// `None` when the program was started for something else. Call it first in `main`, with all arguments:
///
/// ```no_run
/// # use std::process::ExitCode;
/// fn main() -> ExitCode {
///     if let Some(code) = fer_registry::probe_main(std::env::args_os()) {
///         return code;
///     }
///     // ...
/// #   ExitCode::SUCCESS
/// }
/// ```
pub fn probe_main(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let library = arguments.next();
    let limit = arguments.next().and_then(|text| text.to_str()?.parse().ok()).map_or(LIMIT, Duration::from_millis);
    let Some(library) = library else {
        return Some(ExitCode::from(2));
    };
    outlive_nobody(limit);
    say(&Message::Stage(Stage::Load));
    let answer = load::load(Path::new(&library)).and_then(|module| {
        say(&Message::Stage(Stage::Describe));
        load::describe(module)
    });
    match answer {
        Ok(descriptors) => say(&Message::Components(descriptors.iter().map(ComponentInfo::from).collect())),
        Err(fault) => say(&Message::Fault(fault)),
    }
    say(&Message::Stage(Stage::Exit));
    Some(ExitCode::SUCCESS)
}

/// Ends this process soon after its time, for the case that the parent is no longer there to do it.
fn outlive_nobody(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit + Duration::from_secs(1));
        // Not `exit`, which waits for the loader's lock that a hanging constructor holds.
        std::process::abort();
    });
}

fn say(message: &Message) {
    let Ok(text) = serde_json::to_string(message) else {
        return;
    };
    // A parent that went away reads nothing, and then nothing is left to say.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "\n{MARK}{text}");
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_arguments_are_left_alone() {
        let arguments = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(probe_main(arguments(&["host"])), None);
        assert_eq!(probe_main(arguments(&["host", "run", ARGUMENT])), None);
        assert_eq!(probe_main(arguments(&[ARGUMENT])), None);
        assert_eq!(probe_main(arguments(&["host", ARGUMENT])), Some(ExitCode::from(2)));
    }
}
