//! Asks a component for its fragment and copies it into the graph under construction.

use fer_abi::{NamedTensorType, TensorType as AbiType};
use fer_config::{ConfigError, Resolved};
use fer_graph::{Argument, Builder, Graph, Role, TensorType, Value, import};

use super::recipe::Part;

/// A tensor type as plain data.
pub fn offer(name: &str, ty: &TensorType) -> NamedTensorType {
    let shape = ty.shape.iter().map(|&d| d as u64).collect();
    NamedTensorType { name: name.into(), ty: AbiType { dtype: ty.dtype.name().into(), shape } }
}

/// A component's own graph for the given inputs.
///
/// # Errors
/// The component's refusal, at the option it names; `sources` are lines that say where the inputs come from.
pub fn fragment(
    resolved: &Resolved,
    part: &Part,
    inputs: &[(&str, TensorType)],
    training: bool,
    sources: &[String],
) -> Result<Graph, ConfigError> {
    let offered = inputs.iter().map(|(name, ty)| offer(name, ty)).collect::<Vec<_>>();
    let request = part.component.request(part.options.clone(), offered, training);
    let who = format!("{} {:?}", part.component.kind(), part.component.id());
    let built = part.component.build(&request).map_err(|error| {
        let option = error.option.as_str();
        let at = if option.is_empty() { part.path.clone() } else { format!("{}.{option}", part.path) };
        let help = (!error.help.is_empty()).then_some(error.help.as_str());
        let message = match sources {
            [] => format!("{who} cannot be built: {}", error.message),
            _ => format!("{who} cannot take what it is given: {}", error.message),
        };
        let error = resolved.error_at(&at, &message, "asked for here", help);
        sources.iter().fold(error, |e, line| e.note(line.clone()))
    })?;
    import(&built).map_err(|error| {
        let message = format!("{who} gives a graph that is not well formed: {error}");
        let help = "this is a fault of the plugin; please report it to its author";
        resolved.error_at(&part.path, &message, "asked for here", Some(help))
    })
}

/// Copies a fragment below `scope`: parameters and states get the scope before their name, inputs come from `inputs`, the step's
/// random key is shared. Gives the values of its outputs, by name.
///
/// # Errors
/// An input that nothing provides.
pub fn place(
    b: &Builder,
    scope: &str,
    fragment: &Graph,
    inputs: &[(&str, Value)],
) -> fer_graph::Result<Vec<(String, Value)>> {
    let _scope = b.scope(scope);
    let map = b.inline(fragment, |b, argument, ty| bind(b, argument, ty, inputs))?;
    for (state, value) in &fragment.updates {
        let state = fragment.argument(state).expect("a verified graph updates its own states").value;
        b.update(map[state.index()], map[value.index()])?;
    }
    Ok(fragment.outputs.iter().map(|(name, value)| (name.clone(), map[value.index()])).collect())
}

fn bind(b: &Builder, argument: &Argument, ty: &TensorType, inputs: &[(&str, Value)]) -> fer_graph::Result<Value> {
    if argument.role != Role::Input {
        return b.argument_like(&b.full_name(&argument.name), argument, ty);
    }
    if argument.name == "rng" {
        return b.rng_key();
    }
    match inputs.iter().find(|(name, _)| *name == argument.name) {
        Some((_, value)) => Ok(*value),
        None => Err(b.malformed("input", format!("nothing provides the input {:?}", argument.name))),
    }
}

/// Whether a loss looks at the prior table at all.
///
/// # Errors
/// A loss that cannot be built.
pub fn uses_prior(resolved: &Resolved, loss: &Part, classes: usize) -> Result<bool, ConfigError> {
    let table = TensorType::float([1, classes]);
    let inputs = [
        ("logits", table.clone()),
        ("targets", table),
        ("prior", TensorType::float([classes, classes])),
        ("weights", TensorType::float([1])),
    ];
    let graph = fragment(resolved, loss, &inputs, true, &[])?;
    let prior = graph.argument("prior").map(|a| a.value);
    Ok(graph.nodes.iter().any(|n| n.operands.iter().any(|o| Some(*o) == prior)))
}
