//! The registry against real libraries, good and bad.
//!
//! The libraries are this crate's examples, which `cargo test -p fer-registry` builds; with `--test registry` alone, add
//! `--examples`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fer_abi::{OptionValue, abi_stable::std_types::RVec};
use fer_registry::{Probe, Registry, RegistryErrorKind, SearchPath, describe, image};
use proptest::{collection::vec, prelude::*, sample::Index};
use tempfile::TempDir;

/// target/<profile>/examples.
fn examples() -> PathBuf {
    let program = std::env::current_exe().expect("the test's program");
    let profile = program.ancestors().nth(2).expect("target/<profile>/deps");
    profile.join("examples")
}

fn file_name(name: &str) -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}{name}{DLL_SUFFIX}")
}

fn fixture(name: &str) -> PathBuf {
    let path = examples().join(file_name(&format!("fixture_{name}")));
    assert!(path.is_file(), "{}: build with --examples", path.display());
    path.canonicalize().expect("exists")
}

fn probe() -> Probe {
    let program = format!("prober{}", std::env::consts::EXE_SUFFIX);
    // Long enough for a machine that builds other things meanwhile.
    Probe::child(examples().join(program)).with_limit(Duration::from_secs(20))
}

fn scan(names: &[&str]) -> Registry {
    Registry::scan(&SearchPath::of(names.iter().map(|name| fixture(name))), &probe())
}

