//! `fer-host plugin check`: wrong libraries are caught by the right property, sound ones pass, and a failure can be seen again.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use crate::host::{Answer, Host, PLUGINS, PROGRAM};

/// A library that was built beside the program, or below it.
fn library(name: &str) -> PathBuf {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = PathBuf::from(PROGRAM).with_file_name("").join(name);
    path.with_file_name(format!("{prefix}{}{suffix}", path.file_name().expect("a name").to_string_lossy()))
}

fn mutants() -> String {
    library("examples/mutants").display().to_string()
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.out).unwrap_or_else(|e| panic!("{e}: {}{}", answer.out, answer.err))
}

fn findings(component: &Value) -> &Vec<Value> {
    component["findings"].as_array().expect("findings")
}

fn failed(component: &Value) -> Vec<&Value> {
    findings(component).iter().filter(|f| f["outcome"] == "failed").collect()
}

#[test]
fn every_plugin_of_this_repository_holds_its_contract() {
    let host = Host::new();
    for plugin in PLUGINS.into_iter().chain(["loss_example_brier", "loss_example_focal"]) {
        let answer = host.run(&format!("plugin check --quick {}", library(plugin).display()));
        assert_eq!(answer.code, Some(0), "{plugin}:\n{}{}", answer.out, answer.err);
        assert!(answer.out.contains("properties hold"), "{}", answer.out);
    }
}

/// One run over all of them: a component that ends its process takes no other with it.
#[test]
fn mutants_are_caught_by_the_property_that_is_about_them() {
    let host = Host::new();
    let answer = host.run(&format!("plugin check --quick --json --limit 4 --memory 700 {}", mutants()));
    assert_eq!(answer.code, Some(1), "{}", answer.err);
    let report = json(&answer);
    let mut first = BTreeMap::new();
    let mut said = BTreeMap::new();
    for component in report["components"].as_array().expect("components") {
        let id = component["id"].as_str().expect("an id").to_owned();
        let failures = failed(component);
        first.insert(id.clone(), failures.first().map_or("", |f| f["property"].as_str().expect("a name")).to_owned());
        said.insert(id, failures.first().map_or("", |f| f["message"].as_str().expect("a message")).to_owned());
    }
    let expected: BTreeMap<String, String> = [
        ("sound", ""),
        ("refuses", "defaults build, or the user is told what to give"),
        ("panics", "building is total"),
        ("aborts", "building is total"),
        ("hangs", "building is total"),
        ("hoards", "building is total"),
        ("asks-too-much", "building is total"),
        ("overflows", "building is total"),
        ("counts", "the same request gives the same answer"),
        ("negative", "the loss is not negative"),
        ("larger", "gives the size it promises"),
        ("mixes", "a batch gives what its samples give alone"),
    ]
    .map(|(id, property)| (id.to_owned(), property.to_owned()))
    .into();
    assert_eq!(first, expected);
    for (id, part) in [
        ("panics", "panicked: no level"),
        ("hangs", "hangs: no answer for 4 s"),
        ("hoards", "takes more than 700 MiB of memory"),
        ("asks-too-much", "memory allocation of 36028797018963968 bytes failed"),
        ("overflows", "stack"),
        ("aborts", "ends the program (signal: 6"),
    ] {
        // Only Linux tells how much memory another process holds.
        if cfg!(target_os = "linux") || id != "hoards" {
            assert!(said[id].contains(part), "{id}: {}", said[id]);
        }
    }
}

/// A kernel is compared before anything is run that may use it.
#[test]
fn wrong_kernels_are_caught_by_what_their_ops_mean() {
    let host = Host::new();
    let answer = host.run(&format!("plugin check --quick --json {}", library("examples/mutant_kernels").display()));
    assert_eq!(answer.code, Some(1), "{}", answer.err);
    let report = json(&answer);
    for component in report["components"].as_array().expect("components") {
        let failures: Vec<&str> = failed(component).iter().map(|f| f["property"].as_str().expect("a name")).collect();
        let expected: &[&str] =
            if component["id"] == "sound-kernel" { &[] } else { &["kernels compute what their ops mean"] };
        assert_eq!(failures, expected, "{component}");
    }
}

fn only(host: &Host, id: &str, more: &str) -> (Answer, Value) {
    let answer = host.run(&format!("plugin check --quick --json --component {id} {more} {}", mutants()));
    let report = json(&answer);
    (answer, report["components"][0].clone())
}

