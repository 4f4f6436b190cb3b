//! Which values are written where they will be joined, so that joining them costs nothing.

use std::collections::HashMap;

use fer_graph::{Definition, Graph, Value};

use crate::{View, is_view, place::parts, sources};

/// Of values that are written elsewhere than to a buffer of their own, the buffer and the view of it.
pub type Targets = HashMap<Value, (usize, View)>;

/// Gives each join a buffer, and lets those values that nobody else reads be written to their parts of it. `buffer` makes a buffer for a
/// join's result. Joins of parts of one value are left alone: that one is seen otherwise.
pub fn targets(graph: &Graph, mut buffer: impl FnMut(Value) -> usize) -> Targets {
    let mut targets = Targets::new();
    let seen = seen(graph);
    for node in graph.nodes.iter().rev().filter(|node| node.op.is("concatenate")) {
        let joined: Vec<Value> = node.operands.iter().flat_map(|&o| sources(graph, o)).collect();
        if joined.iter().all(|s| *s == joined[0]) {
            continue;
        }
        let value = node.results[0];
        let (buffer, view) = (buffer(value), View::dense(graph.shape(value)));
        for (part, &operand) in parts(graph, node, &view).into_iter().zip(&node.operands) {
            if let Some((written, part)) = written(graph, &seen, operand, part) {
                targets.insert(written, (buffer, part));
            }
        }
        targets.insert(value, (buffer, view));
    }
    targets
}

/// The computed value behind an operand that only a join sees, and how it is to be written for the operand to stand as `view`.
fn written(graph: &Graph, seen: &[usize], operand: Value, mut view: View) -> Option<(Value, View)> {
    let mut value = operand;
    loop {
        let Definition::Node(n, _) = graph.definition(value) else { return None };
        let node = &graph.nodes[n];
        if seen[value.index()] != 1 {
            return None;
        }
        if !is_view(node) {
            return Some((value, view));
        }
        view = match node.op.def.name {
            "reshape" => view.reshape(graph.shape(node.operands[0])),
            "stop_gradient" => view,
            "transpose" => {
                let permutation = node.attributes.sizes("permutation");
                let mut inverse = vec![0; permutation.len()];
                for (i, &a) in permutation.iter().enumerate() {
                    inverse[a] = i;
                }
                view.transpose(&inverse)?
            }
            _ => return None,
        };
        value = node.operands[0];
    }
}

/// How often each value is an operand, an output or an update.
fn seen(graph: &Graph) -> Vec<usize> {
    let mut seen = vec![0; graph.values.len()];
    let leaving = graph.outputs.iter().chain(&graph.updates).map(|(_, v)| v);
    for v in graph.nodes.iter().flat_map(|n| &n.operands).chain(leaving) {
        seen[v.index()] += 1;
    }
    seen
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType};

    use super::*;

    #[test]
    fn values_that_only_a_join_sees_are_written_to_their_part() {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([2, 3])).unwrap();
        let turned = b.exponential(x).unwrap();
        let shown = b.tanh(x).unwrap();
        b.output("shown", shown);
        let twice = b.negate(x).unwrap();
        let flat = b.reshape(b.transpose(turned, &[1, 0]).unwrap(), &[6]).unwrap();
        let parts = [flat, b.reshape(shown, &[6]).unwrap(), b.reshape(x, &[6]).unwrap()];
        let joined = b.concatenate(&parts, 0).unwrap();
        b.output("y", b.multiply(joined, joined).unwrap());
        let again = b.reshape(twice, &[6]).unwrap();
        let pair = b.concatenate(&[again, b.exponential(again).unwrap()], 0).unwrap();
        b.output("z", b.tanh(pair).unwrap());
        let graph = b.finish();
        let mut made = vec![];
        let found = targets(&graph, |value| {
            made.push(value);
            made.len() - 1
        });
        // The last join is looked at first.
        assert_eq!(made, [pair, joined]);
        let of = |value: Value| found.get(&value).map(|(buffer, view)| (*buffer, view.offsets()));
        assert_eq!(of(joined), Some((1, (0..18).collect())));
        // Its elements in its own order, transposed where they are written.
        assert_eq!(of(turned), Some((1, vec![0, 2, 4, 1, 3, 5])));
        // An output, an argument, and what is read by others too, stand for themselves.
        assert_eq!([of(shown), of(x), of(twice)], [None, None, None]);
        // The exponential of `again`, beside it.
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn parts_of_one_value_are_not_written_anywhere() {
        let b = Builder::new("t");
        let x = b.exponential(b.input("x", TensorType::float([6])).unwrap()).unwrap();
        let halves = [b.slice_axis(x, 0, 3, 6).unwrap(), b.slice_axis(x, 0, 0, 3).unwrap()];
        b.output("y", b.tanh(b.concatenate(&halves, 0).unwrap()).unwrap());
        assert!(targets(&b.finish(), |_| unreachable!("nothing is joined")).is_empty());
    }
}
