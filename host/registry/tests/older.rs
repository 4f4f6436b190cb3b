//! A library that was built against an earlier version of the boundary is found, described and built as before.

use std::{path::PathBuf, time::Duration};

use fer_abi::{Attribute, NamedTensorType, TensorType};
use fer_graph::{PrintOptions, import, print};
use fer_registry::{Probe, Registry, SearchPath};

fn example(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("the test's program");
    let path = program.ancestors().nth(2).expect("target/<profile>/deps").join("examples").join(name);
    assert!(path.is_file(), "{}: build with --examples", path.display());
    path
}

fn registry() -> Registry {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX, EXE_SUFFIX};
    let library = example(&format!("{DLL_PREFIX}fixture_speaks_0_1{DLL_SUFFIX}"));
    let probe = Probe::child(example(&format!("prober{EXE_SUFFIX}"))).with_limit(Duration::from_secs(20));
    Registry::scan(&SearchPath::of([library]), &probe)
}

fn offered(name: &str, shape: &[u64]) -> NamedTensorType {
    NamedTensorType { name: name.into(), ty: TensorType { dtype: "f".into(), shape: shape.to_vec().into() } }
}

/// What the host of version 0.1 made of the same library.
const GRAPH: &str = "\
graph tempered(logits: f[8,7], targets: f[8,7], prior: f[7,7], weights: f[8]) {
  parameter bias: f[] = trunc_normal(0.0, 0.02, -2.0, 2.0) decay layer(3)
  state seen: f[] = zeros
  scope terms
    %0 = constant() {value: [4.0], shape: [], dtype: \"f\"} : f[]
    %1 = broadcast_in_dim(%0) {shape: [8, 7], broadcast_dimensions: []} : f[8,7]
    %2 = divide(logits, %1) : f[8,7]
    %3 = log_softmax(%2) {axis: 1} : f[8,7]
    %4 = multiply(targets, %3) : f[8,7]
    %5 = reduce_sum(%4) {axes: [0, 1]} : f[]
    %6 = negate(%5) : f[]
    %7 = add(%6, bias) : f[]
    %8 = add(%7, seen) : f[]
  output loss = %7
  update seen = %8
  name log_p = %3
}
";

#[test]
fn a_library_of_0_1_is_described_and_built_as_it_was() {
    let registry = registry();
    assert_eq!(registry.problems(), []);
    let loss = registry.get("loss", "tempered").expect("is there");
    let said = loss.descriptor();
    assert_eq!((said.version.as_str(), said.summary.as_str()), ("0.1.7", "cross entropy at a temperature"));
    assert_eq!(said.properties[0].value, Attribute::Bool(true));
    let option = &said.options[0];
    assert_eq!((option.min.into_option(), option.max.into_option()), (Some(0.5), Some(8.0)));

    let inputs = vec![
        offered("logits", &[8, 7]),
        offered("targets", &[8, 7]),
        offered("prior", &[7, 7]),
        offered("weights", &[8]),
    ];
    let options = loss.check_options(&[("temperature".into(), 4.0.into())]).expect("a good temperature");
    let fragment = loss.build(&loss.request(options, inputs, true)).expect("builds");
    let graph = import(&fragment).expect("a good graph");
    assert_eq!(print(&graph, PrintOptions::EXACT), GRAPH);
    assert!(loss.kernels().expect("an answer").is_empty());

    let refused = loss.build(&loss.request(Vec::new(), Vec::new(), true)).expect_err("no temperature");
    assert_eq!((refused.message.as_str(), refused.option.as_str()), ("the temperature is missing", "temperature"));
    assert_eq!((refused.help.as_str(), refused.panicked), ("give it", false));
}