/// The failure's numbers are the trace's.
#[test]
fn a_reproduction_shows_the_failure_again() {
    let host = Host::new();
    let (_, component) = only(&host, "negative", "");
    let failure = failed(&component)[0].clone();
    let message = failure["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("the loss is -"), "{message}");
    assert!(failure["case"].as_str().unwrap().contains("logits: f[1,2]"), "it is not small: {failure}");
    host.write("case.ron", failure["reproduction"].as_str().unwrap());
    let traced = host.run("trace case.ron --grad --out out.safetensors").ok();
    assert!(traced.contains(&format!("\"the loss is not negative\" does not hold: {message}")), "{traced}");
    // loss   f[]   norm   least   largest
    let row =
        traced.lines().find(|line| line.starts_with("loss ") && line.contains("f[]")).expect("the loss has a row");
    let shown: f64 = row.split_whitespace().last().unwrap().parse().unwrap();
    let found: f64 = message.trim_start_matches("the loss is ").parse().unwrap();
    assert!((shown - found).abs() <= 1e-6 * found.abs(), "{shown} is not {found}");
    assert!(traced.contains("grad/logits") && host.path("out.safetensors").is_file(), "{traced}");
}

/// What a process could not finish is said as far as it came, and can be looked at where it does no harm.
#[test]
fn a_crash_leaves_its_case() {
    let host = Host::new();
    let (answer, component) = only(&host, "aborts", "");
    assert_eq!(answer.code, Some(1));
    let failure = failed(&component)[0];
    assert_eq!(failure["shrunk"], false);
    assert!(failure["reproduction"].as_str().unwrap().contains("plugin: \"aborts\", level:"), "{failure}");
    let rest = findings(&component).iter().skip(1);
    assert!(rest.clone().count() > 15 && rest.clone().all(|f| f["outcome"] == "not_examined"), "{component}");
}

#[test]
fn a_panic_is_made_small() {
    let host = Host::new();
    let (_, component) = only(&host, "panics", "");
    let failure = failed(&component)[0].clone();
    assert!(failure["case"].as_str().unwrap().contains("options (level: 7)"), "{failure}");
    host.write("case.ron", failure["reproduction"].as_str().unwrap());
    let traced = host.run("trace case.ron").ok();
    assert!(traced.contains("\"building is total\" does not hold") && traced.contains("no level 7"), "{traced}");
}

#[test]
fn what_could_not_be_examined_is_not_ok() {
    let host = Host::new();
    let page = host.run(&format!("plugin check --quick --component refuses {}", mutants())).out;
    let line = page.lines().find(|l| l.contains("gradients are those of differences")).expect("its line");
    assert!(line.contains("not examined") && line.contains("nothing suits it"), "{line}");
}

#[test]
fn the_same_seed_gives_the_same_findings() {
    let host = Host::new();
    let without_times = |seed: u32| {
        let (_, component) = only(&host, "negative", &format!("--seed {seed}"));
        failed(&component)[0].clone()
    };
    assert_eq!(without_times(3), without_times(3));
}

/// Exit code 2: nothing is known of it.
#[test]
fn what_cannot_be_checked_is_said() {
    let host = Host::new();
    host.write("note.txt", "no library");
    let default = library("examples/mutant_default").display().to_string();
    for (arguments, parts) in [
        ("no_such_file.so".to_owned(), ["no_such_file.so is no library", "there is no such file"]),
        (".".to_owned(), ["is no library", "it is a folder"]),
        ("note.txt".to_owned(), ["note.txt cannot be used", "not a shared library"]),
        (
            format!("--component negatives {}", mutants()),
            ["has no component \"negatives\"", "did you mean \"negative\"?"],
        ),
        (default, ["cannot be used", "its default is not a whole number from 1 to 9"]),
    ] {
        let answer = host.run(&format!("plugin check --quick {arguments}"));
        assert_eq!(answer.code, Some(2), "{arguments}: {}{}", answer.out, answer.err);
        for part in parts {
            assert!(answer.err.contains(part), "{part:?} is not in {}", answer.err);
        }
    }
}

#[test]
fn a_wrong_reproduction_is_told_at_its_place() {
    let host = Host::new();
    for (text, parts) in [
        ("Reproduction(inputs: (images: [1]))", ["does not say which component", "its keys"]),
        (
            "Reproduction(resizer: (plugin: \"bilinear\", size: 4), inputs: (images: [1]))",
            ["images of 4 sizes", "case.ron:1"],
        ),
        (
            "Reproduction(resizer: (plugin: \"bilinear\", sise: 4), inputs: (images: [1, 3, 8, 8]))",
            ["no option \"sise\"", "size"],
        ),
        ("Reproduction(resizer: (plugin: \"bilinera\"), inputs: (images: [1, 3, 8, 8]))", ["bilinera", "bilinear"]),
        (
            "Reproduction(resizer: (plugin: \"bilinear\", size: 4), inputs: (images: [1, 3, 8, 8]), sed: 1)",
            ["no key \"sed\"", "seed"],
        ),
        (
            "Reproduction(resizer: (plugin: \"bilinear\", size: 4), inputs: (images: [99999999999, 3, 8, 8]))",
            ["images", "can be traced"],
        ),
        (
            "Reproduction(resizer: (plugin: \"bilinear\", size: 4), inputs: (images: [1, 3, 8, 8]), mode: Both)",
            ["Train or Eval", "Both"],
        ),
    ] {
        host.write("case.ron", text);
        host.run("trace case.ron").refused(&parts);
    }
    host.write(
        "case.ron",
        "Reproduction(resizer: (plugin: \"bilinear\", size: 4), inputs: (images: [1, 3, 8, 8]), seed: 5)",
    );
    assert!(host.run("trace case.ron").ok().contains("f[1,3,4,4]"));
    host.run("trace case.ron --set epochs=1").refused(&["traced without --set"]);
}
