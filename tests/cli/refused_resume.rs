//! What a run must not be resumed with.

use std::fs;

use serde_json::Value;

use crate::{host::Host, micro::MICRO, record::Record};

/// A run that has its checkpoints and lacks its results.
fn unfinished() -> (Host, Record) {
    let host = Host::new();
    host.write("config.ron", MICRO);
    host.run("run config.ron --out runs").ok();
    let record = Record::only(&host, "runs");
    fs::remove_file(record.file("results.json")).unwrap();
    (host, record)
}

fn resume(record: &Record) -> String {
    format!("run --resume {}", record.0.display())
}

fn edit(record: &Record, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(record.file(file)).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(record.file(file), text.replace(from, to)).unwrap();
}

#[test]
fn changed_data() {
    let (host, record) = unfinished();
    edit(&record, "config.ron", "test: 24", "test: 32");
    host.run(&resume(&record)).refused(&["the data has changed", "test: 24", "test: 32", "help: "]);
}

#[test]
fn another_data_set_s_fingerprint_however_short() {
    let (host, record) = unfinished();
    let environment = record.json("environment.json");
    edit(&record, "environment.json", environment["data"]["fingerprint"].as_str().unwrap(), "x");
    host.run(&resume(&record)).refused(&["the data has changed"]);
}

#[test]
fn changed_plugins_unless_told_to() {
    let (host, record) = unfinished();
    let environment = record.json("environment.json");
    let plugins = environment["plugins"].as_array().unwrap();
    let swin = plugins.iter().find(|p| p["id"] == "swin").unwrap();
    let Value::String(hash) = &swin["sha256"] else { panic!("{swin}") };
    edit(&record, "environment.json", hash, &"0".repeat(64));
    host.run(&resume(&record)).refused(&["plugin libraries have changed", "swin", "--accept-changed-plugins"]);
    host.run(&format!("{} --accept-changed-plugins", resume(&record))).ok();
    assert!(record.file("results.json").is_file());
}

#[test]
fn a_checkpoint_of_another_model() {
    let (host, record) = unfinished();
    host.run("run config.ron --out wider --set model.backbone.embed_dim=16").ok();
    fs::copy(Record::only(&host, "wider").last(), record.last()).unwrap();
    host.run(&resume(&record)).refused(&["is a checkpoint of another model", "backbone."]);
}

#[test]
fn a_checkpoint_cut_short() {
    let (host, record) = unfinished();
    let whole = fs::read(record.last()).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(record.last(), &whole[..length]).unwrap();
        host.run(&resume(&record)).refused(&["last.safetensors", "is not a whole safetensors file"]);
    }
}

#[test]
fn a_weight_file_that_is_no_checkpoint() {
    let (host, record) = unfinished();
    let tensors = fer_train::read_safetensors(&record.last()).unwrap();
    fer_train::write_safetensors(&record.last(), &tensors, &Default::default()).unwrap();
    host.run(&resume(&record)).refused(&["last.safetensors", "is not a checkpoint"]);
}

#[test]
fn what_is_no_run_folder() {
    let host = Host::new();
    host.run("run --resume nowhere").refused(&["nowhere is no run folder", "config.ron", "help: "]);
}

#[test]
fn a_damaged_record_of_its_environment() {
    let (host, record) = unfinished();
    edit(&record, "environment.json", "\"seed\"", "\"sead\"");
    host.run(&resume(&record)).refused(&["environment.json cannot be read", "missing field `seed`", "help: "]);
}
