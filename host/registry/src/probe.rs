//! Runs a library's code in a child process, so that one that hangs, crashes or takes all memory takes no run with it: first to
//! describe itself, then to build each fragment.
//!
//! The child is a program that calls [`probe_main`] before anything else: the host itself, or a helper in tests.

use std::{
    collections::HashMap,
    ffi::OsString,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use fer_abi::{BuildError, BuildRequest, Descriptor, Fragment};
use serde::{Deserialize, Serialize};

use crate::{child, error::Fault, held, info::ComponentInfo, load, refusal::Refusal, wire};

/// The hidden first argument that makes a program a prober.
pub const ARGUMENT: &str = "--fer-plugin-probe";

/// Set in a prober: a program that forgot to call [`probe_main`] would otherwise scan, and start itself, without end.
pub(crate) const INSIDE: &str = "FER_PLUGIN_PROBE";

/// Starts every line of the child's answer, which a chatty plugin may write between.
pub(crate) const MARK: &str = "fer-plugin-probe:";

/// What a library may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub time: Duration,
    /// Bytes of memory that it may write to (`RLIMIT_DATA`), the program's own included. On Linux; other systems have no such limit,
    /// and there only time ends an endless allocation.
    pub memory: u64,
}

/// For a description, unless told otherwise.
pub const DESCRIBING: Limits = Limits { time: Duration::from_secs(5), memory: 1 << 30 };

/// For a fragment, unless told otherwise: the largest that is taken has 2 GiB of numbers, which are there a few times while it is made.
pub const BUILDING: Limits = Limits { time: Duration::from_secs(60), memory: 8 << 30 };

/// Where libraries describe themselves and build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// In this process: a library that hangs or crashes does it here. For a plugin's own tests, where a debugger and the output of
    /// the plugin are wanted.
    Off,
    /// In child processes, killed when they take more than their limits.
    Child { program: PathBuf, describing: Limits, building: Limits },
}

impl Probe {
    /// The running program probes; its `main` must call [`probe_main`] first.
    pub fn this_program() -> io::Result<Probe> {
        Ok(Probe::child(std::env::current_exe()?))
    }

    /// The given program probes.
    pub fn child(program: impl Into<PathBuf>) -> Probe {
        Probe::Child { program: program.into(), describing: DESCRIBING, building: BUILDING }
    }

    /// The same with another time limit, for describing and building alike.
    pub fn with_limit(self, time: Duration) -> Probe {
        self.changed(|limits| limits.time = time)
    }

    /// The same with another limit of memory, for describing and building alike.
    pub fn with_memory(self, memory: u64) -> Probe {
        self.changed(|limits| limits.memory = memory)
    }

    fn changed(mut self, change: impl Fn(&mut Limits)) -> Probe {
        if let Probe::Child { describing, building, .. } = &mut self {
            change(describing);
            change(building);
        }
        self
    }

    /// What a checked library says of itself, from memory where the very same file was asked before.
    pub(crate) fn describe(&self, file: &FileKey) -> Result<Vec<Descriptor>, Fault> {
        if let Some(known) = known(file) {
            return Ok(known);
        }
        let descriptors = match self {
            Probe::Off => load::describe(load::load(&held::path(&file.path, &file.sha256)?)?, || {})?,
            Probe::Child { program, describing, .. } => {
                child::describe(program, *describing, file)?.into_iter().map(Descriptor::from).collect()
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

/// What the child is asked: its second argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Describe,
    /// The request comes on standard input.
    Build,
}

impl Task {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Task::Describe => "describe",
            Task::Build => "build",
        }
    }
}

/// What the child says, one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    Stage(Stage),
    Components(Vec<ComponentInfo>),
    /// So many bytes follow the line, see [`wire`]. The plugin shares the output, so a hash says whether they came whole.
    Fragment {
        bytes: usize,
        sha256: String,
    },
    Refused(Refusal),
    Fault(Fault),
}

/// What the child is about to do, so that its end can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    Load,
    Describe,
    Kernels,
    Build,
    Exit,
}

/// Makes the program a prober when it was started as one: loads the library, prints what it says or builds, and returns the
/// exit code.
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
    Some(probe(arguments).unwrap_or(ExitCode::from(2)))
}

/// `None` when the arguments are not those of [`child`].
fn probe(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let task = arguments.next()?;
    let task = [Task::Describe, Task::Build].into_iter().find(|known| task == known.word())?;
    let library = PathBuf::from(arguments.next()?);
    let sha256 = arguments.next()?.into_string().ok()?;
    let time: u64 = arguments.next()?.to_str()?.parse().ok()?;
    let memory: u64 = arguments.next()?.to_str()?.parse().ok()?;
    let request = match task {
        Task::Describe => None,
        Task::Build => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).ok()?;
            Some(wire::read_request(&bytes).ok()?)
        }
    };
    outlive_nobody(Duration::from_millis(time));
    limit_memory(memory);
    let answer = match request {
        None => describe(&library, &sha256),
        Some(request) => build(&library, &sha256, &request),
    };
    answer.unwrap_or_else(|fault| say(&Message::Fault(fault), &[]));
    stage(Stage::Exit);
    Some(ExitCode::SUCCESS)
}

fn describe(library: &Path, sha256: &str) -> Result<(), Fault> {
    stage(Stage::Load);
    let module = load::load(&held::path(library, sha256)?)?;
    stage(Stage::Describe);
    // A run loads kernels into its own process. Here they are only looked at, so that a list that hangs or crashes does it here.
    let descriptors = load::describe(module, || stage(Stage::Kernels))?;
    say(&Message::Components(descriptors.iter().map(ComponentInfo::from).collect()), &[]);
    Ok(())
}

fn build(library: &Path, sha256: &str, request: &BuildRequest) -> Result<(), Fault> {
    stage(Stage::Load);
    let module = load::load(&held::path(library, sha256)?)?;
    stage(Stage::Build);
    let built: Result<Fragment, BuildError> = module.build(request);
    match built {
        Err(error) => say(&Message::Refused(error.into()), &[]),
        Ok(fragment) => {
            let bytes = wire::fragment(fragment).map_err(|what| Fault::new(format!("gives {what}")))?;
            say(&Message::Fragment { bytes: bytes.len(), sha256: held::hash(&bytes) }, &bytes);
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn limit_memory(bytes: u64) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    // Where it cannot be set there is a lower one already. And nobody reads the core dump of a child.
    let _ = setrlimit(Resource::Data, limit(bytes));
    let _ = setrlimit(Resource::Core, limit(0));
}

#[cfg(not(target_os = "linux"))]
fn limit_memory(_: u64) {}

/// Ends this process soon after its time, for the case that the parent is no longer there to do it.
fn outlive_nobody(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit + Duration::from_secs(1));
        // Not `exit`, which waits for the loader's lock that a hanging constructor holds.
        std::process::abort();
    });
}

fn stage(stage: Stage) {
    say(&Message::Stage(stage), &[]);
}

/// A line for the parent, and bytes behind it.
fn say(message: &Message, bytes: &[u8]) {
    let Ok(text) = serde_json::to_string(message) else {
        return;
    };
    // A parent that went away reads nothing, and then nothing is left to say.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "\n{MARK}{text}");
    let _ = out.write_all(bytes);
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
