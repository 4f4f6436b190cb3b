//! Cuts a graph: some values are given from outside, some are asked for, and only what lies between is kept.

use std::collections::BTreeMap;

use fer_graph::{Builder, Definition, Graph, Result, Value, verify};

/// The part of `graph` that computes `wanted`, with the values in `given` turned into inputs of that name.
///
/// Arguments that the part does not use are dropped. `wanted` become the outputs; updates are kept where their states are.
///
/// # Errors
/// Only if the graph was not verified, or a given name is an argument's already.
pub fn cut(graph: &Graph, given: &BTreeMap<String, Value>, wanted: &[(String, Value)]) -> Result<Graph> {
    let fed: BTreeMap<Value, &String> = given.iter().map(|(name, &value)| (value, name)).collect();
    let mut used = vec![false; graph.values.len()];
    wanted.iter().for_each(|(_, v)| used[v.index()] = true);
    for node in graph.nodes.iter().rev() {
        if node.results.iter().any(|r| used[r.index()] && !fed.contains_key(r)) {
            node.operands.iter().for_each(|o| used[o.index()] = true);
        }
    }
    let b = Builder::new(&graph.name);
    let mut map = vec![Value(u32::MAX); graph.values.len()];
    for argument in graph.arguments.iter().filter(|a| used[a.value.index()]) {
        let value = b.argument_like(&argument.name, argument, graph.ty(argument.value))?;
        map[argument.value.index()] = value;
    }
    for (&value, name) in &fed {
        if used[value.index()] && !matches!(graph.definition(value), Definition::Argument(_)) {
            map[value.index()] = b.input(name, graph.ty(value).clone())?;
        }
    }
    for node in &graph.nodes {
        if !node.results.iter().any(|r| used[r.index()] && !fed.contains_key(r)) {
            continue;
        }
        let _scope = b.absolute_scope(&node.scope);
        let operands: Vec<Value> = node.operands.iter().map(|v| map[v.index()]).collect();
        let results = b.emit(node.op, &operands, node.attributes.clone())?;
        for (&old, new) in node.results.iter().zip(results) {
            if !fed.contains_key(&old) {
                map[old.index()] = new;
            }
        }
    }
    let mut part = b.finish();
    let there = |v: &Value| (map[v.index()].0 != u32::MAX).then_some(map[v.index()]);
    part.outputs = wanted.iter().filter_map(|(n, v)| Some((n.clone(), there(v)?))).collect();
    let kept = |state: &str| graph.argument(state).is_some_and(|a| used[a.value.index()]);
    part.updates =
        graph.updates.iter().filter(|(s, _)| kept(s)).filter_map(|(s, v)| Some((s.clone(), there(v)?))).collect();
    part.names = graph.names.iter().filter_map(|(n, v)| Some((n.clone(), there(v)?))).collect();
    verify(&part)?;
    Ok(part)
}
