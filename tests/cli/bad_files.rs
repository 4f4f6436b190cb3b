//! Files that are given to `trace`, `eval` and `predict` and are not what they should be.

use std::{collections::BTreeMap, fs};

use fer_engine::Tensor;
use fer_train::{read_safetensors, write_safetensors};

use crate::{host::Host, micro::MICRO, record::Record};

/// A host with the micro experiment and a file of images for a trace.
fn traced() -> Host {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    inputs(&host, &[("images", Tensor::f64([2, 3, 24, 24], vec![0.5; 2 * 3 * 24 * 24]))]);
    host
}

fn inputs(host: &Host, tensors: &[(&str, Tensor)]) {
    let tensors = tensors.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
    write_safetensors(&host.path("in.safetensors"), &tensors, &BTreeMap::new()).unwrap();
}

const TRACE: &str = "trace micro.ron --inputs in.safetensors --out out.safetensors";

#[test]
fn inputs_that_do_not_fit_the_graph() {
    let host = traced();
    inputs(&host, &[("images", Tensor::f64([2, 3], vec![0.5; 6]))]);
    host.run(TRACE).refused(&["\"images\" must be [n, c, h, w]", "[2, 3]"]);
    inputs(&host, &[("logits", Tensor::f64([2, 7], vec![0.5; 14])), ("labels", Tensor::i32([2], vec![0, 1]))]);
    host.run(TRACE).refused(&["\"logits\" must be f[2,8]"]);
    inputs(&host, &[("feature", Tensor::f64([1, 16], vec![0.5; 16]))]);
    host.run(TRACE).refused(&["no input or value \"feature\"", "values: ", "did you mean \"features\"?"]);
    inputs(&host, &[("labels", Tensor::i32([2], vec![0, 1]))]);
    host.run(TRACE).refused(&["the inputs hold no \"images\""]);
}

#[test]
fn labels_beyond_the_classes() {
    let host = traced();
    let logits = Tensor::f64([2, 8], (0..16).map(f64::from).collect());
    inputs(&host, &[("logits", logits), ("labels", Tensor::i32([2], vec![3, 8]))]);
    let answer = host.run(TRACE);
    assert!(!answer.err.contains("panicked"), "{}", answer.err);
}

#[test]
fn a_gradient_without_an_objective() {
    traced().run(&format!("{TRACE} --grad")).refused(&["there is no loss to differentiate", "cotangent/<value>"]);
}

#[test]
fn a_pattern_that_matches_no_value() {
    traced().run(&format!("{TRACE} --values resizer.*")).refused(&["matches no named value", "resizers.0"]);
}

#[test]
fn weights_of_another_model() {
    let host = traced();
    host.run("run micro.ron --out wider --set model.backbone.embed_dim=16 --set epochs=1").ok();
    let weights = Record::only(&host, "wider").last();
    let line = format!("{TRACE} --weights {}", weights.display());
    host.run(&line).refused(&["the weights are not those of this model"]);
    let cut = fs::read(&weights).unwrap();
    fs::write(&weights, &cut[..cut.len() / 2]).unwrap();
    host.run(&line).refused(&["is not a whole safetensors file"]);
}

#[test]
fn a_run_without_or_with_damaged_weights() {
    let host = traced();
    host.run("run micro.ron --out runs").ok();
    let record = Record::only(&host, "runs");
    let best = record.file("checkpoints/best.safetensors");
    let run = record.0.display();
    host.write("face.pgm", [b"P5\n24 24\n255\n".to_vec(), vec![9; 24 * 24]].concat());
    let commands = [format!("eval {run}"), format!("predict {run} face.pgm")];
    let whole = fs::read(&best).unwrap();
    fs::write(&best, &whole[..whole.len() - 9]).unwrap();
    commands.iter().for_each(|c| drop(host.run(c).refused(&["best.safetensors", "is not a whole safetensors file"])));
    fs::remove_file(&best).unwrap();
    commands.iter().for_each(|c| drop(host.run(c).refused(&["best.safetensors"])));
    // The weights of the last epoch are still there.
    host.run(&format!("eval {run} --weights last")).ok();
}

#[test]
fn what_is_no_run() {
    let host = traced();
    for command in ["eval nowhere", "predict nowhere micro.ron", "run --resume nowhere"] {
        host.run(command).refused(&["nowhere", "help: "]);
    }
    host.run("run micro.ron --out runs").ok();
    // The folder of an experiment's runs will do: the newest is taken.
    let record = Record::only(&host, "runs");
    assert_eq!(host.run("eval runs/micro").ok(), host.run(&format!("eval {}", record.0.display())).ok());
    assert!(!read_safetensors(&record.last()).unwrap().is_empty());
}
