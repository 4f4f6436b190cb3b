//! Where a run first leaves the finite numbers: what the trainer asks when its loss is NaN.

use fer_engine::{EngineError, Feeds, Result, Store};
use fer_graph::Graph;

use crate::{
    element::Element,
    executable::{DfdxExecutable, from_host},
    value::Value,
};

/// The first value that is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// The node's scope; empty for an argument.
    pub scope: String,
    /// The op, or the role of an argument: `input`, `parameter`, `state`.
    pub op: String,
    /// The value's name in the graph or, where it has none, its number there: `%12`.
    pub name: String,
    /// `NaN` or `infinite`.
    pub kind: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Finite,
    Infinite,
    NaN,
}

fn state<E: Element>(value: &Value<E>) -> State {
    let of = |x: E| match x.get() {
        x if x.is_nan() => State::NaN,
        x if x.is_infinite() => State::Infinite,
        _ => State::Finite,
    };
    match value {
        Value::Splat(x) => of(*x),
        Value::Dense(x) => x.iter().map(|&x| of(x)).max().unwrap_or(State::Finite),
        Value::I32(_) | Value::U8(_) | Value::Bool(_) => State::Finite,
    }
}

/// Runs the graph, changing nothing, and looks at every value. At fault is the first that is worse than all its operands: an
/// infinity out of finite numbers, or a NaN out of what had none. Infinite constants (masks) and what they make infinite are
/// meant; a non-finite argument is always named.
pub(crate) fn first_non_finite<E: Element>(
    graph: &Graph,
    store: &dyn Store,
    inputs: &Feeds,
) -> Result<Option<NonFinite>> {
    let executable = DfdxExecutable::<E>::compile(graph)?;
    let graph = &executable.graph;
    let arguments = executable.arguments(inputs, |argument, expected| {
        let stored = store
            .read(&argument.name)
            .ok_or_else(|| EngineError::MissingState { name: argument.name.clone(), expected: expected.clone() })?;
        from_host(&argument.name, &stored, expected)
    })?;
    let describe = |state: State| if state == State::NaN { "NaN" } else { "infinite" };
    for argument in &graph.arguments {
        let found = arguments.get(&argument.value.index()).map_or(State::Finite, state);
        if found != State::Finite {
            return Ok(Some(NonFinite {
                scope: String::new(),
                op: argument.role.name().to_owned(),
                name: argument.name.clone(),
                kind: describe(found),
            }));
        }
    }
    let mut states = vec![State::Finite; graph.values.len()];
    for (index, constant) in executable.constants() {
        states[index] = state(constant);
    }
    let mut fault = None;
    executable.execute(arguments, |node, value| {
        let node = &graph.nodes[node];
        let result = node.results[0];
        let found = state(value);
        states[result.index()] = found;
        let worst = node.operands.iter().map(|o| states[o.index()]).max().unwrap_or(State::Finite);
        if found > worst && fault.is_none() {
            let name = graph.names.iter().find(|(_, v)| **v == result).map(|(n, _)| n.clone());
            fault = Some(NonFinite {
                scope: node.scope.to_string(),
                op: node.op.name(),
                name: name.unwrap_or_else(|| format!("%{}", result.0)),
                kind: describe(found),
            });
        }
    });
    Ok(fault)
}
