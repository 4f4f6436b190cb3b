//! Values that are computed twice instead of being kept.

use std::collections::HashMap;

use fer_graph::{Definition, Graph, Node, Result, Value, verify};

use crate::inline::{conclude, restart};

/// Computes the result of a cheap node anew where an adjoint reads it, if that adjoint's pass keeps the node's operand anyway: of an
/// activation only the input then waits for the backward pass.
///
/// The passes that merge equal nodes must come before this one.
///
/// # Errors
/// Only if the graph was not verified.
pub fn recompute(graph: &Graph, is_cheap: impl Fn(&Node) -> bool) -> Result<Graph> {
    let mut kept = vec![false; graph.values.len()];
    for node in graph.nodes.iter().filter(|n| n.op.adjoint) {
        node.operands.iter().for_each(|v| kept[v.index()] = true);
    }
    let cheap = |value: Value| match graph.definition(value) {
        Definition::Node(n, _) => {
            let node = &graph.nodes[n];
            let waits = node.operands.iter().all(|o| kept[o.index()]);
            (!node.op.adjoint && node.results.len() == 1 && waits && is_cheap(node)).then_some(node)
        }
        Definition::Argument(_) => None,
    };
    let (b, mut map) = restart(graph)?;
    let mut again: HashMap<Value, Value> = HashMap::new();
    for node in &graph.nodes {
        let mut operands = Vec::with_capacity(node.operands.len());
        for &operand in &node.operands {
            operands.push(match cheap(operand).filter(|_| node.op.adjoint) {
                None => map[operand.index()],
                Some(_) if again.contains_key(&operand) => again[&operand],
                Some(source) => {
                    let _scope = b.absolute_scope(&source.scope);
                    let from: Vec<Value> = source.operands.iter().map(|v| map[v.index()]).collect();
                    let anew = b.emit1(source.op, &from, source.attributes.clone())?;
                    again.insert(operand, anew);
                    anew
                }
            });
        }
        let _scope = b.absolute_scope(&node.scope);
        let results = b.emit(node.op, &operands, node.attributes.clone())?;
        for (&old, new) in node.results.iter().zip(results) {
            map[old.index()] = new;
        }
    }
    let done = conclude(b, graph, &map);
    verify(&done)?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType};

    use super::*;

    #[test]
    fn an_activation_is_computed_again_for_the_adjoint() {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([4, 5])).unwrap();
        let [v, w] = ["v", "w"].map(|name| b.input(name, TensorType::float([5, 5])).unwrap());
        let hidden = b.gelu(b.linear(x, v, None).unwrap()).unwrap();
        let loss = b.reduce_sum(b.linear(hidden, w, None).unwrap(), &[0, 1]).unwrap();
        for (i, g) in fer_autodiff::gradients(&b, loss, &[v, w]).unwrap().into_iter().enumerate() {
            b.output(&format!("g{i}"), g.unwrap());
        }
        let graph = crate::simplify(&b.finish()).unwrap();
        let count = |g: &Graph| g.nodes.iter().filter(|n| n.op.is("gelu")).count();
        let again = recompute(&graph, |n| n.op.is("gelu")).unwrap();
        assert_eq!((count(&graph), count(&again)), (1, 2));
        let forward = again.nodes.iter().find(|n| n.op.is("gelu")).unwrap().results[0];
        assert!(again.nodes.iter().filter(|n| n.op.adjoint).all(|n| !n.operands.contains(&forward)));
        assert_eq!(recompute(&graph, |_| false).unwrap(), graph);
    }
}
