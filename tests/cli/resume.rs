//! A run that is stopped, in whatever way, and resumed ends with the same bits as one that never was.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    host::Host,
    micro::{EVERYTHING, MICRO},
    record::{Outcome, Record},
};

fn with(config: &str) -> Host {
    let host = Host::new();
    host.write("config.ron", config);
    host
}

fn unbroken(host: &Host, options: &str) -> Outcome {
    host.run(&format!("run config.ron --out unbroken {options}")).ok();
    Record::only(host, "unbroken").outcome()
}

fn start(host: &Host, arguments: &str) -> Child {
    host.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

/// Waits until the log of the run below `out` has so many lines, or the program has ended.
fn await_lines(host: &Host, out: &str, lines: usize, child: &mut Child) {
    let patience = Instant::now() + Duration::from_secs(60);
    while Record::awaited(host, out).is_none_or(|r| r.length() < lines) && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < patience, "the run does not get anywhere");
        sleep(Duration::from_millis(1));
    }
}

/// A little time that no two runs of this test share.
fn some_microseconds(limit: u64) -> Duration {
    let nanoseconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    Duration::from_micros(u64::from(nanoseconds / 7) % limit)
}

fn killed_and_resumed_until_done(config: &str, kills: &[usize]) {
    let host = with(config);
    let whole = unbroken(&host, "");
    for &lines in kills {
        let record = Record::awaited(&host, "broken");
        let arguments = match &record {
            None => "run config.ron --out broken".to_owned(),
            Some(record) => format!("run --resume {}", record.0.display()),
        };
        let mut child = start(&host, &arguments);
        await_lines(&host, "broken", lines, &mut child);
        sleep(some_microseconds(15_000));
        // SIGKILL: nothing is tidied up.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let record = Record::only(&host, "broken");
    host.run(&format!("run --resume {}", record.0.display())).ok();
    record.outcome().same_as(&whole, "killed");
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    killed_and_resumed_until_done(MICRO, &[1, 3, 5, 8]);
}

/// An epoch is 7 updates and its own line, 8 lines: kills fall within epochs, at checkpoints, at an epoch's end and in judging.
#[test]
fn a_killed_run_with_every_kind_of_state_resumes_to_the_same_bits() {
    killed_and_resumed_until_done(EVERYTHING, &[1, 2, 5, 7, 8, 12, 15, 16, 21, 23]);
}

/// That patience is used up is known from the checkpoint alone.
#[test]
fn a_run_stopped_early_stays_stopped_when_resumed() {
    let host = with(MICRO);
    let sets =
        "--set epochs=6 --set early_stopping=(patience:1) --set criterion=Accuracy --set optimiser.learning_rate=1e-9";
    let whole = unbroken(&host, sets);
    assert_eq!(whole.results["stopped_early"], true, "the experiment must stop early to say anything");
    let record = Record::only(&host, "unbroken");
    // As if killed after the last epoch was judged and before the results were written.
    fs::remove_file(record.file("results.json")).unwrap();
    host.run(&format!("run --resume {}", record.0.display())).ok();
    record.outcome().same_as(&whole, "killed before its results");
}

#[cfg(unix)]
#[test]
fn control_c_saves_says_how_to_resume_and_ends_with_130() {
    let host = with(EVERYTHING);
    // Long enough that the signal comes before the end.
    let sets = "--set epochs=8";
    let whole = unbroken(&host, sets);
    let child = host
        .command(&format!("run config.ron --out broken {sets}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    await_lines(&host, "broken", 3, &mut child);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    let record = Record::only(&host, "broken");
    let command = err.lines().find_map(|l| l.strip_prefix("help: fer-host ")).unwrap_or_else(|| panic!("{err}"));
    assert!(err.contains("stopped"), "{err}");
    assert!(!record.file("results.json").exists());
    // The command it says is the command to give.
    host.run(command).ok();
    record.outcome().same_as(&whole, "stopped by Ctrl-C");
}

#[test]
fn threads_and_workers_do_not_change_a_bit() {
    let host = with(EVERYTHING);
    let whole = unbroken(&host, "");
    for (threads, workers) in [("1", 1), ("1", 3), ("2", 3)] {
        let out = format!("t{threads}w{workers}");
        let arguments = format!("run config.ron --out {out} --set workers={workers}");
        let answer = crate::host::Answer::of(host.command(&arguments).env("RAYON_NUM_THREADS", threads));
        answer.ok();
        Record::only(&host, &out).outcome().same_as(&whole, &out);
    }
}

#[test]
fn checkpoints_do_not_change_the_course() {
    let host = with(EVERYTHING);
    let whole = unbroken(&host, "");
    host.run("run config.ron --out rare --set checkpoint_every=None").ok();
    Record::only(&host, "rare").outcome().same_as(&whole, "without checkpoints inside epochs");
}

#[test]
fn a_finished_run_is_left_alone() {
    let host = with(MICRO);
    let whole = unbroken(&host, "");
    let record = Record::only(&host, "unbroken");
    let said = host.run(&format!("run --resume {}", record.0.display())).ok();
    assert!(said.contains("is finished"), "{said}");
    let line = host.run(&format!("run --resume {} --json", record.0.display())).ok();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["results"], record.json("results.json"));
    record.outcome().same_as(&whole, "resumed when finished");
}
