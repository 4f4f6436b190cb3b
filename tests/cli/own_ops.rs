//! Ops of a plugin's own, with and without the kernels that come with them.

use std::path::Path;

use crate::{
    host::{Host, PROGRAM},
    micro::MICRO,
};

fn config(host: &Host, loss: &str) {
    host.write(
        "own.ron",
        MICRO.replace("(plugin: \"f-pdls\", alpha: 0.8, gamma: 2.0)", &format!("(plugin: \"{loss}\")")),
    );
}

/// The losses of the fixture whose kernels are sound and not.
fn mutants() -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let beside = Path::new(PROGRAM).parent().expect("the program lies in a folder");
    beside.join("examples").join(format!("{DLL_PREFIX}mutant_kernels{DLL_SUFFIX}")).display().to_string()
}

#[test]
fn kernels_are_used_unless_they_are_switched_off() {
    let host = Host::new();
    config(&host, "example-brier");
    let profile = |options: &str| host.run(&format!("profile own.ron --steps 1 {options}")).ok();
    let used = profile("");
    assert!(used.contains("example.brier_terms ") && used.contains("example.brier_terms_vjp "), "{used}");
    assert!(!profile("--no-fuse example.brier_terms").contains("brier"));
    let forward = profile("--no-fuse example.brier_terms_vjp");
    assert!(forward.contains("example.brier_terms ") && !forward.contains("brier_terms_vjp"), "{forward}");
    let told = profile("--op example.brier_terms");
    assert!(told.contains("example.brier_terms ") && !told.contains("linear"), "{told}");
    host.run("profile own.ron --op example.brier_term")
        .refused(&["the step has no call of \"example.brier_term\"", "did you mean \"example.brier_terms\"?"]);
    host.run("profile own.ron --no-fuse example.brier_term")
        .refused(&["there is no kernel \"example.brier_term\" to switch off", "did you mean \"example.brier_terms\"?"]);
    // The reference engine knows no kernel.
    host.run("run own.ron --engine dfdx --set epochs=1").ok();
}

#[test]
fn a_step_with_own_ops_is_text_that_parses_back() {
    let host = Host::new();
    for loss in ["example-brier", "example-focal"] {
        config(&host, loss);
        let text = host.run("graph own.ron --format text --full --stage step").ok();
        assert!(text.starts_with("op example."), "{text}");
        let graph = fer_graph::parse(&text).expect("it parses");
        assert_eq!(fer_graph::print(&graph, fer_graph::PrintOptions::EXACT).trim_end(), text.trim_end());
    }
}

#[test]
fn kernels_are_shown_and_those_for_cuda_are_said_to_be_carried_only() {
    let shown = Host::new().run("plugin show example-brier").ok();
    for part in [
        "    cpu example.brier_terms 1\n    cpu example.brier_terms_vjp 1\n",
        "    cuda example.brier_terms 1: brier_terms, for each element, blocks of 128, source of ",
        "those for cuda are carried only: this fer-host has no engine that runs them",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_kernel_that_is_not_its_op_ends_a_run_before_its_first_step() {
    let host = Host::new();
    let mutants = mutants();
    let run = |options: &str| {
        crate::host::Answer::of(
            host.command(&format!("run own.ron --set epochs=1 {options}")).env("FER_PLUGIN_PATH", &mutants),
        )
    };
    config(&host, "wrong-gradient");
    run("").refused(&[
        "the kernel for mutant.wrong_gradient_vjp in ",
        "mutant_kernels",
        "of result 0 is ",
        ", the op means ",
        "--no-fuse mutant.wrong_gradient computes the op by what it means",
    ]);
    run("--no-fuse mutant.wrong_gradient").ok();
    config(&host, "panicking-kernel");
    // The kernel's own panic is on standard error as well, for it runs in this process.
    let panicked = run("");
    assert_eq!(panicked.code, Some(1), "{}", panicked.err);
    for part in ["error: the kernel for mutant.panics in ", "it answers error 2"] {
        assert!(panicked.err.contains(part), "{part:?} is not in:\n{}", panicked.err);
    }
    config(&host, "sound-kernel");
    run("").ok();
}
