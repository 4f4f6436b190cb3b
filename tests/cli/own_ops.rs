//! Ops of a plugin's own, with and without the kernels that come with them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fer_autodiff::gradients;
use fer_contract::{Case, Subject, truth};
use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{
    Engine, Feeds, Precision, Tensor,
    kernel::{CudaFunction, CustomKernel, Kernels},
};
use fer_engine_cuda::{CudaEngine, Options};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph};
use fer_registry::{Probe, Registry, SearchPath};

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

/// A library below the program's folder.
fn library(folder: &str, name: &str) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let beside = Path::new(PROGRAM).parent().expect("the program lies in a folder");
    beside.join(folder).join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"))
}

/// The losses of the fixture whose kernels are sound and not.
fn mutants() -> String {
    library("examples", "mutant_kernels").display().to_string()
}

/// The example's loss of six samples with the gradient of its logits, and the CUDA sources that its library brings.
pub fn brier() -> (Graph, Kernels<CudaFunction>) {
    let registry = Registry::scan(&SearchPath::of([library("", "loss_example_brier")]), &Probe::Off);
    let component = registry.get("loss", "example-brier").expect("run `cargo build --workspace` first").clone();
    let given = component.kernels().expect("an answer");
    let kernels = given.iter().filter_map(|kernel| CustomKernel::of_library("brier", kernel)).collect();
    let subject = Subject::new(component.descriptor().clone(), move |request| component.build(request));
    let case = Case { options: vec![], inputs: truth(6, 8), training: true, seed: 1 };
    let b = Builder::resume(subject.graph(&case).expect("builds"));
    let (loss, logits) = b.look(|g| (g.outputs[0].1, g.argument("logits").expect("a loss reads them").value));
    let found = gradients(&b, loss, &[logits]).expect("is differentiated");
    b.output("gradient", found[0].expect("depends on them"));
    (b.finish(), Kernels::new(kernels))
}

/// Compared with their op on the device before the first step, they are what the step runs.
#[test]
fn a_library_s_cuda_sources_run_in_the_emulator() {
    let (graph, kernels) = brier();
    let engine = CudaEngine::new(Arc::new(EmulatedDevice::new()), Options { kernels, ..Options::default() });
    let reference = DfdxEngine::new(Precision::F64);
    let input = |(i, argument): (usize, &fer_graph::Argument)| {
        let ty = graph.ty(argument.value);
        let numbers = fer_engine::uniform([1, 0, 0], i as u32, ty.elements()).collect();
        (argument.name.clone(), Tensor::f64(ty.shape.clone(), numbers))
    };
    let feeds: Feeds = graph.arguments.iter().enumerate().map(input).collect();
    let truth = reference.compile(&graph).and_then(|e| e.run(reference.store().as_mut(), &feeds)).expect("runs");
    let executable = engine.compile(&graph).expect("the sources are what their op means");
    let mut calls = vec![];
    let mut see = |call: &fer_engine::Call, _| calls.push(call.op.to_string());
    let ours = executable.run_timed(engine.store().as_mut(), &feeds, &mut see).expect("runs");
    for op in ["example.brier_terms", "example.brier_terms_vjp"] {
        assert_eq!(calls.iter().filter(|call| *call == op).count(), 1, "{calls:?}");
    }
    for name in ["loss", "gradient"] {
        for (a, b) in ours[name].to_f64().iter().zip(truth[name].to_f64()) {
            // f32 against f64, of a handful of numbers about 1.
            assert!((a - b).abs() <= 1e-6, "{name}: {a} and {b}");
        }
    }
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
fn kernels_are_shown_with_the_device_that_they_are_for() {
    let shown = Host::new().run("plugin show example-brier").ok();
    for part in [
        "    cpu example.brier_terms 1\n    cpu example.brier_terms_vjp 1\n",
        "    cuda example.brier_terms 1: brier_terms, for each element, blocks of 128, source of ",
        "    cuda example.brier_terms_vjp 1: brier_terms_vjp, for each element, blocks of 128, source of ",
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
