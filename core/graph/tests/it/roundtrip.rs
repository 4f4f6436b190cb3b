//! What is written is what is read: text and plugin boundary, for random graphs.

use fer_graph::{
    Class, Graph, Init, PrintOptions, TensorType, Value, export, import, ops::TABLE, parse, print, renumber, verify,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::generate::{Options, graphs};

const FORWARD: Options = Options { adjoints: false };
const ALL: Options = Options { adjoints: true };

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_graphs_verify(graph in graphs(ALL)) {
        prop_assert_eq!(verify(&graph), Ok(()));
    }

    #[test]
    fn a_fragment_is_its_graph(graph in graphs(FORWARD)) {
        let fragment = export(&graph);
        let imported = import(&fragment)?;
        prop_assert_eq!(&imported, &renumber(&graph));
        prop_assert_eq!(export(&imported), fragment);
    }

    #[test]
    fn a_text_is_its_graph(graph in graphs(ALL)) {
        let text = print(&graph, PrintOptions::EXACT);
        let parsed = parse(&text)?;
        prop_assert_eq!(&parsed, &renumber(&graph));
        prop_assert_eq!(print(&parsed, PrintOptions::EXACT), text);
        let commented = print(&graph, PrintOptions { full_constants: true, flops: true });
        prop_assert_eq!(&parse(&commented)?, &parsed);
    }

    #[test]
    fn renumbering_twice_changes_nothing(graph in graphs(ALL)) {
        let once = renumber(&graph);
        prop_assert_eq!(verify(&once), Ok(()));
        prop_assert_eq!(&renumber(&once), &once);
    }

    #[test]
    fn any_name_can_be_written(names in prop::collection::hash_set(any::<String>(), 6), graph in graphs(ALL)) {
        let names: Vec<String> = names.into_iter().collect();
        let graph = with_names(renumber(&graph), &names);
        let text = print(&graph, PrintOptions::EXACT);
        prop_assert_eq!(&parse(&text)?, &graph, "{}", text);
    }
}

/// The graph under other names; inputs stay in front.
fn with_names(mut graph: Graph, names: &[String]) -> Graph {
    graph.name = names[0].clone();
    graph.arguments[0].name = names[1].clone();
    for node in &mut graph.nodes {
        node.scope = names[2].as_str().into();
    }
    graph.outputs = vec![(names[3].clone(), Value(0))];
    graph.names.insert(names[4].clone(), Value(0));
    let at = graph.values.len();
    if graph.nodes.is_empty() {
        let init = Some(Init::Ones);
        let ty = TensorType::float([]);
        let builder = fer_graph::Builder::resume(graph);
        let value = builder.argument(&names[5], fer_graph::Role::State, ty, init).expect("a fresh name");
        assert_eq!(value, Value(at as u32));
        builder.update(value, value).expect("a state's own type");
        graph = builder.finish();
    }
    graph
}

#[test]
fn the_generator_reaches_every_op() {
    let mut runner = TestRunner::deterministic();
    let mut missing: Vec<&str> = TABLE.iter().filter(|d| d.class != Class::Adjoint).map(|d| d.name).collect();
    let mut adjoint = false;
    for _ in 0..400 {
        let graph = graphs(ALL).new_tree(&mut runner).expect("a strategy without filters").current();
        missing.retain(|name| !graph.nodes.iter().any(|n| n.op.is(name)));
        adjoint |= graph.nodes.iter().any(|n| n.op.adjoint);
    }
    assert!(missing.is_empty() && adjoint, "never generated: {missing:?}");
}
