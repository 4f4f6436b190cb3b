//! How much memory a step takes, from lifetimes alone.

use fer_engine::{Precision, Result};
use fer_graph::{DType, Graph, Role, Value};

use crate::executable::primitives;

/// The most bytes that values of one step take at once, arguments and constants included, as this engine schedules it: in the
/// order of the nodes, dropped after the last use. What a kernel needs while it runs is not counted.
///
/// # Errors
/// When the graph breaks a rule.
pub fn peak_bytes(graph: &Graph, precision: Precision) -> Result<usize> {
    let graph = primitives(graph)?;
    let last_uses = fer_plan::last_uses(&graph);
    let mut repeated = vec![false; graph.values.len()];
    for node in &graph.nodes {
        let one_number = match node.op.name().as_str() {
            "constant" => node.attributes.floats("value").len() == 1,
            "broadcast_in_dim" => repeated[node.operands[0].index()] || graph.ty(node.operands[0]).elements() == 1,
            _ => false,
        };
        repeated[node.results[0].index()] = one_number && graph.ty(node.results[0]).dtype.is_float();
    }
    let bytes = |v: Value| {
        let ty = graph.ty(v);
        // A bfloat16 is stored as a rounded float here.
        let each = if ty.dtype == DType::Bf16 { precision.bytes() } else { ty.dtype.bytes(precision.bytes()) };
        if repeated[v.index()] { precision.bytes() } else { ty.elements() * each }
    };
    let is_alias = |name: &str| matches!(name, "reshape" | "stop_gradient");
    let constants = graph.nodes.iter().filter(|n| n.op.is("constant")).map(|n| bytes(n.results[0])).sum::<usize>();
    let stored: usize = graph.arguments.iter().filter(|a| a.role != Role::Input).map(|a| bytes(a.value)).sum();
    let fed: usize = graph.by_role(Role::Input).map(|a| bytes(a.value)).sum();
    let mut live = constants + stored + fed;
    let mut peak = live;
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| !n.op.is("constant")) {
        if !is_alias(&node.op.name()) {
            live += bytes(node.results[0]);
        }
        peak = peak.max(live);
        let mut ended: Vec<Value> = node.operands.iter().chain(&node.results).copied().collect();
        ended.sort_unstable();
        ended.dedup();
        for v in ended.into_iter().filter(|v| last_uses[v.index()] == i) {
            let is_constant =
                matches!(graph.definition(v), fer_graph::Definition::Node(n, _) if graph.nodes[n].op.is("constant"));
            let passed_on = is_alias(&node.op.name()) && node.operands.contains(&v);
            if !is_constant && !passed_on {
                live -= bytes(v);
            }
        }
    }
    Ok(peak)
}
