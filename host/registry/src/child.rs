//! Runs a prober and turns whatever becomes of it into an answer.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use fer_abi::{BuildError, BuildRequest, Fragment};

use crate::{
    error::Fault,
    held,
    info::ComponentInfo,
    load::one_line,
    probe::{ARGUMENT, FileKey, INSIDE, Limits, MARK, Message, Stage, Task},
    wire,
};

/// Kept of the child's standard output: more than the largest description that passes its checks, and that much beside a fragment.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
/// Kept of the child's standard error.
const LONGEST_COMPLAINT: usize = 64 * 1024;
/// How long after the child's end its pipes may stay open (a grandchild may hold them for ever).
const DRAIN: Duration = Duration::from_secs(1);

/// Lets `program` load and describe a library.
pub(crate) fn describe(program: &Path, limits: Limits, library: &FileKey) -> Result<Vec<ComponentInfo>, Fault> {
    match ask(program, limits, library, Task::Describe, Vec::new(), LONGEST_ANSWER)? {
        Answer::Components(list) => Ok(list),
        Answer::Built(_) => Err(Fault::new("cannot be probed: the answer is to another question")),
    }
}

/// Lets `program` load a library and build a component of it.
pub(crate) fn build(
    program: &Path,
    limits: Limits,
    library: &FileKey,
    request: &BuildRequest,
) -> Result<Result<Fragment, BuildError>, Fault> {
    let request = wire::request(request).map_err(|what| Fault::new(format!("cannot be asked: {what}")))?;
    match ask(program, limits, library, Task::Build, request, LONGEST_ANSWER + wire::LONGEST)? {
        Answer::Built(built) => Ok(*built),
        Answer::Components(_) => Err(Fault::new("cannot be probed: the answer is to another question")),
    }
}

/// What a child has to say.
enum Answer {
    Components(Vec<ComponentInfo>),
    Built(Box<Result<Fragment, BuildError>>),
}

fn ask(
    program: &Path,
    limits: Limits,
    library: &FileKey,
    task: Task,
    input: Vec<u8>,
    longest: usize,
) -> Result<Answer, Fault> {
    if std::env::var_os(INSIDE).is_some() {
        return Err(Fault::new("not probed: this program is itself a probe and did not call probe_main first"));
    }
    let mut child = Command::new(program)
        .args([ARGUMENT, task.word()])
        .arg(&library.path)
        .arg(&library.sha256)
        .args([limits.time.as_millis().to_string(), limits.memory.to_string()])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Fault::new(format!("cannot be probed: {}: {error}", program.display())))?;
    feed(child.stdin.take(), input);
    let output = drain(child.stdout.take(), longest);
    let complaint = drain(child.stderr.take(), LONGEST_COMPLAINT);
    let status = wait(&mut child, limits.time);
    let output = output.recv_timeout(DRAIN).unwrap_or_default();
    let complaint = complaint.recv_timeout(DRAIN).unwrap_or_default();
    let ended = Ended {
        program,
        limits,
        status: status.map_err(|error| Fault::new(format!("cannot be probed: {error}")))?,
        complaint: String::from_utf8_lossy(&complaint).into_owned(),
    };
    ended.answer(&output)
}

/// Writes the child's input in a thread of its own: a program that reads nothing must not hold the host up.
fn feed(pipe: Option<impl Write + Send + 'static>, input: Vec<u8>) {
    std::thread::spawn(move || {
        // A child that went away before it was asked is explained by its end.
        let _ = pipe.map(|mut pipe| pipe.write_all(&input));
    });
}

/// Reads a pipe to its end in a thread of its own, keeping the first `limit` bytes.
fn drain(pipe: Option<impl Read + Send + 'static>, limit: usize) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // A read error ends the text early, which the answer's own marks show.
            let _ = pipe.by_ref().take(limit as u64).read_to_end(&mut kept);
            // The rest must be read too, or the child waits for ever with a full pipe.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        // Nobody listens any more when the pipe outlived its time.
        let _ = send.send(kept);
    });
    receive
}

/// The child's exit status, or `None` when it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            // It may have ended by itself in this moment; either way it is gone after the wait.
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}

/// How a child ended.
struct Ended<'a> {
    program: &'a Path,
    limits: Limits,
    /// `None`: killed after the limit.
    status: Option<ExitStatus>,
    complaint: String,
}

