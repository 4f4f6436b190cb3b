//! Replaces composites, and adjoints of composites, by smaller ops.

use fer_autodiff::expand;
use fer_graph::{Builder, Graph, Node, Result, Value, verify};

/// Inlines every node that decomposes and that `keep` does not hold on to, until none is left.
///
/// # Errors
/// Those of a decomposition: a fault of the op table, since the graph was verified.
pub fn inline(graph: &Graph, keep: impl Fn(&Graph, &Node) -> bool) -> Result<Graph> {
    let mut current = graph.clone();
    while current.nodes.iter().any(|n| n.op.decomposes() && !keep(&current, n)) {
        current = one_level(&current, &keep)?;
    }
    verify(&current)?;
    Ok(current)
}

fn one_level(graph: &Graph, keep: &impl Fn(&Graph, &Node) -> bool) -> Result<Graph> {
    let (b, mut map) = restart(graph)?;
    for node in &graph.nodes {
        let _scope = b.absolute_scope(&node.scope);
        let operands: Vec<Value> = node.operands.iter().map(|v| map[v.index()]).collect();
        let results = if node.op.decomposes() && !keep(graph, node) {
            expand(&b, node.op, &operands, &node.attributes)?
        } else {
            b.emit(node.op, &operands, node.attributes.clone())?
        };
        for (&old, new) in node.results.iter().zip(results) {
            map[old.index()] = new;
        }
    }
    Ok(conclude(b, graph, &map))
}

/// A builder with the graph's arguments and no nodes, and where each argument went.
pub(crate) fn restart(graph: &Graph) -> Result<(Builder, Vec<Value>)> {
    let b = Builder::new(&graph.name);
    let mut map = vec![Value(u32::MAX); graph.values.len()];
    for argument in &graph.arguments {
        let value = b.argument_like(&argument.name, argument, graph.ty(argument.value))?;
        map[argument.value.index()] = value;
    }
    Ok((b, map))
}

/// The finished graph, with outputs, updates and names carried over.
pub(crate) fn conclude(b: Builder, graph: &Graph, map: &[Value]) -> Graph {
    let mut done = b.finish();
    let moved = |v: &Value| map[v.index()];
    done.outputs = graph.outputs.iter().map(|(n, v)| (n.clone(), moved(v))).collect();
    done.updates = graph.updates.iter().map(|(n, v)| (n.clone(), moved(v))).collect();
    done.names = graph.names.iter().map(|(n, v)| (n.clone(), moved(v))).filter(|(_, v)| v.0 != u32::MAX).collect();
    done
}
