//! How much memory a step takes, from lifetimes alone.

use fer_engine::{Precision, Result};
use fer_graph::{DType, Graph};

use crate::executable::primitives;

/// The most bytes that values of one step take at once, arguments and constants included, as this engine schedules it: in the
/// order of the nodes, dropped after the last use. An op that works in place is counted as if it did not; what a kernel needs
/// while it runs, and idle memory kept for later, are left out.
///
/// # Errors
/// When the graph breaks a rule.
pub fn peak_bytes(graph: &Graph, precision: Precision) -> Result<usize> {
    let graph = primitives(graph)?;
    let mut owner: Vec<usize> = (0..graph.values.len()).collect();
    let mut repeated = vec![false; graph.values.len()];
    for node in &graph.nodes {
        let result = node.results[0];
        match node.op.name().as_str() {
            // One number stands for all, however large the shape.
            "constant" => repeated[result.index()] = node.attributes.floats("value").len() == 1,
            "broadcast_in_dim" => {
                let x = node.operands[0];
                repeated[result.index()] = repeated[x.index()] || graph.ty(x).elements() == 1;
            }
            // The same memory under another name.
            "reshape" | "stop_gradient" => owner[result.index()] = owner[node.operands[0].index()],
            _ => {}
        }
    }
    let bytes = |v: usize| {
        let ty = &graph.values[v].0;
        // A bfloat16 is stored as a rounded float here.
        let each = if ty.dtype == DType::Bf16 { precision.bytes() } else { ty.dtype.bytes(precision.bytes()) };
        if repeated[v] && ty.dtype.is_float() { each } else { ty.elements() * each }
    };
    // Memory lives as long as the longest of its names; constants for ever.
    let mut end = vec![0; graph.values.len()];
    for (v, last) in fer_plan::last_uses(&graph).into_iter().enumerate() {
        end[owner[v]] = end[owner[v]].max(last);
    }
    let mut live: usize = graph.arguments.iter().map(|a| bytes(a.value.index())).sum();
    for node in graph.nodes.iter().filter(|n| n.op.is("constant")) {
        live += bytes(node.results[0].index());
        end[node.results[0].index()] = usize::MAX;
    }
    let mut ending: Vec<Vec<usize>> = vec![vec![]; graph.nodes.len()];
    for (v, &last) in end.iter().enumerate().filter(|(v, last)| owner[*v] == *v && **last < graph.nodes.len()) {
        ending[last].push(v);
    }
    let mut peak = live;
    for (node, ending) in graph.nodes.iter().zip(&ending).filter(|(n, _)| !n.op.is("constant")) {
        let result = node.results[0].index();
        if owner[result] == result {
            live += bytes(result);
        }
        peak = peak.max(live);
        live -= ending.iter().map(|&v| bytes(v)).sum::<usize>();
    }
    Ok(peak)
}
