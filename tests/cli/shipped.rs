//! The configs of this repository resolve, compose, and are what they say.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::host::Host;

/// Experiments: configs/base holds what they extend.
fn configs(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        match path.is_dir() {
            true if path.ends_with("base") => {}
            true => found.extend(configs(&path)),
            false if path.extension().is_some_and(|e| e == "ron") => found.push(path),
            false => {}
        }
    }
    found
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

#[test]
fn every_config_resolves_to_itself_and_composes() {
    let host = Host::new();
    let all = configs(&folder());
    assert!(all.len() >= 2, "{all:?}");
    for path in all {
        let plain = host.run(&format!("resolve {} --plain", path.display())).ok();
        host.write("again.ron", &plain);
        assert_eq!(host.run("resolve again.ron --plain").ok(), plain, "{}", path.display());
        host.run(&format!("graph {} --batch 2", path.display())).ok();
        host.run(&format!("graph {} --batch 2 --eval --data builtin", path.display())).ok();
    }
}

/// SR x8 and LTR before Swin-S, under the head with 512 hidden units. The parts are counted in their plugins' tests.
#[test]
fn the_papers_model_has_its_parts_parameters() {
    let path = folder().join("swin_nr_fpdls.ron");
    let out = Host::new().run(&format!("graph {} --batch 2 --format json --depth 1", path.display())).ok();
    let summary: Value = serde_json::from_str(&out).unwrap();
    let scopes = summary["scopes"].as_array().unwrap();
    let parameters = |scope: &str| {
        let of = |s: &&Value| s["scope"].as_str().unwrap().starts_with(scope);
        scopes.iter().filter(of).map(|s| s["parameters"].as_u64().unwrap()).sum::<u64>()
    };
    // timm's swin_small without its head: 48,837,258; the learned resizer: 12,083.
    assert_eq!(parameters("backbone"), 48_837_258);
    assert_eq!(parameters("resizers.1"), 12_083);
    // Linear 768 to 512, batch norm, linear 512 to 8.
    assert_eq!(parameters("head"), (768 + 1) * 512 + 2 * 512 + (512 + 1) * 8);
}
