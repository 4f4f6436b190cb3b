//! Fragments from random bytes, by the fuzzer's generator: none makes the import panic, and what it accepts is whole.

#[path = "../../fuzz/fragment.rs"]
mod fragment;

use std::time::{Duration, Instant};

use fer_abi::{Definition, Fragment, Node, Operand, TensorType};
use fer_graph::import;
use fragment::{from_bytes, hold};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Bytes of one fragment: some end early, so that small fragments are tried too.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..800)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_import_panic(bytes in bytes()) {
        let start = Instant::now();
        let held = hold(&from_bytes(&bytes));
        prop_assert!(held.is_ok(), "{}", held.unwrap_err());
        // A fragment of a dozen nodes takes microseconds; this is for one that takes for ever.
        prop_assert!(start.elapsed() < Duration::from_secs(10));
    }
}

/// A generator whose fragments are all refused at the first check would try nothing.
#[test]
fn a_good_part_is_accepted() {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (mut accepted, mut with_nodes, mut with_definitions) = (0, 0, 0);
    let mut codes = std::collections::BTreeSet::new();
    for _ in 0..4000 {
        let tree = bytes().new_tree(&mut runner).expect("a strategy without filters");
        let fragment = from_bytes(&tree.current());
        match import(&fragment) {
            Ok(_) => {
                accepted += 1;
                with_nodes += usize::from(fragment.nodes.len() > 1);
                with_definitions += usize::from(!fragment.definitions.is_empty());
            }
            Err(error) => {
                codes.insert(error.code().to_owned());
            }
        }
    }
    let found = format!("{accepted} accepted, {with_nodes} with nodes, {with_definitions} with definitions, {codes:?}");
    assert!(accepted > 100 && with_nodes > 20 && with_definitions > 20 && codes.len() > 60, "{found}");
}

/// Definitions that double one another: each calls the one before it twice.
fn doubling(depth: usize) -> Fragment {
    let ty = TensorType { dtype: "f".into(), shape: vec![2].into() };
    let node = |op: String, operand: u32| Node {
        op: op.into(),
        version: 1,
        operands: vec![operand].into(),
        attributes: vec![].into(),
        scope: "".into(),
    };
    let definition = |i: usize| {
        let inner = if i == 0 { "negate".to_owned() } else { format!("own.d{}", i - 1) };
        Definition {
            name: format!("own.d{i}").into(),
            version: 1,
            operands: vec![Operand { name: "x".into(), ty: ty.clone() }].into(),
            nodes: (0..8).map(|n| node(inner.clone(), n)).collect(),
            results: vec![8].into(),
        }
    };
    let mut fragment = from_bytes(&[]);
    fragment.definitions = (0..depth).map(definition).collect();
    fragment
}

#[test]
fn definitions_that_explode_are_refused_before_they_do() {
    let start = Instant::now();
    assert!(import(&doubling(6)).is_ok());
    // 8^7 nodes and more.
    for depth in [7, 12, 16, 17, 1000] {
        assert_eq!(import(&doubling(depth)).expect_err("too many").code(), "limit", "{depth}");
    }
    assert!(start.elapsed() < Duration::from_secs(10));
}
