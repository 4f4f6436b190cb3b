//! Runs a prober and turns whatever becomes of it into an answer.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use crate::{
    error::Fault,
    info::ComponentInfo,
    load::one_line,
    probe::{ARGUMENT, INSIDE, MARK, Message, Stage},
};

/// Kept of the child's standard output: more than the largest answer that passes its checks.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
/// Kept of the child's standard error.
const LONGEST_COMPLAINT: usize = 64 * 1024;
/// How long after the child's end its pipes may stay open (a grandchild may hold them for ever).
const DRAIN: Duration = Duration::from_millis(500);

/// Lets `program` load and describe a library.
pub(crate) fn ask(program: &Path, limit: Duration, library: &Path) -> Result<Vec<ComponentInfo>, Fault> {
    if std::env::var_os(INSIDE).is_some() {
        return Err(Fault::new("not probed: this program is itself a probe and did not call probe_main first"));
    }
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .arg(library)
        .arg(limit.as_millis().to_string())
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Fault::new(format!("cannot be probed: {}: {error}", program.display())))?;
    let output = drain(child.stdout.take(), LONGEST_ANSWER);
    let complaint = drain(child.stderr.take(), LONGEST_COMPLAINT);
    let status = wait(&mut child, limit);
    let output = output.recv_timeout(DRAIN).unwrap_or_default();
    let complaint = complaint.recv_timeout(DRAIN).unwrap_or_default();
    let ended = Ended {
        program,
        limit,
        status: status.map_err(|error| Fault::new(format!("cannot be probed: {error}")))?,
        complaint: String::from_utf8_lossy(&complaint).into_owned(),
    };
    ended.answer(&String::from_utf8_lossy(&output))
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
        pause = (pause * 2).min(Duration::from_millis(8));
    }
}

/// How a child ended.
struct Ended<'a> {
    program: &'a Path,
    limit: Duration,
    /// `None`: killed after the limit.
    status: Option<ExitStatus>,
    complaint: String,
}

impl Ended<'_> {
    fn answer(self, output: &str) -> Result<Vec<ComponentInfo>, Fault> {
        let mut stage = None;
        let mut components = None;
        for line in output.lines() {
            let Some(text) = line.strip_prefix(MARK) else {
                continue;
            };
            match serde_json::from_str(text) {
                Ok(Message::Stage(next)) => stage = Some(next),
                Ok(Message::Components(list)) => components = Some(list),
                Ok(Message::Fault(fault)) => return Err(self.with_panic(fault)),
                // The line was cut by the child's end, which is explained below.
                Err(_) => {}
            }
        }
        match (self.status, components) {
            (Some(status), Some(components)) if status.success() => Ok(components),
            _ => Err(self.explain(stage)),
        }
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
            Some(Stage::Exit) => "when the program ends",
        };
        let Some(status) = self.status else {
            return self.fault(format!("hangs {during} (no answer in {} s)", self.limit.as_secs_f64()));
        };
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
    use super::panic_message;

    #[test]
    fn a_panics_message_is_found() {
        let text = "noise\n\nthread '<unnamed>' (7) panicked at src/lib.rs:3:5:\nno such thing\nnote: run with";
        assert_eq!(panic_message(text).as_deref(), Some("no such thing"));
        assert_eq!(panic_message("thread pool ready"), None);
    }
}
