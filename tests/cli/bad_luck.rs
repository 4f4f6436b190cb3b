//! Disks that are full, places that cannot be written to, training that diverges: nothing that was saved is lost.

use std::fs;

use crate::{host::Host, micro::MICRO, record::Record};

fn micro() -> Host {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    host
}

fn resume(record: &Record) -> String {
    format!("run --resume {}", record.0.display())
}

fn is_a_good_checkpoint(record: &Record) {
    assert!(!fer_train::read_safetensors(&record.last()).unwrap().is_empty());
}

#[test]
fn a_loss_that_is_no_number_stops_names_its_origin_and_keeps_the_last_state() {
    let host = micro();
    // One update of this size is enough: the next loss is not finite.
    let sets = "--set optimiser.learning_rate=1e30 --set checkpoint_every=1";
    let parts = [
        "the loss is",
        "epoch 1, step 2",
        "the first value that is not finite: ",
        "in backbone.",
        "last.safetensors",
        "learning rate",
    ];
    host.run(&format!("run micro.ron --out runs {sets}")).refused(&parts);
    let record = Record::only(&host, "runs");
    is_a_good_checkpoint(&record);
    assert_eq!(record.lines().len(), 1);
    // Resumed, it is the same training: it gets as far, and says the same.
    host.run(&resume(&record)).refused(&parts);
    is_a_good_checkpoint(&record);
}

/// One update an epoch: what it broke shows in validation first.
#[test]
fn divergence_that_validation_meets_is_explained_too() {
    let host = micro();
    let sets = "--set optimiser.learning_rate=1e30 --set batch=64";
    let parts = [
        "on the validation images, logits",
        "the first value that is not finite: ",
        "in backbone.",
        "help: try a lower",
    ];
    host.run(&format!("run micro.ron --out runs {sets}")).refused(&parts);
    assert_eq!(Record::only(&host, "runs").lines().len(), 1);
}

#[test]
fn a_run_folder_that_cannot_be_made() {
    let host = micro();
    host.run("run micro.ron --out micro.ron/runs")
        .refused(&["cannot create the run folder micro.ron/runs", "help: --out"]);
}

#[test]
fn a_checkpoint_that_cannot_be_written() {
    let host = micro();
    host.run("run micro.ron --out runs").ok();
    let record = Record::only(&host, "runs");
    fs::remove_file(record.file("results.json")).unwrap();
    fs::remove_file(record.last()).unwrap();
    fs::create_dir_all(record.last().join("in the way")).unwrap();
    host.run(&resume(&record)).refused(&["last.safetensors"]);
}

/// A file may not grow beyond a limit: what a full disk does, without filling one. With SIGXFSZ ignored the write fails.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_what_was_written_stays() {
    let host = micro();
    host.run("run micro.ron --out whole --set checkpoint_every=1").ok();
    let whole = Record::only(&host, "whole").outcome();
    // Checkpoints have about 100 KiB; `ulimit -f` counts blocks of 512 bytes (of 1024 in bash).
    let limited = |line: &str| host.shell(&format!("trap '' XFSZ; ulimit -f 16; exec \"$HOST\" {line}"));
    limited("run micro.ron --out runs --set checkpoint_every=1").refused(&["last.safetensors", "File too large"]);
    let record = Record::only(&host, "runs");
    assert_eq!(record.length(), 1);
    assert_eq!(names(&record), Vec::<String>::new(), "half a checkpoint was left");
    host.run(&resume(&record)).ok();
    record.outcome().same_as(&whole, "after the disk had room again");

    // With checkpoints there, a failed one leaves the older as it was.
    fs::remove_file(record.file("results.json")).unwrap();
    let before = fs::read(record.last()).unwrap();
    let limit = "trap '' XFSZ; ulimit -f 0; exec \"$HOST\"";
    host.shell(&format!("{limit} {}", resume(&record))).refused(&["File too large"]);
    assert!(fs::read(record.last()).unwrap() == before);
    host.run(&resume(&record)).ok();
    record.outcome().same_as(&whole, "after the disk had room again");
}

/// The signal's default is to kill: as any kill, it costs at most what came after the last checkpoint.
#[cfg(unix)]
#[test]
fn a_program_killed_by_its_limit_resumes() {
    let host = micro();
    host.run("run micro.ron --out whole --set checkpoint_every=1").ok();
    host.shell("ulimit -f 16; exec \"$HOST\" run micro.ron --out runs --set checkpoint_every=1");
    let record = Record::only(&host, "runs");
    assert!(!record.file("results.json").exists());
    assert!(names(&record).iter().any(|n| n.ends_with(".tmp")), "it was to be killed while saving");
    host.run(&resume(&record)).ok();
    let mut names = names(&record);
    names.sort();
    assert_eq!(names, ["best.safetensors", "last.safetensors"], "what was half written is gone");
    record.outcome().same_as(&Record::only(&host, "whole").outcome(), "killed by the limit");
}

#[cfg(unix)]
#[test]
fn a_trace_that_cannot_be_written() {
    let host = micro();
    let images = fer_engine::Tensor::f64([1, 3, 24, 24], vec![0.5; 3 * 24 * 24]);
    let inputs = [("images".to_owned(), images)].into();
    fer_train::write_safetensors(&host.path("in.safetensors"), &inputs, &Default::default()).unwrap();
    host.run("trace micro.ron --inputs in.safetensors --out micro.ron/out.safetensors").refused(&["out.safetensors"]);
    host.run("trace micro.ron --inputs none.safetensors --out out.safetensors").refused(&["none.safetensors"]);
}

/// Names of the checkpoint folder.
#[cfg(unix)]
fn names(record: &Record) -> Vec<String> {
    let entries = fs::read_dir(record.file("checkpoints")).unwrap();
    entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
