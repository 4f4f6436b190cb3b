//! Reverse-mode differentiation: a walk backwards over a graph that appends the cotangents to it.
//!
//! The rules live beside the ops in `fer-graph`. A primitive's rule is applied here; a composite gets one adjoint node
//! (`layer_norm_vjp`), whose meaning is derived from the forward decomposition by [`expand`], never written twice.

use std::{collections::HashMap, ops::Range};

use fer_graph::{Attributes, Builder, GraphError, Meaning, Node, Op, Result, Value, Vjp, ops};

/// Cotangents of `wrt` for the scalar `objective`, over everything the builder holds.
/// An entry is `None` where the objective does not depend on the value.
///
/// # Errors
/// `objective` when it is not a float scalar, [`GraphError::NoDerivative`] where a rule is missing.
pub fn gradients(b: &Builder, objective: Value, wrt: &[Value]) -> Result<Vec<Option<Value>>> {
    let ty = b.ty(objective);
    if ty.rank() != 0 || !ty.dtype.is_float() {
        return Err(b.malformed("objective", format!("can only differentiate a float scalar, found {ty}")));
    }
    let one = b.full_like(objective, 1.0)?;
    let end = b.look(|g| g.nodes.len());
    pull_back(b, 0..end, &[(objective, one)], wrt)
}

/// Cotangents of `wrt`, given cotangents of some results of the nodes in `range`.
///
/// # Errors
/// [`GraphError::NoDerivative`] where a gradient passes an op that has no rule.
pub fn pull_back(
    b: &Builder,
    range: Range<usize>,
    seeds: &[(Value, Value)],
    wrt: &[Value],
) -> Result<Vec<Option<Value>>> {
    let nodes: Vec<Node> = b.look(|g| g.nodes[range].to_vec());
    let reached = forward_reach(b, &nodes, wrt);
    let is_reached = |v: Value| reached.get(v.index()).copied().unwrap_or(false);
    let mut cotangents: HashMap<Value, Value> = HashMap::new();
    for &(value, cotangent) in seeds {
        accumulate(b, &mut cotangents, value, cotangent)?;
    }
    for node in nodes.iter().rev() {
        let incoming: Vec<Option<Value>> = node.results.iter().map(|r| cotangents.get(r).copied()).collect();
        let wanted: Vec<bool> = node.operands.iter().map(|&o| is_reached(o)).collect();
        if incoming.iter().all(Option::is_none) || !wanted.contains(&true) {
            continue;
        }
        let _scope = b.absolute_scope(&node.scope);
        for (i, outgoing) in apply_rule(b, node, &incoming, &wanted)?.into_iter().enumerate() {
            if let Some(outgoing) = outgoing {
                accumulate(b, &mut cotangents, node.operands[i], outgoing)?;
            }
        }
    }
    Ok(wrt.iter().map(|v| cotangents.get(v).copied()).collect())
}

/// Which values depend on `wrt` through floats; nothing else can need a cotangent.
fn forward_reach(b: &Builder, nodes: &[Node], wrt: &[Value]) -> Vec<bool> {
    let (count, is_float): (usize, Vec<bool>) =
        b.look(|g| (g.values.len(), g.values.iter().map(|(ty, _)| ty.dtype.is_float()).collect()));
    let mut reached = vec![false; count];
    for v in wrt {
        reached[v.index()] = is_float[v.index()];
    }
    for node in nodes {
        if node.op.is("stop_gradient") {
            continue;
        }
        if node.operands.iter().any(|o| reached[o.index()]) {
            for r in &node.results {
                reached[r.index()] = is_float[r.index()];
            }
        }
    }
    reached
}