impl Ended<'_> {
    fn answer(self, output: &[u8]) -> Result<Answer, Fault> {
        let mut stage = None;
        let mut answer = None;
        let mut rest = output;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            let Some(text) = line.strip_prefix(MARK.as_bytes()) else {
                continue;
            };
            match serde_json::from_slice(text) {
                Ok(Message::Stage(next)) => stage = Some(next),
                Ok(Message::Components(list)) => answer = Some(Answer::Components(list)),
                Ok(Message::Refused(refusal)) => answer = Some(Answer::Built(Box::new(Err(refusal.into())))),
                Ok(Message::Fragment { bytes, sha256 }) => {
                    // Cut by the child's end, which is explained below.
                    let Some((fragment, after)) = rest.split_at_checked(bytes) else { break };
                    rest = after;
                    let fragment = self.fragment(fragment, &sha256)?;
                    answer = Some(Answer::Built(Box::new(Ok(fragment))));
                }
                Ok(Message::Fault(fault)) => return Err(self.with_panic(fault)),
                // The line was cut by the child's end, which is explained below.
                Err(_) => {}
            }
        }
        match (self.status, answer) {
            (Some(status), Some(answer)) if status.success() => Ok(answer),
            _ => Err(self.explain(stage)),
        }
    }

    fn fragment(&self, bytes: &[u8], sha256: &str) -> Result<Fragment, Fault> {
        if held::hash(bytes) != sha256 {
            let reason = "writes to standard output while its fragment is handed over, which damaged it";
            return Err(self.fault(reason.to_owned()));
        }
        wire::read_fragment(bytes).map_err(|what| self.fault(format!("gives a fragment that cannot be read: {what}")))
    }

    fn explain(&self, stage: Option<Stage>) -> Fault {
        let during = match stage {
            None => {
                // Not even the first line came: the program is no prober.
                return self.fault(format!(
                    "cannot be probed: {} did not answer ({})",
                    self.program.display(),
                    self.status.map_or("killed".to_owned(), |status| status.to_string())
                ));
            }
            Some(Stage::Load) => "while being loaded",
            Some(Stage::Describe) => "while describing itself",
            Some(Stage::Kernels) => "while listing its kernels",
            Some(Stage::Build) => "while building",
            Some(Stage::Exit) => "when the program ends",
        };
        let Some(status) = self.status else {
            return self.fault(format!("hangs {during} (no answer in {} s)", self.limits.time.as_secs_f64()));
        };
        if out_of_memory(&self.complaint) {
            let most = self.limits.memory as f64 / f64::from(1 << 20);
            return self.fault(format!("runs out of memory {during} (it may take {most} MiB)"));
        }
        match (signal(status), panic_message(&self.complaint)) {
            (_, Some(message)) => self.fault(format!("panics {during}: {message}")),
            (Some(signal), None) => self.fault(format!("crashes {during} ({signal})")),
            (None, None) => self.fault(format!("ends the program {during} ({status})")),
        }
    }

    fn fault(&self, reason: String) -> Fault {
        Fault::with_detail(reason, self.complaint.as_str())
    }

    /// A panic that the child caught is told by abi_stable without its message; standard error has it.
    fn with_panic(&self, fault: Fault) -> Fault {
        match panic_message(&self.complaint) {
            Some(message) if fault.reason.starts_with("panics") => self.fault(format!("{}: {message}", fault.reason)),
            _ => fault,
        }
    }
}

/// The message of the first panic that a program reported.
fn panic_message(complaint: &str) -> Option<String> {
    let mut lines = complaint.lines();
    lines.find(|line| line.starts_with("thread ") && line.contains(" panicked at "))?;
    let message = one_line(lines.next()?);
    (!message.is_empty()).then_some(message)
}

/// Whether a program ended because it was given no more memory, as Rust and C++ say it.
fn out_of_memory(complaint: &str) -> bool {
    let rust = |line: &str| line.starts_with("memory allocation of ") && line.contains(" bytes failed");
    complaint.lines().any(|line| rust(line) || line.contains("std::bad_alloc"))
}

/// The name of the signal that ended a process.
#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt;
    let number = status.signal()?;
    // These have the same number on every Unix.
    Some(match number {
        4 => "SIGILL".to_owned(),
        6 => "SIGABRT".to_owned(),
        8 => "SIGFPE".to_owned(),
        9 => "SIGKILL".to_owned(),
        11 => "SIGSEGV".to_owned(),
        7 if cfg!(target_os = "linux") => "SIGBUS".to_owned(),
        10 if cfg!(target_vendor = "apple") => "SIGBUS".to_owned(),
        other => format!("signal {other}"),
    })
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::{out_of_memory, panic_message};

    #[test]
    fn a_panics_message_is_found() {
        let text = "noise\n\nthread '<unnamed>' (7) panicked at src/lib.rs:3:5:\nno such thing\nnote: run with";
        assert_eq!(panic_message(text).as_deref(), Some("no such thing"));
        assert_eq!(panic_message("thread pool ready"), None);
    }

    #[test]
    fn the_end_of_memory_is_told_apart() {
        assert!(out_of_memory("noise\nmemory allocation of 1048576 bytes failed\n"));
        assert!(out_of_memory(
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc"
        ));
        assert!(!out_of_memory("memory allocation is none of my business"));
    }
}
