//! When a value is used for the last time.

use fer_graph::Graph;

/// For each value the index of the last node that reads it; `usize::MAX` for outputs, updates and arguments,
/// which outlive the step's nodes; the defining node itself where nothing reads it.
pub fn last_uses(graph: &Graph) -> Vec<usize> {
    let mut last = vec![0; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for v in node.results.iter().chain(&node.operands) {
            last[v.index()] = i;
        }
    }
    let kept = graph.outputs.iter().chain(&graph.updates).map(|(_, v)| *v);
    for v in kept.chain(graph.arguments.iter().map(|a| a.value)) {
        last[v.index()] = usize::MAX;
    }
    last
}
