//! The C door against tables with mistakes, and against any sequence of calls.
//!
//! One test asks this crate's example `prober`, as those in `registry.rs` do: with `--test c_door` alone, add `--examples`.

mod common;

use std::{path::PathBuf, sync::LazyLock, time::Duration};

use fer_abi::{BuildError, Fragment, NamedOption, OptionValue};
use fer_contract::{Case, Subject, truth};
use fer_registry::{Probe, Registry, SearchPath};
use proptest::{collection::vec, prelude::*};

fn fixture(file: &str, name: &str, definitions: &[&str]) -> PathBuf {
    common::compile(&common::repository().join("host/registry/tests/fixtures/c").join(file), name, definitions)
}

static CALLS: LazyLock<PathBuf> = LazyLock::new(|| fixture("calls.c", "c_calls", &[]));

fn calls() -> Subject {
    common::subject(&CALLS, "loss", "calls")
}

fn ask(subject: &Subject, calls: Vec<i64>, answer: Option<i64>) -> Result<Fragment, BuildError> {
    let mut options = vec![NamedOption { name: "calls".into(), value: OptionValue::Ints(calls.into()) }];
    options.extend(answer.map(|answer| NamedOption { name: "answer".into(), value: OptionValue::Int(answer) }));
    subject.ask(&subject.request(&Case { options, inputs: truth(2, 3), training: true, seed: 0 }))
}

#[test]
fn any_calls_give_a_good_graph_or_an_error() {
    let subject = calls();
    let number =
        prop_oneof![8 => 0..=24i64, 1 => -3..0i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => any::<i64>()];
    let call = (0..=15i64, 0..=24i64, number.clone(), number.clone(), number);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) };
    proptest!(config, |(list in vec(call, 0..40))| {
        // Most sequences begin with something to work on.
        let start = [[0, 0, 0, 0, 0], [3, 6, 0, 0, 0]].concat();
        let calls = start.into_iter().chain(list.into_iter().flat_map(|(a, b, c, d, e)| [a, b, c, d, e])).collect();
        match ask(&subject, calls, None) {
            Ok(fragment) => prop_assert!(fer_graph::import(&fragment).is_ok()),
            Err(error) => prop_assert!(!error.message.is_empty() && !error.message.contains("host panicked"), "{error:?}"),
        }
    });
}

#[test]
fn what_goes_wrong_in_a_call_is_told() {
    let subject = calls();
    for (list, part) in [
        (vec![0, 3, 0, 0, 0], "the host offers no input \"w\"; it offers logits, targets, prior, weights"),
        (vec![0, 23, 0, 0, 0], "the name of an input is NULL"),
        (vec![0, 21, 0, 0, 0], "the name of an input is not UTF-8"),
        (vec![0, 24, 0, 0, 0], "the name of an input is longer than 65536 bytes"),
        (vec![0, 22, 0, 0, 0], "an input is named \"a\\nb\""),
        (vec![0, 0, 0, 0, 0, 3, 6, 7, 0, 0], "exponential: 7 is no value of this graph, which has 4"),
        (vec![0, 0, 0, 0, 0, 3, 6, -1, 0, 0], "-1 is no value"),
        (vec![0, 0, 0, 0, 0, 3, 3, 0, 0, 0], "no op is called \"w\""),
        (vec![0, 0, 0, 0, 0, 3, 7, 0, 0, 0], "softmax"),
        (vec![0, 0, 0, 0, 0, 4, 6, 0, 1, 0], "exponential has 1 results, room for 3 was given"),
        (vec![5, 6, 1, 2, 0], "its list of operands is NULL and has 2 entries"),
        (vec![5, 6, 1, i64::MAX, 0], "at most 4096 are allowed"),
        (vec![2, 3, 9, 1, 0], "the shape of \"w\" is NULL and has 1 entries"),
        (vec![2, 3, 20, 3, 1], "the shape of \"w\" is [2, 3, -1]"),
        (vec![2, 3, 10, 1, 1], "the list of numbers of \"w\" is NULL and has 1 entries"),
        (vec![12, 0, 0, 0, 0], "a scope is left that was not entered"),
        (vec![0, 0, 0, 0, 0, 9, 0, 0, 2, 0], "has the shape [2, 3] and no axis 2"),
        (vec![0, 0, 0, 0, 0, 7, 0, 0, 0, 0], "only states and parameters can be updated"),
        (vec![0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 6, 4, 0, 0, 0], "output \"loss\" is given twice"),
        (vec![14, 3, 4, 9, 7], "w"),
        (vec![14, 20, 4, 9, 7], "the plugin gave up with an empty message"),
        (vec![14, 23, 4, 9, 7], "the message of the plugin's error is NULL"),
        (vec![], "the plugin named no output"),
    ] {
        let error = ask(&subject, list.clone(), None).expect_err("an error");
        assert!(error.message.contains(part), "{list:?}: {error:?}");
        assert!(!error.panicked);
    }
    let said = ask(&subject, vec![0, 3, 0, 0, 0, 14, 0, 1, 2, 7], None).expect_err("an error");
    assert_eq!((&*said.message, &*said.option, &*said.help), ("logits", "targets", "weights"));
    let silent = ask(&subject, vec![0, 0, 0, 0, 0, 6, 4, 0, 0, 0], Some(3)).expect_err("an error");
    assert_eq!(silent.message, "the plugin gave up with 3 and did not say why");
}

