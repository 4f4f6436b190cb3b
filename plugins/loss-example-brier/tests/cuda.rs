//! The CUDA source means what the op means: compiled as C++ with one thread after the other, it passes what a kernel for the CPU must.
//!
//! This says nothing of a device. It needs `g++`, and where there is none it says so and looks at the source's entries alone.

use std::{path::Path, process::Command, sync::OnceLock};

use fer_abi::{
    Kernel, KernelCall, KernelFunction,
    abi_stable::std_types::{RNone, RSome},
};
use fer_contract::{Contract, Domain, Subject, built_library, kernels::assert_kernels};
use fer_registry::{Component, Probe, Registry, SearchPath};

type Run = unsafe extern "C" fn(*const KernelCall) -> i32;

/// The forward kernel, and the adjoint for one and for two wanted cotangents.
static LOADED: OnceLock<[Run; 3]> = OnceLock::new();

fn loaded(which: usize, call: *const KernelCall) -> i32 {
    match LOADED.get() {
        // SAFETY: the caller's call is valid.
        Some(all) => unsafe { all[which](call) },
        None => -1,
    }
}

unsafe extern "C" fn forward(call: *const KernelCall) -> i32 {
    loaded(0, call)
}

unsafe extern "C" fn adjoint(call: *const KernelCall) -> i32 {
    // SAFETY: the caller's call is valid.
    loaded(unsafe { (*call).output_count }, call)
}

fn component() -> Component {
    let search = SearchPath::of([built_library(env!("CARGO_PKG_NAME"))]);
    let registry = Registry::scan(&search, &Probe::Off);
    registry.get("loss", "example-brier").expect("is there").clone()
}

/// A kernel's source as a library, with what the compilation is told.
fn compile(kernel: &Kernel, folder: &Path, name: &str, told: &[&str]) -> Run {
    std::fs::write(folder.join("kernel.cu"), kernel.source.as_bytes()).expect("written");
    let library = folder.join(name);
    let threads = kernel.launch.as_ref().into_option().expect("is launched").threads;
    let output = Command::new("g++")
        .args(["-std=c++17", "-O1", "-Wall", "-Werror", "-fPIC", "-shared", &format!("-DTHREADS={threads}u")])
        .args(told)
        .arg("-I")
        .arg(folder)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim.cpp"))
        .arg("-o")
        .arg(&library)
        .output()
        .expect("g++ starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // SAFETY: the library was just made of the shim and the kernel, which run nothing when they are loaded.
    let library = unsafe { libloading::Library::new(&library) }.expect("loads");
    // SAFETY: `run` of the shim has this type; the library stays loaded.
    unsafe { *Box::leak(Box::new(library)).get::<Run>(b"run").expect("has it") }
}

#[test]
fn the_cuda_source_means_the_same() {
    let component = component();
    let given = component.kernels().expect("an answer");
    let cuda = |adjoint: bool| given.iter().find(|k| k.device == "cuda" && k.adjoint == adjoint).expect("has both");
    for (adjoint, entry) in [(false, "void brier_terms("), (true, "void brier_terms_vjp(")] {
        assert!(cuda(adjoint).source.contains(&format!("extern \"C\" __global__ {entry}")));
    }
    if Command::new("g++").arg("--version").output().is_err() {
        eprintln!("there is no g++: the CUDA source was not compiled");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = "in[0].data(), in[1].data()";
    let launch = |entry: &str, more: &str| format!("-DLAUNCH={entry}({arguments}, {more})");
    let forward_told = launch("brier_terms", "out[0].data()");
    let one_told = launch("brier_terms_vjp", "in[2].data(), out[0].data()");
    let two_told = launch("brier_terms_vjp", "in[2].data(), out[0].data(), out[1].data()");
    let runs = [
        compile(cuda(false), folder.path(), "forward.so", &["-DCOTANGENTS=0", "-DOUTPUTS=1", &forward_told]),
        compile(cuda(true), folder.path(), "one.so", &["-DCOTANGENTS=1", "-DOUTPUTS=1", &one_told]),
        compile(cuda(true), folder.path(), "two.so", &["-DCOTANGENTS=1", "-DOUTPUTS=2", &two_told]),
    ];
    assert!(LOADED.set(runs).is_ok());
    let on_cpu = |adjoint: bool, run: Run| Kernel {
        device: "cpu".into(),
        function: RSome(KernelFunction { run }),
        source: "".into(),
        entry: "".into(),
        launch: RNone,
        ..cuda(adjoint).clone()
    };
    let kernels = [on_cpu(false, forward), on_cpu(true, adjoint)];
    let descriptor = component.descriptor().clone();
    let subject = Subject::new(descriptor, move |request| component.build(request)).with_kernels("terms.cu", &kernels);
    assert_kernels(&Contract { domain: Domain::of(&subject), subject, laws: vec![] });
}
