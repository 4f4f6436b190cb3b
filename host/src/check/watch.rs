//! The parent: starts the child, hears what it does, and ends it when it takes too long or too much memory.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use fer_contract::laws;
use fer_registry::Component;

use super::{
    Request,
    finding::{Checked, Failed, Finding, MARK, Message, Outcome},
    planned, subject,
};
use crate::failure::{Failure, Result};

/// What a component may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one case.
    pub time: Duration,
    /// Memory of the process, in MiB.
    pub memory: u64,
}

/// Between two looks at time and memory: memory fills at some GB a second.
const PAUSE: Duration = Duration::from_millis(10);
/// Counted of the time between two looks. A machine that sleeps, or a program that is stopped, looks late and blames nobody.
const LONGEST_STEP: Duration = Duration::from_millis(200);
/// How long the child's pipes may stay open after its end (a grandchild may hold them for ever).
const DRAIN: Duration = Duration::from_millis(500);
/// Kept of the child's standard error.
const LONGEST_COMPLAINT: u64 = 64 * 1024;

/// Checks a component in a child process.
///
/// # Errors
/// When no child can be started.
pub(super) fn watched(
    library: &Path,
    component: &Component,
    request: &Request,
    progress: &dyn Fn(&str),
) -> Result<Checked> {
    let started = Instant::now();
    let mut child = start(library, component, request)?;
    let lines = listen(&mut child);
    let complaint = complaint(&mut child);
    let mut heard = Heard::default();
    let end = hear(&mut child, &lines, &request.limits, &mut heard, &|what| {
        progress(&format!("{} {}: {what}", component.kind(), component.id()));
    });
    let complaint = complaint.recv_timeout(DRAIN).unwrap_or_default();
    let why = match end {
        End::Done => None,
        End::Early(how) => Some(explain(&how, &complaint)),
        End::Lost(error) => {
            return Err(Failure::new(format!("cannot watch the check of {}: {error}", library.display())));
        }
    };
    let notes = laws::unknown(&subject(component));
    let note = |name: String| format!("it claims {name:?}, which this program does not know");
    Ok(Checked {
        kind: component.kind().to_owned(),
        id: component.id().to_owned(),
        version: component.version().to_owned(),
        findings: heard.complete(planned(component), why),
        notes: notes.into_iter().map(note).collect(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn start(library: &Path, component: &Component, request: &Request) -> Result<Child> {
    let failed =
        |e: std::io::Error| Failure::new(format!("cannot start a process to check {} in: {e}", library.display()));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["plugin", "check"]).arg(library).args(["--inside", component.kind(), "--component", component.id()]);
    command.args(["--seed", &request.seed.to_string()]);
    if request.quick {
        command.arg("--quick");
    }
    // What a crash says last is what is told of it: its message, and no trace.
    command.env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)
}

/// The child's messages, read in a thread of its own.
fn listen(child: &mut Child) -> Receiver<Message> {
    let (send, receive) = mpsc::channel();
    let pipe = child.stdout.take();
    std::thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        for line in BufReader::new(pipe).split(b'\n').map_while(std::io::Result::ok) {
            let text = String::from_utf8_lossy(&line);
            // A line that was cut by the child's end is explained by that end.
            if let Some(Ok(message)) = text.strip_prefix(MARK).map(serde_json::from_str)
                && send.send(message).is_err()
            {
                return;
            }
        }
    });
    receive
}

/// What the child writes to standard error, its end.
fn complaint(child: &mut Child) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    let pipe = child.stderr.take();
    std::thread::spawn(move || {
        let mut kept = vec![];
        if let Some(mut pipe) = pipe {
            // A read error ends the text early.
            let _ = pipe.by_ref().take(LONGEST_COMPLAINT).read_to_end(&mut kept);
            // The rest must be read too, or the child waits for ever with a full pipe.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        // Nobody listens any more when the pipe outlived its time.
        let _ = send.send(String::from_utf8_lossy(&kept).into_owned());
    });
    receive
}

/// How the child came to its end before it was done.
enum Early {
    Slow(Duration),
    Large(u64),
    Ended(ExitStatus),
}

enum End {
    Done,
    Early(Early),
    Lost(std::io::Error),
}