/// The graph of one build is of no use in another, also where builds run at the same time.
#[test]
fn a_graph_ends_with_its_build() {
    let subject = calls();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    // Calls on no graph, on the one before and on one that never was change nothing of this one.
                    let elsewhere = |which| [15, which, 0, 0, 0, 6, 4, 0, 0, 0, 12, 0, 0, 0, 0];
                    let own = [15, 3, 0, 0, 0, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0];
                    let list = [elsewhere(0), elsewhere(1), elsewhere(2), own].concat();
                    let fragment = ask(&subject, list, None).expect("a graph");
                    assert_eq!((fragment.arguments.len(), fragment.outputs.len()), (4, 1));
                }
            });
        }
    });
}

#[test]
fn versions_and_mistakes_of_a_table_are_one_line() {
    for (mistake, part) in [
        (1, "its table has 32 bytes, fer_plugin.h 1.0 has 40: struct_size must be sizeof(fer_plugin)"),
        (2, "built with fer_plugin.h 2.3, this host speaks 1.0: compile the plugin with this host's header"),
        (3, "refuses fer_plugin.h 1.0, which this host speaks"),
        (4, "component 1: its summary is not UTF-8"),
        (5, "component 1: its build is NULL"),
        (6, "component \"one\": option \"second\": its default is not a number"),
        (7, "component 1: option 2: its name is NULL"),
        (8, "component 1: option 2: its flags have 0x40, which this host does not know"),
        (9, "component \"one\": its summary has more than one line"),
        (10, "component_size must be sizeof(fer_component)"),
        (11, "components, at most 1000 are allowed"),
    ] {
        let library = fixture("table.c", &format!("c_table_{mistake}"), &[&format!("MISTAKE={mistake}")]);
        let registry = Registry::scan(&SearchPath::of([library]), &Probe::Off);
        let [problem] = registry.problems() else { panic!("{mistake}: {:?}", registry.problems()) };
        assert!(problem.fault.reason.contains(part), "{mistake}: {problem}");
        assert!(!problem.fault.reason.contains('\n'), "{problem}");
    }
}

/// Longer tables of a later minor version: what this host does not know of them is passed over.
#[test]
fn what_a_later_minor_version_appends_is_ignored() {
    let library = fixture("table.c", "c_table_0", &["MISTAKE=0"]);
    for id in ["one", "two"] {
        let subject = common::subject(&library, "loss", id);
        let names: Vec<&str> = subject.options().iter().map(|option| option.name.as_str()).collect();
        assert_eq!(names, ["first", "second"]);
        let case = Case { options: vec![], inputs: truth(2, 3), training: true, seed: 0 };
        assert!(subject.graph(&case).is_ok());
    }
}

/// A child process that tries and builds; long enough for a machine that builds other things meanwhile.
fn probe() -> Probe {
    let program = std::env::current_exe().expect("the test's program");
    let examples = program.ancestors().nth(2).expect("target/<profile>/deps").join("examples");
    let prober = examples.join(format!("prober{}", std::env::consts::EXE_SUFFIX));
    Probe::child(prober).with_limit(Duration::from_secs(20)).with_memory(256 << 20)
}

/// Whatever a library in C or C++ does in `build` is one line, and this process lives to read it.
#[test]
#[cfg(target_os = "linux")]
fn troubles_stay_in_the_child() {
    let library = fixture("troubles.cpp", "c_troubles", &[]);
    let line = |id: &str, probe: &Probe| {
        let registry = Registry::scan(&SearchPath::of([&library]), probe);
        let component = registry.get("loss", id).unwrap_or_else(|e| panic!("{e}; {:?}", registry.problems())).clone();
        let error = component.build(&component.request(vec![], vec![], true)).expect_err(id);
        assert!(!error.message.contains('\n'), "{id}: {}", error.message);
        error
    };
    for (id, part) in [
        ("aborts", "crashes while building (SIGABRT)"),
        ("throws", "crashes while building (SIGABRT)"),
        ("wild", "crashes while building (SIGSEGV)"),
        ("eats-memory", "runs out of memory while building (it may take 256 MiB)"),
    ] {
        let error = line(id, &probe());
        assert!(error.panicked && error.message.contains(part), "{id}: {}", error.message);
    }
    let error = line("hangs", &probe().with_limit(Duration::from_secs(1)));
    assert!(error.message.contains("hangs while building (no answer in 1 s)"), "{}", error.message);
    // Through the child a callback's refusal is the one that is given without it.
    let error = line("calls", &probe());
    assert!(!error.panicked && error.message.contains("the host offers no input \"logits\""), "{}", error.message);
}

/// What a child process says of a library in C is what this process reads there.
#[test]
fn a_library_in_c_is_probed_like_any_other() {
    let probe = probe();
    // A copy: what this process asked before is remembered by path.
    let library = CALLS.with_file_name(format!("c_calls_probed{}", std::env::consts::DLL_SUFFIX));
    std::fs::copy(&*CALLS, &library).expect("copied");
    let registry = Registry::scan(&SearchPath::of([&library]), &probe);
    let component = registry.get("loss", "calls").unwrap_or_else(|e| panic!("{e}; {:?}", registry.problems()));
    let [list, answer] = component.options() else { panic!("two options") };
    assert_eq!(list.default.clone().into_option(), Some(OptionValue::Ints(vec![].into())));
    assert!(answer.optional && answer.default.is_none());
    assert_eq!(component.kernels().expect("none").len(), 0);
}
