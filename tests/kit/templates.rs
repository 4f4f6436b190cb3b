//! What `fer-host plugin new` writes builds, passes its tests, and is loaded.

use std::fs;

use crate::workshop::{Packages, Workshop, done, root};

/// An experiment that takes a component of each kind.
fn config(kind: &str, id: &str) -> String {
    let named = |of: &str, usual: &'static str| if of == kind { format!("(plugin: {id:?})") } else { usual.to_owned() };
    format!(
        "Experiment(name: \"kit\", data: Builtin(train: 32, validation: 16, test: 16, size: 24),\n\
         model: (resizers: [{}], backbone: {}), loss: {},\n\
         optimiser: Sgd(learning_rate: 0.1), epochs: 1, batch: 16, seed: 1)",
        named("resizer", "(plugin: \"bilinear\", size: 32)"),
        named("backbone", "(plugin: \"vgg16-bn\", depths: [1], channels: [4], num_features: 8)"),
        named("loss", "\"cross-entropy\""),
    )
}

fn builds_and_passes(kind: &str) {
    let workshop = Workshop::new();
    let id = format!("my-{kind}");
    let version = Packages::get().version("fer-sdk");
    let told = workshop.host(&["plugin", "new", &id, "--kind", kind, "--sdk-version", version]);
    assert!(told.contains("cargo test"), "{told}");
    let tested = workshop.cargo(&id, &["test"]);
    assert!(tested.contains("test result: ok. 5 passed"), "{tested}");
    workshop.cargo(&id, &["build"]);
    workshop.cargo(&id, &["fmt", "--check"]);
    let shown = in_use(&workshop, &id, &["plugin", "show", &id]);
    assert!(shown.starts_with(&format!("{kind} {id} 0.1.0\n")) && shown.contains("default"), "{shown}");
    fs::write(workshop.path("config.ron"), config(kind, &id)).expect("a file");
    let trained = in_use(&workshop, &id, &["run", "config.ron"]);
    assert!(trained.contains("accuracy"), "{trained}");
}

/// The program, told where the crate's library lies.
#[track_caller]
fn in_use(workshop: &Workshop, id: &str, arguments: &[&str]) -> String {
    let libraries = workshop.path(id).join("target/debug");
    done(workshop.host_command(arguments).env("FER_PLUGIN_PATH", libraries))
}

#[test]
fn a_loss() {
    builds_and_passes("loss");
}

#[test]
fn a_resizer() {
    builds_and_passes("resizer");
}

#[test]
fn a_backbone() {
    builds_and_passes("backbone");
}

/// Compiling the same sources again would say nothing new: that cargo finds them is enough.
#[test]
fn the_sdk_may_be_a_checkout() {
    let workshop = Workshop::new();
    let sdk = root().join("core/sdk");
    workshop.host(&["plugin", "new", "mine", "--kind", "loss", "--sdk-path", sdk.to_str().expect("UTF-8")]);
    let tree = workshop.cargo("mine", &["tree", "--depth", "1", "--prefix", "none"]);
    for (name, place) in [("fer-sdk", "core/sdk"), ("fer-contract", "core/contract"), ("fer-registry", "host/registry")]
    {
        let folder = fs::canonicalize(root().join(place)).expect("a folder");
        let found =
            tree.lines().any(|line| line.starts_with(name) && line.contains(&format!("({})", folder.display())));
        assert!(found, "{name} is not taken from {}:\n{tree}", folder.display());
    }
}

/// A packaged crate has what a registry asks for, and none of the workspace's own files is needed to build it.
#[test]
fn packages_are_complete() {
    let packages = Packages::get();
    for name in ["fer-abi", "fer-graph", "fer-sdk-derive", "fer-sdk", "fer-contract", "fer-registry"] {
        packages.version(name);
    }
    // One `--sdk-version` stands for what a plugin and its tests depend on, and for what the host speaks.
    for name in ["fer-sdk", "fer-contract", "fer-registry"] {
        assert_eq!(packages.version(name), fer_abi::VERSION, "{name}");
    }
    for (name, _, folder) in &packages.crates {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        for key in ["description = ", "license = ", "rust-version = ", "edition = "] {
            assert!(manifest.contains(&format!("\n{key}")), "{name} has no {key}");
        }
        assert!(!manifest.contains("path = \"../"), "{name} depends on a folder of the workspace:\n{manifest}");
        let entries = fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").file_name());
        let known = ["Cargo.toml", "Cargo.toml.orig", ".cargo_vcs_info.json", "README.md", "src"];
        for entry in entries {
            assert!(known.iter().any(|k| entry == *k), "{name} packs {}", entry.display());
        }
    }
}