/// The reason why a single library cannot be used.
fn reason(path: &Path, probe: &Probe) -> String {
    let registry = Registry::scan(&SearchPath::of([path]), probe);
    let [problem] = registry.problems() else {
        panic!("{:?}", registry.problems());
    };
    assert_eq!(registry.components().count(), 0);
    assert!(!problem.fault.reason.contains('\n'), "{problem}");
    assert!(problem.fault.reason.len() < 500, "{problem}");
    problem.fault.reason.clone()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Neither a child nor this process loads what nobody vouches for: these would end or hang it.
#[test]
fn no_code_of_a_library_runs_before_it_is_admitted() {
    let good = scan(&["good"]).get("resizer", "narrow").expect("is there").sha256().to_owned();
    let libraries = ["good", "crashes", "aborts", "hangs_early"].map(fixture);
    let admit = |sha256: &str| if sha256 == good { Ok(()) } else { Err("is not vouched for".to_owned()) };
    let registry = Registry::scan_admitted(&SearchPath::of(libraries), &Probe::Off, &admit);
    assert_eq!(registry.problems().len(), 3, "{:?}", registry.problems());
    assert!(registry.problems().iter().all(|problem| problem.fault.reason == "is not vouched for"));
    assert_eq!(registry.get("resizer", "narrow").expect("is there").sha256(), good);
}

/// What is loaded is what was hashed, also when the file is another one by then; and a record says which boundary it speaks.
#[test]
fn a_library_that_changed_after_the_scan_is_not_loaded() {
    let folder = folder();
    let library = folder.path().join(file_name("copy"));
    fs::copy(fixture("good"), &library).expect("a copy");
    let found = |registry: &Registry| registry.get("resizer", "narrow").expect("is there").clone();
    let registry = Registry::scan(&SearchPath::of([&library]), &probe());
    let narrow = found(&registry);
    assert_eq!(Some(narrow.length()), fs::metadata(&library).ok().map(|metadata| metadata.len()));
    assert_eq!(narrow.abi(), fer_abi::VERSION);
    let bytes = fs::read(&library).expect("a file");
    // Another file of the same size and time.
    let mut other = bytes.clone();
    *other.last_mut().expect("bytes") ^= 1;
    // Cargo replaces files; writing into one that is mapped would change a running program.
    fs::remove_file(&library).expect("a file");
    fs::write(&library, &other).expect("a file");
    let file = fs::File::options().write(true).open(&library).expect("a file");
    file.set_modified(narrow.modified().expect("this system keeps times")).expect("a time");
    let request = narrow.request(narrow.check_options(&[]).expect("defaults"), vec![], false);
    let error = narrow.build(&request).expect_err("it changed");
    assert!(error.message.ends_with("changed since it was scanned: start again"), "{}", error.message);
    fs::write(&library, &bytes).expect("a file");
    let again = found(&Registry::scan(&SearchPath::of([&library]), &probe()));
    assert!(!again.build(&request).is_err_and(|e| e.message.contains("changed")), "it is the good one again");
}

#[test]
fn a_good_library_is_found_described_and_built() {
    let registry = scan(&["good"]);
    assert_eq!(registry.problems(), []);
    let listed: Vec<(&str, &str)> = registry.components().map(|component| (component.kind(), component.id())).collect();
    assert_eq!(listed, [("backbone", "wide"), ("resizer", "narrow")]);

    let narrow = registry.get("resizer", "narrow").expect("is there");
    assert_eq!(narrow.library(), fixture("good"));
    assert_eq!(narrow.sha256().len(), 64);
    assert_eq!(registry.of_kind("resizer").count(), 1);
    // An empty list of floats is still one after its way through JSON.
    assert_eq!(narrow.options()[1].default.as_ref().into_option(), Some(&OptionValue::Floats(RVec::new())));

    let options = narrow.check_options(&[("size".into(), 48.0.into())]).expect("a good size");
    let fragment = narrow.build(&narrow.request(options, Vec::new(), true)).expect("builds");
    assert_eq!(fragment.name, "narrow Int(48)");
    let error = narrow.check_options(&[("size".into(), 0_i64.into())]).expect_err("too small");
    assert_eq!(error.option, "size");

    let wide = registry.get("backbone", "wide").expect("is there");
    let error = wide.build(&wide.request(Vec::new(), Vec::new(), false)).expect_err("panics");
    assert!(error.panicked);
    assert_eq!(error.message, "too wide");
}

#[test]
fn a_component_is_shown_as_text_and_json() {
    let registry = scan(&["good"]);
    let narrow = registry.get("resizer", "narrow").expect("is there");
    let text = describe(narrow);
    assert!(text.starts_with("resizer narrow 0.1.0\nthe resizer called narrow\n"));
    assert!(text.contains("size     int      224       1 or more"), "{text}");
    let json = serde_json::to_value(narrow.report()).expect("finite numbers");
    assert_eq!(json["id"], "narrow");
    assert_eq!(json["options"][0]["default"], 224);
    assert_eq!(json["sha256"], narrow.sha256());
}

#[test]
fn without_a_probe_the_answer_is_the_same() {
    let probed = scan(&["good"]);
    let folder = folder();
    // Another path, so that the answer is not the remembered one.
    let copy = folder.path().join(file_name("copy"));
    fs::copy(fixture("good"), &copy).expect("copied");
    let loaded = Registry::scan(&SearchPath::of([copy]), &Probe::Off);
    let descriptors = |registry: &Registry| -> Vec<_> {
        registry.components().map(|component| component.descriptor().clone()).collect()
    };
    assert_eq!(descriptors(&probed), descriptors(&loaded));
}

#[test]
fn wrong_names_are_met_with_right_ones() {
    let registry = scan(&["good"]);
    let error = registry.get("resizer", "narow").expect_err("a slip");
    assert_eq!(error.kind, RegistryErrorKind::Unknown);
    assert_eq!(error.to_string(), "no resizer is called \"narow\"");
    assert_eq!(error.help, "did you mean \"narrow\"? Resizers on this machine: narrow (fer-host plugin list)");
    let error = registry.get("resizer", "wide").expect_err("a backbone");
    assert_eq!(error.kind, RegistryErrorKind::OtherKind);
    assert_eq!(
        error.help,
        "\"wide\" is a backbone, not a resizer. Resizers on this machine: narrow (fer-host plugin list)"
    );
    let error = registry.get("loss", "zzz").expect_err("no losses");
    assert_eq!(error.help, "There are no losses on this machine (fer-host plugin list)");
}

#[test]
fn rivals_refuse_and_copies_do_not() {
    let registry = scan(&["good", "rival"]);
    let error = registry.get("resizer", "narrow").expect_err("offered twice");
    assert_eq!(error.kind, RegistryErrorKind::Ambiguous);
    assert_eq!(error.message, "2 different libraries offer a resizer called \"narrow\"");
    for name in ["good", "rival"] {
        assert!(error.help.contains(&fixture(name).display().to_string()));
    }
    assert_eq!(registry.problems().len(), 1);
    assert!(registry.get("loss", "sharp").is_ok());
    assert!(registry.get("backbone", "wide").is_ok());

    let folder = folder();
    let copy = folder.path().join(file_name("copy"));
    fs::copy(fixture("good"), &copy).expect("copied");
    let registry = Registry::scan(&SearchPath::of([fixture("good"), folder.path().to_owned()]), &probe());
    let narrow = registry.get("resizer", "narrow").expect("the first wins");
    assert_eq!(narrow.library(), fixture("good"));
    assert_eq!(registry.problems(), []);
    assert!(registry.notes()[0].contains("a copy of"), "{:?}", registry.notes());
}

#[test]
fn libraries_that_misbehave_become_one_line() {
    let probe = probe();
    for (name, part) in [
        ("aborts", "panics while describing itself: no description comes to mind"),
        ("exits", "ends the program while describing itself (exit status: 0)"),
        #[cfg(unix)]
        ("crashes", "crashes while describing itself (SIGABRT)"),
        ("panics_early", "panics while being loaded: not in the mood"),
        ("absurd", "component \"absurd\": its doc has 100000000 bytes, at most 65536 are allowed"),
        ("other_layout", "its table is not that of fer-abi 0.2.0, though it says so: rebuild the plugin"),
        (
            "other_version",
            "built against fer-abi 0.3.0, this host speaks 0.2.0 and 0.1: rebuild the plugin with fer-sdk 0.2",
        ),
        ("too_old", "built against fer-abi 0.0.9, this host speaks 0.2.0 and 0.1: rebuild the plugin with fer-sdk 0.2"),
        ("no_plugin", "not a plugin: does not export _1as_0lib_1header"),
    ] {
        let reason = reason(&fixture(name), &probe);
        assert!(reason.contains(part), "{name}: {reason}");
    }
}

#[test]
fn a_layout_error_keeps_its_dump() {
    let registry = scan(&["other_layout"]);
    let detail = registry.problems()[0].fault.detail.as_ref().expect("a dump");
    assert!(detail.lines().count() > 20, "{detail}");
}

#[test]
fn libraries_that_hang_are_killed_in_time() {
    let start = Instant::now();
    let probe = probe().with_limit(Duration::from_millis(1500));
    assert_eq!(reason(&fixture("hangs"), &probe), "hangs while describing itself (no answer in 1.5 s)");
    assert_eq!(reason(&fixture("hangs_early"), &probe), "hangs while being loaded (no answer in 1.5 s)");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_prober_that_is_none_is_named() {
    let program = if cfg!(windows) { "cmd" } else { "false" };
    let folder = folder();
    let copy = folder.path().join(file_name("copy"));
    fs::copy(fixture("good"), &copy).expect("copied");
    let mute = reason(&copy, &Probe::child(program));
    assert!(mute.starts_with(&format!("cannot be probed: {program} did not answer")), "{mute}");
    let missing = reason(&copy, &Probe::child("/no/such/program"));
    assert!(missing.starts_with("cannot be probed: /no/such/program"), "{missing}");
}

#[test]
fn files_that_are_no_libraries_are_never_loaded() {
    let folder = folder();
    let path = folder.path().join(file_name("text"));
    fs::write(&path, "hello, world, this is a text").expect("written");
    assert_eq!(reason(&path, &Probe::Off), "not a shared library");

    let whole = fs::read(fixture("good")).expect("readable");
    let path = folder.path().join(file_name("truncated"));
    fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    let reason = reason(&path, &Probe::Off);
    assert!(reason.starts_with("truncated: "), "{reason}");
    assert!(reason.ends_with(&format!("the file has {} bytes", whole.len() / 2)), "{reason}");
    let registry = Registry::scan(&SearchPath::of([folder.path()]), &Probe::Off);
    let error = registry.get("resizer", "truncated").expect_err("unusable");
    assert!(error.help.contains("truncated: "), "{}", error.help);
}

#[test]
fn beside_the_program_only_broken_plugins_are_spoken_of() {
    let folder = folder();
    let put = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(file_name(name)), bytes).expect("written");
    };
    let whole = fs::read(fixture("good")).expect("readable");
    put("half", &whole[..whole.len() - 1]);
    put("text", b"hello");
    put("other", &fs::read(fixture("no_plugin")).expect("readable"));
    let search = SearchPath::new(Some(&folder.path().join("host")), None);
    let registry = Registry::scan(&search, &probe());
    assert_eq!(registry.problems().len(), 1, "{:?}", registry.problems());
    assert!(registry.problems()[0].path.ends_with(file_name("half")));
}

