//! `fer-host weights`: files that lie here, and a hub on this machine.

use std::fs;

use fer_engine::Tensor;
use fer_train::{read_safetensors_with_metadata, write_safetensors};
use insta::assert_snapshot;
use serde_json::Value;

use crate::{
    host::{Answer, Host},
    hub::{Server, Trouble, sha256},
};

const REPO: &str = "owner/model";

/// A state dict as PyTorch writes it.
fn torch(name: &str) -> Vec<u8> {
    fs::read(format!("{}/weights/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

/// A fetch with this hub and a cache in the host's own folder.
fn fetch(host: &Host, endpoint: &str, arguments: &str) -> Answer {
    host.run_with_hub(endpoint, &format!("weights fetch {arguments}"))
}

fn with_model() -> (Host, Server) {
    let server = Server::start();
    server.file(REPO, "model.safetensors", &torch("mixed.safetensors"));
    server.file(REPO, "config.json", br#"{"architecture": "micro", "pretrained_cfg": {"input_size": [3, 24, 24]}}"#);
    (Host::new(), server)
}

#[test]
fn inspect_lists_what_a_file_holds() {
    let host = Host::new();
    host.write("checkpoint.pth", torch("checkpoint.pth"));
    host.write("mixed.safetensors", torch("mixed.safetensors"));
    assert_snapshot!("weights_inspect_torch", host.run("weights inspect checkpoint.pth").ok());
    assert_snapshot!("weights_inspect_safetensors", host.run("weights inspect mixed.safetensors").ok());
    let listed = json(&host.run("weights inspect mixed.safetensors --json").ok());
    assert_eq!(
        (&listed["format"], &listed["elements"], &listed["metadata"]["format"]),
        (&"safetensors".into(), &79.into(), &"pt".into())
    );
    let half = listed["tensors"].as_array().unwrap().iter().find(|t| t["name"] == "f16").unwrap();
    assert_eq!(*half, json(r#"{ "name": "f16", "type": "F16", "shape": [1, 2], "elements": 2, "bytes": 4 }"#));
}

#[test]
fn inspect_refuses_what_is_no_weight_file() {
    let host = Host::new();
    host.write("page.pth", "<!DOCTYPE html>");
    host.write("model.pth", torch("whole.pth"));
    host.run("weights inspect page.pth").refused(&["is a web page", "help: "]);
    host.run("weights inspect model.pth").refused(&["asks for", "nothing of it was executed", "help: "]);
    host.run("weights inspect none.pth").refused(&["cannot read none.pth"]);
}

#[test]
fn convert_keeps_names_and_values() {
    let host = Host::new();
    host.write("mixed.pth", torch("mixed.pth"));
    host.write("mixed.safetensors", torch("mixed.safetensors"));
    host.run("weights convert mixed.pth new.safetensors").ok();
    let (new, metadata) = read_safetensors_with_metadata(&host.path("new.safetensors")).unwrap();
    let (old, _) = read_safetensors_with_metadata(&host.path("mixed.safetensors")).unwrap();
    assert_eq!((new, metadata["format"].as_str()), (old, "pt"));
    let told = host.run("weights convert mixed.pth again.safetensors").ok();
    assert_eq!(fs::read(host.path("new.safetensors")).unwrap(), fs::read(host.path("again.safetensors")).unwrap());
    assert_eq!(told, "again.safetensors: 14 tensors\n");
}

#[test]
fn convert_replaces_nothing_unasked() {
    let host = Host::new();
    host.write("checkpoint.pth", torch("checkpoint.pth"));
    let old = [("a".to_owned(), Tensor::f32([1], vec![1.0]))].into();
    write_safetensors(&host.path("out.safetensors"), &old, &[].into()).unwrap();
    let before = fs::read(host.path("out.safetensors")).unwrap();
    let line = "weights convert checkpoint.pth out.safetensors";
    host.run(line).refused(&["out.safetensors exists", "--force"]);
    host.run("weights convert none.pth out.safetensors --force").refused(&["cannot read none.pth"]);
    assert_eq!(fs::read(host.path("out.safetensors")).unwrap(), before);
    let told = host.run(&format!("{line} --force")).ok();
    assert!(told.contains("note: the tensors are those of \"model\""), "{told}");
    host.run("weights convert checkpoint.pth out.pth").refused(&["is not named so", "checkpoint.pth out.safetensors"]);
}

#[test]
fn fetch_prints_the_path_and_tells_the_rest_beside_it() {
    let (host, server) = with_model();
    let answer = fetch(&host, &server.endpoint, REPO);
    let told = answer.err.clone();
    let path = answer.ok();
    assert_eq!(fs::read(path.trim_end()).unwrap(), torch("mixed.safetensors"));
    assert!(
        told.contains("fetching owner/model: 0 B of 1.2 KiB\nfetching owner/model: 1.2 KiB of 1.2 KiB\n"),
        "{told}"
    );
    assert!(told.contains("its sha256 is the hub's") && told.contains("micro, images 3 x 24 x 24"), "{told}");
    // Again, with the hub gone: from the cache, and without a word of fetching.
    let again = fetch(&host, "http://127.0.0.1:1", &format!("{REPO} --json"));
    assert!(!again.err.contains("fetching"), "{}", again.err);
    let fetched = json(&again.ok());
    assert_eq!((&fetched["downloaded"], &fetched["verified"]), (&false.into(), &true.into()));
    assert_eq!(fetched["sha256"], sha256(&torch("mixed.safetensors")));
    assert_eq!((&fetched["path"], &fetched["card"]["architecture"]), (&path.trim_end().into(), &"micro".into()));
}

#[test]
fn fetch_says_what_to_do() {
    let (host, server) = with_model();
    let refused = |name: &str, parts: &[&str]| fetch(&host, &server.endpoint, name).refused(parts);
    refused("resnet50", &["it has no owner", "help: write owner/name"]);
    refused("owner/modle", &["the hub has no repository \"owner/modle\"", "help: "]);
    refused("owner/model:model.bin", &["no file \"model.bin\"", "name one: owner/model:model.safetensors"]);
    server.trouble(Trouble::Status { path: "/resolve/", status: 401, code: Some("GatedRepo"), times: 1 });
    refused(REPO, &["is gated (401)", "HF_TOKEN"]);
    // Trouble that passes is nobody's business.
    server.trouble(Trouble::Status { path: "/resolve/", status: 503, code: None, times: 1 });
    let answer = fetch(&host, &server.endpoint, REPO);
    assert!(!answer.err.to_lowercase().contains("retry") && !answer.err.contains("ERROR"), "{}", answer.err);
    answer.ok();
    fetch(&host, "http://127.0.0.1:1", "owner/other").refused(&[
        "cannot be reached",
        "set HF_ENDPOINT to a mirror",
        "File(",
    ]);
}
