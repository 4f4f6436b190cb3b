//! Checks a whole graph; run after every pass and on everything that comes from outside.

use std::collections::{HashMap, HashSet};

use crate::{Definition, Graph, GraphError, Result, Role, Value, assemble::misplaced};

/// # Errors
/// The first rule that is broken, with its name:
/// `value_range` (an id that no value has), `order` (used before it is defined), `definition` (a value's record disagrees with
/// its argument or node), `duplicate_name`, `type` (recorded type differs from the inferred one), `init` (a parameter or state
/// without a start, or an input with one), `positions` (a table that does not hold what it claims), `update`, `output`, and every op's own constraints.
pub fn verify(graph: &Graph) -> Result<()> {
    let fail = |code, message| Err(GraphError::Malformed { graph: graph.name.clone(), code, message });
    let mut arguments = HashMap::new();
    let mut defined = vec![false; graph.values.len()];
    for (i, argument) in graph.arguments.iter().enumerate() {
        if arguments.insert(argument.name.as_str(), argument).is_some() {
            return fail("duplicate_name", format!("{:?} is declared twice", argument.name));
        }
        match graph.values.get(argument.value.index()) {
            None => {
                return fail(
                    "value_range",
                    format!("{:?} is value {}, which is not there", argument.name, argument.value.0),
                );
            }
            Some((ty, Definition::Argument(d))) if *d == i => {
                if !ty.is_sane() {
                    return fail("shape", format!("{:?} is {ty}, which is empty or too large", argument.name));
                }
            }
            Some(_) => return fail("definition", format!("{:?} is not what its value says", argument.name)),
        }
        if (argument.role == Role::Input) != argument.init.is_none() {
            return fail(
                "init",
                format!(
                    "{:?} is {} {}",
                    argument.name,
                    argument.role.name(),
                    if argument.init.is_none() { "without a start" } else { "with a start" }
                ),
            );
        }
        if let Some(positions) = argument.positions.filter(|p| !p.fit(graph.ty(argument.value))) {
            return fail("positions", misplaced(&argument.name, graph.ty(argument.value), positions));
        }
        defined[argument.value.index()] = true;
    }
    for (n, node) in graph.nodes.iter().enumerate() {
        for &operand in &node.operands {
            match defined.get(operand.index()) {
                None => {
                    return fail("value_range", format!("{:?} uses value {}, which is not there", node.op, operand.0));
                }
                Some(false) => {
                    return fail(
                        "order",
                        format!("{:?} in {:?} uses %{} before it is defined", node.op, node.scope, operand.0),
                    );
                }
                Some(true) => {}
            }
        }
        let inferred =
            node.op.infer(&graph.operand_types(node), &node.attributes).map_err(|e| e.in_scope(&node.scope))?;
        if inferred.len() != node.results.len() {
            return fail(
                "definition",
                format!("{:?} gives {} results, recorded are {}", node.op, inferred.len(), node.results.len()),
            );
        }
        for (r, (&result, ty)) in node.results.iter().zip(&inferred).enumerate() {
            match graph.values.get(result.index()) {
                Some((recorded, Definition::Node(dn, dr))) if (*dn, *dr) == (n, r) => {
                    if recorded != ty {
                        return fail(
                            "type",
                            format!("%{} is recorded as {recorded}, {:?} gives {ty}", result.0, node.op),
                        );
                    }
                }
                _ => return fail("definition", format!("result {r} of {:?} is not what its value says", node.op)),
            }
            defined[result.index()] = true;
        }
    }
    let known = |value: Value| defined.get(value.index()) == Some(&true);
    let mut outputs = HashSet::new();
    for (name, value) in &graph.outputs {
        if !known(*value) {
            return fail("output", format!("output {name:?} is value {}, which is not there", value.0));
        }
        if !outputs.insert(name) {
            return fail("duplicate_name", format!("output {name:?} is given twice"));
        }
    }
    let mut updated = HashSet::new();
    for (name, value) in &graph.updates {
        let target = arguments.get(name.as_str()).filter(|a| a.role != Role::Input);
        match target {
            _ if !known(*value) => {
                return fail("update", format!("the update of {name:?} is value {}, which is not there", value.0));
            }
            None => return fail("update", format!("there is no state or parameter {name:?} to update")),
            Some(a) if graph.ty(a.value) != graph.ty(*value) => {
                return fail("update", format!("{name:?} is {}, its update {}", graph.ty(a.value), graph.ty(*value)));
            }
            Some(_) if !updated.insert(name) => return fail("update", format!("{name:?} is updated twice")),
            Some(_) => {}
        }
    }
    match graph.names.iter().find(|(_, v)| !known(**v)) {
        Some((name, value)) => fail("output", format!("{name:?} names value {}, which is not there", value.0)),
        None => Ok(()),
    }
}