#[test]
fn a_library_that_changed_is_not_loaded() {
    let folder = folder();
    let path = folder.path().join(file_name("changing"));
    fs::copy(fixture("rival"), &path).expect("copied");
    let registry = Registry::scan(&SearchPath::of([&path]), &probe());
    let sharp = registry.get("loss", "sharp").expect("is there");
    fs::remove_file(&path).expect("removed");
    fs::copy(fixture("good"), &path).expect("copied");
    let error = sharp.build(&sharp.request(Vec::new(), Vec::new(), true)).expect_err("another file");
    assert!(error.message.contains("changed since"), "{}", error.message);
}

#[test]
fn no_damage_to_a_real_library_makes_the_check_panic() {
    let whole = fs::read(fixture("good")).expect("readable");
    assert_eq!(image::check(&whole), Ok(()));
    // Every truncation is seen: the section table is the last thing in the file.
    for part in 0..64 {
        let length = whole.len() * part / 64;
        assert!(image::check(&whole[..length]).is_err(), "{length}");
    }
    // Flips where the structure is: the headers, and the tables that they point to at the end.
    let mut damaged = whole.clone();
    let headers = 0..1024;
    let tables = whole.len().saturating_sub(4096)..whole.len();
    for at in headers.chain(tables) {
        for bit in [0, 3, 7] {
            damaged[at] ^= 1 << bit;
            let _ = image::check(&damaged);
            damaged[at] ^= 1 << bit;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nor_does_damage_anywhere(flips in vec((any::<Index>(), any::<u8>()), 1..200), cut in any::<Option<Index>>()) {
        let mut bytes = fs::read(fixture("good")).expect("readable");
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(image::check(&bytes).is_err());
        }
    }
}