/// One cotangent (or none) for each operand of a node.
fn apply_rule(b: &Builder, node: &Node, incoming: &[Option<Value>], wanted: &[bool]) -> Result<Vec<Option<Value>>> {
    let missing = || GraphError::NoDerivative { op: node.op.name(), scope: node.scope.to_string() };
    match node.op.def.meaning {
        _ if node.op.adjoint => Err(missing()),
        Meaning::Terminal => Err(missing()),
        Meaning::Primitive(rule) => rule(
            b,
            &Vjp {
                operands: &node.operands,
                results: &node.results,
                cotangents: incoming,
                attributes: &node.attributes,
                wrt: wanted,
            },
        ),
        Meaning::Composite(_) | Meaning::Custom(_) => {
            let given: Vec<usize> = (0..incoming.len()).filter(|&i| incoming[i].is_some()).collect();
            let wrt: Vec<usize> = (0..wanted.len()).filter(|&i| wanted[i]).collect();
            let mut operands = node.operands.clone();
            operands.extend(incoming.iter().flatten());
            let attributes = node.attributes.clone().with("wrt", wrt.as_slice()).with("cotangents", given.as_slice());
            let results = b.emit(Op { def: node.op.def, adjoint: true }, &operands, attributes)?;
            let mut outgoing = vec![None; wanted.len()];
            for (i, result) in wrt.into_iter().zip(results) {
                outgoing[i] = Some(result);
            }
            Ok(outgoing)
        }
    }
}

fn accumulate(b: &Builder, cotangents: &mut HashMap<Value, Value>, value: Value, cotangent: Value) -> Result<()> {
    let sum = match cotangents.get(&value) {
        Some(&so_far) => b.add(so_far, cotangent)?,
        None => cotangent,
    };
    cotangents.insert(value, sum);
    Ok(())
}

/// Replaces a composite, or the adjoint of one, by smaller ops; gives the values of its results.
///
/// # Errors
/// Those of the decomposition; `primitive` when there is nothing to expand.
pub fn expand(b: &Builder, op: Op, operands: &[Value], attributes: &Attributes) -> Result<Vec<Value>> {
    if !op.adjoint {
        return op.decompose(b, operands, attributes);
    }
    let given = attributes.sizes("cotangents");
    let (forward, cotangents) = operands.split_at(operands.len() - given.len());
    let forward = tell_apart(b, forward)?;
    let start = b.look(|g| g.nodes.len());
    let results = op.decompose(b, &forward, attributes)?;
    let end = b.look(|g| g.nodes.len());
    let seeds: Vec<(Value, Value)> = given.iter().zip(cotangents).map(|(&i, &c)| (results[i], c)).collect();
    let wrt: Vec<Value> = attributes.sizes("wrt").into_iter().map(|i| forward[i]).collect();
    let found = pull_back(b, start..end, &seeds, &wrt)?;
    wrt.iter().zip(found).map(|(&v, g)| g.map_or_else(|| b.full_like(v, 0.0), Ok)).collect()
}

/// Gives an operand that stands twice a second name, so that each place gets its own cotangent and not the sum of both.
fn tell_apart(b: &Builder, operands: &[Value]) -> Result<Vec<Value>> {
    let reshape = ops::lookup("reshape").expect("reshape is in the table");
    let mut distinct: Vec<Value> = Vec::with_capacity(operands.len());
    for &operand in operands {
        let value = if distinct.contains(&operand) {
            b.emit1(reshape, &[operand], Attributes::new().with("shape", b.shape(operand).as_slice()))?
        } else {
            operand
        };
        distinct.push(value);
    }
    Ok(distinct)
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType, verify};

    use super::*;

    #[test]
    fn a_composite_gets_one_adjoint_node() {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([2, 3])).unwrap();
        let p = b.log_softmax(x, -1).unwrap();
        let loss = b.reduce_sum(p, &[0, 1]).unwrap();
        let g = gradients(&b, loss, &[x]).unwrap();
        b.output("g", g[0].unwrap());
        let graph = b.finish();
        verify(&graph).unwrap();
        assert_eq!(graph.nodes.last().unwrap().op.name(), "log_softmax_vjp");
    }

    #[test]
    fn what_the_objective_does_not_use_has_no_gradient() {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([2])).unwrap();
        let y = b.input("y", TensorType::float([2])).unwrap();
        let loss = b.reduce_sum(b.multiply(x, b.stop_gradient(y).unwrap()).unwrap(), &[0]).unwrap();
        let g = gradients(&b, loss, &[x, y]).unwrap();
        assert!(g[0].is_some() && g[1].is_none());
    }

    #[test]
    fn only_scalars_are_differentiated() {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([2])).unwrap();
        assert_eq!(gradients(&b, x, &[x]).unwrap_err().code(), "objective");
    }
}
