//! Libraries that do in `build`, and elsewhere, what no library should: each is a line, and this process lives to read it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fer_abi::{BuildError, Fragment};
use fer_graph::import;
use fer_registry::{Probe, Registry, SearchPath};

fn file_name(name: &str) -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}{name}{DLL_SUFFIX}")
}

fn example(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("the test's program");
    let path = program.ancestors().nth(2).expect("target/<profile>/deps").join("examples").join(name);
    assert!(path.is_file(), "{}: build with --examples", path.display());
    path
}

fn fixture(name: &str) -> PathBuf {
    example(&file_name(&format!("fixture_{name}")))
}

/// Long enough for a machine that builds other things meanwhile, and as little memory as a program needs.
fn probe() -> Probe {
    let program = example(&format!("prober{}", std::env::consts::EXE_SUFFIX));
    Probe::child(program).with_limit(Duration::from_secs(20)).with_memory(256 << 20)
}

fn scan(path: &Path, probe: &Probe) -> Registry {
    Registry::scan(&SearchPath::of([path]), probe)
}

/// Builds the component of that id.
fn build(id: &str, probe: &Probe) -> Result<Fragment, BuildError> {
    let registry = scan(&fixture("troubles"), probe);
    assert_eq!(registry.problems(), []);
    let component = registry.get("loss", id).expect("is there");
    component.build(&component.request(Vec::new(), Vec::new(), true))
}

fn line(id: &str, probe: &Probe) -> String {
    let error = build(id, probe).expect_err(id);
    assert!(!error.message.contains('\n') && error.message.len() < 500, "{id}: {}", error.message);
    assert!(error.panicked, "{id}: a fault of the plugin");
    assert!(error.help.contains("fixture_troubles"), "{id}: {}", error.help);
    error.message.into()
}

#[test]
fn whatever_a_build_does_the_host_lives() {
    let probe = probe();
    for (id, part) in [
        ("panics", "panics while building: no graph comes to mind"),
        ("exits", "ends the program while building (exit status: 0)"),
        ("forges", "writes to standard output while its fragment is handed over, which damaged it"),
        ("no-text", "gives a text that is not UTF-8"),
        #[cfg(unix)]
        ("aborts", "crashes while building (SIGABRT)"),
        #[cfg(unix)]
        ("segfaults", "crashes while building (SIGSEGV)"),
        #[cfg(unix)]
        ("recurses", "crashes while building (SIG"),
        #[cfg(target_os = "linux")]
        ("eats-memory", "runs out of memory while building (it may take 256 MiB)"),
    ] {
        let line = line(id, &probe);
        assert!(line.starts_with(&format!("the library of loss \"{id}\" {part}")), "{line}");
    }
    assert!(import(&build("sound", &probe).expect("builds")).is_ok());
}

#[test]
fn a_build_that_hangs_is_killed_in_time() {
    let known = build("sound", &probe());
    assert!(known.is_ok());
    let start = Instant::now();
    let line = line("hangs", &probe().with_limit(Duration::from_millis(1500)));
    assert_eq!(line, "the library of loss \"hangs\" hangs while building (no answer in 1.5 s)");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_refusal_comes_as_it_was_given() {
    let error = build("refuses", &probe()).expect_err("refuses");
    assert_eq!((error.message.as_str(), error.option.as_str()), ("size 5 is \"odd\"", "size"));
    assert_eq!((error.help.as_str(), error.panicked), ("take 3,\nor 4", false));
    let error = build("says-too-much", &probe()).expect_err("refuses");
    assert!(
        error.message.len() < 20_000 && error.message.ends_with("... (100000000 bytes)"),
        "{}",
        error.message.len()
    );
}

#[test]
fn a_plugin_may_talk_while_it_builds() {
    assert!(import(&build("speaks", &probe()).expect("builds")).is_ok());
}

#[test]
fn graphs_that_make_no_sense_are_refused_by_rule() {
    for (id, code) in [
        ("cyclic", "order"),
        ("dangling", "order"),
        ("wrong-type", "softmax_attribute"),
        ("huge-name", "bad_name"),
        ("huge-shape", "shape"),
        ("overflow", "shape"),
        ("huge-constant", "constant_size"),
        ("defines-itself", "unknown_op"),
        ("wrong-call", "own.op_arity"),
    ] {
        let fragment =
            build(id, &probe().with_memory(1 << 30)).unwrap_or_else(|error| panic!("{id}: {}", error.message));
        let error = import(&fragment).expect_err(id);
        assert_eq!(error.code(), code, "{id}: {error}");
        assert!(error.to_string().len() < 500, "{id}: {error}");
    }
}

#[test]
fn libraries_that_misbehave_before_they_build_are_a_line_too() {
    for (name, part) in [
        #[cfg(unix)]
        ("segfaults", "crashes while describing itself (SIGSEGV)"),
        #[cfg(target_os = "linux")]
        ("greedy", "runs out of memory while describing itself (it may take 256 MiB)"),
        ("bad_kernels", "hangs while listing its kernels (no answer in 2 s)"),
    ] {
        let limit = if name == "bad_kernels" { 2 } else { 20 };
        let registry = scan(&fixture(name), &probe().with_limit(Duration::from_secs(limit)));
        let [problem] = registry.problems() else { panic!("{name}: {:?}", registry.problems()) };
        assert_eq!(problem.fault.reason, part, "{name}");
    }
}

#[test]
fn a_library_of_another_machine_is_never_loaded() {
    let mut bytes = fs::read(fixture("troubles")).expect("readable");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(file_name("foreign"));
    // e_machine: IBM S/390. Other systems have other headers, which the same bytes damage.
    bytes[18..20].copy_from_slice(&22_u16.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    let registry = scan(&path, &Probe::Off);
    let [problem] = registry.problems() else { panic!("{:?}", registry.problems()) };
    if cfg!(target_os = "linux") {
        assert!(problem.fault.reason.starts_with("built for ELF machine 22, this is "), "{problem}");
    }
}

#[test]
fn a_library_that_went_away_is_missed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(file_name("gone"));
    fs::copy(fixture("troubles"), &path).expect("copied");
    let registry = scan(&path, &probe());
    let component = registry.get("loss", "sound").expect("is there");
    let request = component.request(Vec::new(), Vec::new(), true);
    assert!(component.build(&request).is_ok());
    fs::remove_file(&path).expect("removed");
    let error = component.build(&request).expect_err("gone");
    assert!(error.message.contains("cannot be read any more: "), "{}", error.message);
    assert!(component.kernels().is_ok_and(|kernels| kernels.is_empty()), "it was seen to have none");
    // Replaced by half of itself.
    let whole = fs::read(fixture("troubles")).expect("readable");
    fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    let error = component.build(&request).expect_err("another file");
    assert!(error.message.contains("changed since it was scanned"), "{}", error.message);
}
