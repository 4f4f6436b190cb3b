//! Who reads a value, when views are looked through.

use fer_graph::{Definition, Graph, Node, Value};

use crate::View;

/// Whether a node computes nothing: its result is the operand's elements, seen otherwise.
pub fn is_view(node: &Node) -> bool {
    ["reshape", "stop_gradient", "transpose", "slice", "broadcast_in_dim", "concatenate"]
        .into_iter()
        .any(|name| node.op.is(name))
}

/// For each value the nodes that compute with it, and whether it leaves the step as an output or update.
#[derive(Debug)]
pub struct Uses {
    pub readers: Vec<Vec<usize>>,
    pub leaves: Vec<bool>,
}

impl Uses {
    pub fn of(graph: &Graph) -> Uses {
        let mut readers: Vec<Vec<usize>> = vec![vec![]; graph.values.len()];
        let mut leaves = vec![false; graph.values.len()];
        for (_, v) in graph.outputs.iter().chain(&graph.updates) {
            leaves[v.index()] = true;
        }
        for (i, node) in graph.nodes.iter().enumerate().rev() {
            if is_view(node) {
                let result = node.results[0].index();
                for &operand in &node.operands {
                    let through = readers[result].clone();
                    leaves[operand.index()] |= leaves[result];
                    add(&mut readers[operand.index()], &through);
                }
            } else {
                for &operand in &node.operands {
                    add(&mut readers[operand.index()], &[i]);
                }
            }
        }
        Uses { readers, leaves }
    }

    /// The node that alone computes with a value, which does not leave the step.
    pub fn only_reader(&self, value: Value) -> Option<usize> {
        match self.readers[value.index()][..] {
            [reader] if !self.leaves[value.index()] => Some(reader),
            _ => None,
        }
    }
}

fn add(to: &mut Vec<usize>, nodes: &[usize]) {
    for &node in nodes {
        if !to.contains(&node) {
            to.push(node);
        }
    }
}

/// The value that a chain of reshapes and stopped gradients begins with: the same elements in the same order.
pub fn root(graph: &Graph, mut value: Value) -> Value {
    while let Definition::Node(node, _) = graph.definition(value) {
        let node = &graph.nodes[node];
        if !node.op.is("reshape") && !node.op.is("stop_gradient") {
            break;
        }
        value = node.operands[0];
    }
    value
}

/// Values that are computed (or given) and that a value is a view of.
pub fn sources(graph: &Graph, value: Value) -> Vec<Value> {
    match graph.definition(value) {
        Definition::Node(node, _) if is_view(&graph.nodes[node]) => {
            graph.nodes[node].operands.iter().flat_map(|&o| sources(graph, o)).collect()
        }
        _ => vec![value],
    }
}

/// The view of a node's result in the memory of its operand's; `None` where a table would be too fine.
pub fn follow(node: &Node, view: &View, shape: &[usize]) -> Option<View> {
    match node.op.def.name {
        "reshape" => Some(view.reshape(shape)),
        "stop_gradient" => Some(view.clone()),
        "transpose" => view.transpose(&node.attributes.sizes("permutation")),
        "slice" => view.slice(
            &node.attributes.sizes("start"),
            &node.attributes.sizes("limit"),
            &node.attributes.sizes("strides"),
        ),
        _ => view.broadcast(shape, &node.attributes.sizes("broadcast_dimensions")),
    }
}
