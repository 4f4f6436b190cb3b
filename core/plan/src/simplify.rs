//! Merges equal nodes, removes moves that move nothing, drops what no output or update needs.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use fer_graph::{Attribute, Attributes, Graph, Node, Op, Result, Value, verify};

use crate::inline::{conclude, restart};

/// Every op is a pure function of its operands and attributes (random numbers too), so equal nodes have equal results.
/// Differentiating a composite repeats its forward pass; merging is what makes that free.
///
/// Arguments stay, used or not: they are the graph's signature. Names of dropped values are dropped.
///
/// # Errors
/// Only if the graph was not verified.
pub fn simplify(graph: &Graph) -> Result<Graph> {
    let merged = merge(graph)?;
    let kept = drop_unused(&merged)?;
    verify(&kept)?;
    Ok(kept)
}

/// A node that is kept: op, operands, attributes, results.
type Seen = (Op, Vec<Value>, Attributes, Vec<Value>);

fn merge(graph: &Graph) -> Result<Graph> {
    let (b, mut map) = restart(graph)?;
    let mut seen: HashMap<u64, Vec<Seen>> = HashMap::new();
    for node in &graph.nodes {
        let operands: Vec<Value> = node.operands.iter().map(|v| map[v.index()]).collect();
        if moves_nothing(graph, node) {
            map[node.results[0].index()] = operands[0];
            continue;
        }
        let same = seen.entry(fingerprint(node.op, &operands, &node.attributes)).or_default();
        let known = same.iter().find(|(op, o, a, _)| *op == node.op && *o == operands && a.same(&node.attributes));
        let results = match known {
            Some((.., results)) => results.clone(),
            None => {
                let _scope = b.absolute_scope(&node.scope);
                let results = b.emit(node.op, &operands, node.attributes.clone())?;
                same.push((node.op, operands, node.attributes.clone(), results.clone()));
                results
            }
        };
        for (&old, new) in node.results.iter().zip(results) {
            map[old.index()] = new;
        }
    }
    Ok(conclude(b, graph, &map))
}

/// Reshapes and the like that give back what they are given.
fn moves_nothing(graph: &Graph, node: &Node) -> bool {
    let same_type = || graph.ty(node.operands[0]) == graph.ty(node.results[0]);
    match node.op.name().as_str() {
        "reshape" | "convert" | "broadcast_in_dim" | "slice" | "pad" => same_type(),
        "transpose" => node.attributes.ints("permutation").iter().enumerate().all(|(i, &a)| a == i as i64),
        "concatenate" => node.operands.len() == 1,
        "reduce_sum" | "reduce_max" => node.attributes.ints("axes").is_empty(),
        _ => false,
    }
}

fn fingerprint(op: Op, operands: &[Value], attributes: &Attributes) -> u64 {
    let mut h = DefaultHasher::new();
    op.def.name.hash(&mut h);
    op.adjoint.hash(&mut h);
    operands.hash(&mut h);
    for (name, value) in attributes.iter() {
        name.hash(&mut h);
        match value {
            Attribute::Int(v) => v.hash(&mut h),
            Attribute::Float(v) => v.to_bits().hash(&mut h),
            Attribute::Bool(v) => v.hash(&mut h),
            Attribute::Text(v) => v.hash(&mut h),
            Attribute::Ints(v) => v.hash(&mut h),
            Attribute::Floats(v) => v.iter().for_each(|x| x.to_bits().hash(&mut h)),
        }
    }
    h.finish()
}

fn drop_unused(graph: &Graph) -> Result<Graph> {
    let mut used = vec![false; graph.values.len()];
    for (_, v) in graph.outputs.iter().chain(&graph.updates) {
        used[v.index()] = true;
    }
    let mut alive = vec![false; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if node.results.iter().any(|r| used[r.index()]) {
            alive[i] = true;
            for o in &node.operands {
                used[o.index()] = true;
            }
        }
    }
    let (b, mut map) = restart(graph)?;
    for node in graph.nodes.iter().zip(&alive).filter(|(_, alive)| **alive).map(|(n, _)| n) {
        let _scope = b.absolute_scope(&node.scope);
        let operands: Vec<Value> = node.operands.iter().map(|v| map[v.index()]).collect();
        let results = b.emit(node.op, &operands, node.attributes.clone())?;
        for (&old, new) in node.results.iter().zip(results) {
            map[old.index()] = new;
        }
    }
    Ok(conclude(b, graph, &map))
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType};

    use super::*;
    use crate::inline;

    #[test]
    fn the_backward_pass_shares_the_forward_one() {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([4, 5])).unwrap();
        let y = b.softmax(x, -1).unwrap();
        let loss = b.reduce_sum(b.multiply(y, y).unwrap(), &[0, 1]).unwrap();
        let g = fer_autodiff::gradients(&b, loss, &[x]).unwrap()[0].unwrap();
        b.output("loss", loss);
        b.output("g", g);
        let graph = inline(&b.finish(), |_, _| false).unwrap();
        let simple = simplify(&graph).unwrap();
        let count = |g: &Graph, op: &str| g.nodes.iter().filter(|n| n.op.is(op)).count();
        assert_eq!((count(&graph, "exponential"), count(&simple, "exponential")), (2, 1));
    }

    #[test]
    fn what_nothing_uses_goes() {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([4])).unwrap();
        b.exponential(x).unwrap();
        b.output("y", b.reshape(x, &[4]).unwrap());
        assert!(simplify(&b.finish()).unwrap().nodes.is_empty());
    }
}
