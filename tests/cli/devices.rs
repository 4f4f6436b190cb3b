//! Devices: what is shown of a machine, and what is said where a card is asked for that cannot be used. The tests hide the cards that a
//! machine may have.

use serde_json::Value;

use crate::{host::Host, micro::MICRO};

fn json(host: &Host) -> Value {
    serde_json::from_str(&host.run("devices --json").ok()).expect("JSON")
}

#[test]
fn every_machine_shows_its_processor_and_why_cuda_is_not_usable() {
    let host = Host::new();
    let text = host.run("devices").ok();
    assert!(text.starts_with("cpu "), "{text}");
    let shown = json(&host);
    assert!(shown["cpu"]["threads"].as_u64() >= Some(1), "{shown}");
    assert_eq!(shown["cuda"]["usable"], false);
    let why = shown["cuda"]["problem"]["problem"].as_str().expect("a reason");
    assert!(text.contains(&format!("cuda is not usable: {why}; --engine auto takes cpu")), "{text}");
    let help = shown["cuda"]["problem"]["help"].as_str().expect("something to do");
    assert!(text.contains(&format!("help: {help}")), "{text}");
    for part in ["driver", "NVRTC", "cublasLt"] {
        assert!(text.lines().any(|line| line.starts_with(part)), "nothing of {part} in:\n{text}");
    }
}

#[test]
fn a_library_that_is_named_and_is_none_is_told() {
    let host = Host::new();
    host.write("libnvrtc.so.13", "no library");
    let shown = |value: &std::path::Path| {
        let answer = crate::host::Answer::of(host.command("devices --json").env("FER_NVRTC", value)).ok();
        let shown: Value = serde_json::from_str(&answer).expect("JSON");
        shown["cuda"]["nvrtc"]["notes"][0].as_str().expect("a note").to_owned()
    };
    let file = host.path("libnvrtc.so.13");
    assert!(shown(&file).starts_with(&format!("{} cannot be opened: ", file.display())), "{}", shown(&file));
    host.write("empty/readme", "");
    let folder = host.path("empty");
    let said = shown(&folder);
    assert!(said.starts_with(&format!("{} (FER_NVRTC) has none of ", folder.display())), "{said}");
}

#[test]
fn a_card_that_cannot_be_used_is_refused_with_the_reason_and_what_to_do() {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    let problem = &json(&host)["cuda"]["problem"];
    let (why, help) = (problem["problem"].as_str().expect("a reason"), problem["help"].as_str().expect("a help"));
    let message = format!("error: cuda is not usable: {why}");
    for engine in ["cuda", "cuda:1"] {
        let parts = [message.as_str(), &format!("| --engine {engine}"), "asked for here"];
        let said = host.run(&format!("run micro.ron --engine {engine} --out runs")).refused(&parts);
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&format!("help: {help}")), "{said}");
        assert!(!host.path("runs").exists(), "a refused run left a folder");
    }
}

#[test]
fn auto_takes_the_processor_and_says_why() {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    let answer = host.run("run micro.ron --dry-run -v");
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    assert!(answer.err.contains("engine cpu: cuda is not usable: "), "{}", answer.err);
    // What only a card computes is no choice of the processor's.
    host.run("run micro.ron --dry-run --precision tf32").refused(&["cuda is not usable: ", "--precision tf32"]);
}

#[test]
fn engines_that_are_misspelt() {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    for (typed, said) in [
        ("cudaa", "did you mean cuda?"),
        ("cuda:x", "\"x\" is no card's number: cuda:0 is the first; fer-host devices lists them"),
        ("cpu:1", "the engine cpu takes no number"),
    ] {
        let answer = host.run(&format!("run micro.ron --engine {typed}"));
        assert_eq!(answer.code, Some(2), "{}", answer.err);
        assert!(answer.err.contains(said), "{said:?} is not in:\n{}", answer.err);
    }
}