fn hear(
    child: &mut Child,
    lines: &Receiver<Message>,
    limits: &Limits,
    heard: &mut Heard,
    progress: &dyn Fn(&str),
) -> End {
    let (mut silent, mut looked) = (Duration::ZERO, Instant::now());
    loop {
        match lines.recv_timeout(PAUSE) {
            Ok(Message::Done) => break,
            Ok(message) => {
                silent = Duration::ZERO;
                heard.take(message, progress);
            }
            // Its standard output is closed: it ends, or it has been ended.
            Err(RecvTimeoutError::Disconnected) => {
                return match child.wait() {
                    Ok(status) => End::Early(Early::Ended(status)),
                    Err(error) => End::Lost(error),
                };
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        silent += looked.elapsed().min(LONGEST_STEP);
        looked = Instant::now();
        let over = if silent > limits.time {
            Some(Early::Slow(limits.time))
        } else {
            resident(child.id()).filter(|&mib| mib > limits.memory).map(|_| Early::Large(limits.memory))
        };
        if let Some(how) = over {
            return match end(child) {
                Ok(()) => {
                    // What it said before it was ended still counts.
                    while let Ok(message) = lines.recv_timeout(PAUSE) {
                        heard.take(message, progress);
                    }
                    End::Early(how)
                }
                Err(error) => End::Lost(error),
            };
        }
    }
    // Done is done, even if the library's destructors would crash.
    match end(child) {
        Ok(()) => End::Done,
        Err(error) => End::Lost(error),
    }
}

fn end(child: &mut Child) -> std::io::Result<()> {
    // It may have ended by itself in this moment; either way it is gone after the wait.
    let _ = child.kill();
    child.wait().map(|_| ())
}

/// Memory that a process holds, in MiB; `None` where the system does not tell.
fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

fn explain(how: &Early, complaint: &str) -> String {
    let said = match last_words(complaint) {
        Some(words) => format!(": {words}"),
        None => String::new(),
    };
    match how {
        Early::Slow(limit) => format!("hangs: no answer for {} s", limit.as_secs_f64()),
        Early::Large(mib) => format!("takes more than {mib} MiB of memory"),
        Early::Ended(status) => format!("ends the program ({status}){said}"),
    }
}

/// The message of a panic, or else the last line that was written.
fn last_words(complaint: &str) -> Option<String> {
    let said = |line: &&str| !line.is_empty() && !line.starts_with("note: ");
    let lines: Vec<&str> = complaint.lines().map(str::trim).filter(said).collect();
    let panic = lines.iter().position(|line| line.starts_with("thread ") && line.contains(" panicked at "));
    let words = panic.and_then(|at| lines.get(at + 1)).or(lines.last())?;
    Some(words.chars().take(300).collect())
}

/// What the child has said so far.
#[derive(Default)]
struct Heard {
    findings: Vec<Finding>,
    /// Begun and not ended.
    open: Option<(String, String)>,
    /// The last case, as text and as RON.
    case: (String, String),
}

impl Heard {
    fn take(&mut self, message: Message, progress: &dyn Fn(&str)) {
        match message {
            Message::Begins { family, property } => {
                progress(&property);
                self.case = Default::default();
                self.open = Some((family, property));
            }
            Message::Case { case, reproduction } => self.case = (case, reproduction),
            Message::Ends(finding) => {
                self.open = None;
                self.findings.push(finding);
            }
            Message::Done => {}
        }
    }

    /// Every planned property: the one that was open is the one that ended the child, and what came after was not looked at.
    fn complete(mut self, planned: Vec<(String, String)>, why: Option<String>) -> Vec<Finding> {
        let Some(why) = why else { return self.findings };
        let open = self.open.take().or_else(|| planned.get(self.findings.len()).cloned());
        if let Some((family, property)) = open {
            let (case, reproduction) = std::mem::take(&mut self.case);
            let failed = Failed { message: why, case, reproduction, shrunk: false };
            self.findings.push(Finding { family, property, outcome: Outcome::Failed(Box::new(failed)) });
        }
        for (family, property) in planned.into_iter().skip(self.findings.len()) {
            let why = "the component had ended the program before".to_owned();
            self.findings.push(Finding {
                family,
                property,
                outcome: Outcome::NotExamined { why, nothing_to_look_at: false },
            });
        }
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_property_is_blamed_and_the_rest_is_not_examined() {
        let names = |list: &[&str]| list.iter().map(|p| ("f".to_owned(), (*p).to_owned())).collect::<Vec<_>>();
        let mut heard = Heard::default();
        let done = |property: &str| Finding {
            family: "f".into(),
            property: property.into(),
            outcome: Outcome::Ok { cases: 1 },
        };
        heard.take(Message::Ends(done("a")), &|_| {});
        heard.take(Message::Begins { family: "f".into(), property: "b".into() }, &|_| {});
        heard.take(Message::Case { case: "c".into(), reproduction: "r".into() }, &|_| {});
        let found = heard.complete(names(&["a", "b", "c"]), Some("hangs".into()));
        let kinds: Vec<(&str, &str)> = found
            .iter()
            .map(|f| {
                let kind = match &f.outcome {
                    Outcome::Ok { .. } => "ok",
                    Outcome::Failed(failed) => failed.message.as_str(),
                    Outcome::NotExamined { .. } => "not examined",
                };
                (f.property.as_str(), kind)
            })
            .collect();
        assert_eq!(kinds, [("a", "ok"), ("b", "hangs"), ("c", "not examined")]);
    }

    #[test]
    fn last_words_are_the_panic_s() {
        assert_eq!(last_words("x\nthread 'a' (1) panicked at b.rs:1:1:\nno\nnote: c").as_deref(), Some("no"));
        assert_eq!(
            last_words("memory allocation of 9 bytes failed\n").as_deref(),
            Some("memory allocation of 9 bytes failed")
        );
        assert_eq!(last_words("\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_takes_memory() {
        assert!(resident(std::process::id()).is_some_and(|mib| mib > 0));
    }
}
