//! The canonical order of a graph's values: what text and plugin boundary agree on.
//!
//! A builder numbers values as they come, so two equal graphs may number theirs differently. On paper and on the boundary inputs
//! come first, then parameters and states, each as declared, then every node's results in order.

use crate::{Argument, Definition, Graph, Node, Role, Value};

/// Inputs, then parameters and states, each in the order of their declaration.
pub(crate) fn ordered_arguments(graph: &Graph) -> impl Iterator<Item = &Argument> {
    let inputs = graph.arguments.iter().filter(|a| a.role == Role::Input);
    inputs.chain(graph.arguments.iter().filter(|a| a.role != Role::Input))
}

/// The canonical number of every value, by its present one.
pub(crate) fn canonical_numbers(graph: &Graph) -> Vec<Value> {
    let mut numbers = vec![Value(u32::MAX); graph.values.len()];
    let results = graph.nodes.iter().flat_map(|n| n.results.iter().copied());
    for (i, value) in ordered_arguments(graph).map(|a| a.value).chain(results).enumerate() {
        numbers[value.index()] = Value(i as u32);
    }
    numbers
}

/// The same graph under canonical numbers. Two verified graphs mean the same, name by name and node by node, exactly when their
/// renumbered forms are equal.
pub fn renumber(graph: &Graph) -> Graph {
    let to = canonical_numbers(graph);
    let mut fresh = Graph::empty(&graph.name);
    for (i, argument) in ordered_arguments(graph).enumerate() {
        fresh.values.push((graph.ty(argument.value).clone(), Definition::Argument(i)));
        fresh.arguments.push(Argument { value: to[argument.value.index()], ..argument.clone() });
    }
    let moved = |values: &[Value]| values.iter().map(|v| to[v.index()]).collect::<Vec<_>>();
    for (n, node) in graph.nodes.iter().enumerate() {
        for (r, &result) in node.results.iter().enumerate() {
            fresh.values.push((graph.ty(result).clone(), Definition::Node(n, r)));
        }
        fresh.nodes.push(Node {
            operands: moved(&node.operands),
            results: moved(&node.results),
            attributes: node.attributes.clone(),
            op: node.op,
            scope: node.scope.clone(),
        });
    }
    let named = |list: &[(String, Value)]| list.iter().map(|(n, v)| (n.clone(), to[v.index()])).collect::<Vec<_>>();
    fresh.outputs = named(&graph.outputs);
    fresh.updates = named(&graph.updates);
    fresh.names = graph.names.iter().map(|(n, v)| (n.clone(), to[v.index()])).collect();
    fresh
}
