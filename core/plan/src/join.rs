//! Sums of padded pieces as joins: what the derivatives of slices add up to.

use fer_graph::{Attributes, Builder, Definition, Graph, Node, Result, Value, ops::lookup, verify};

use crate::inline::{conclude, restart};

/// A piece between zeros along one axis.
#[derive(Clone, Copy, Debug)]
struct Piece {
    value: Value,
    axis: usize,
    low: usize,
    high: usize,
}

/// Replaces sums of zero-padded pieces that do not overlap by one `concatenate`: a tensor of which parts were taken gets its cotangent
/// in parts. Adding zeros changes nothing, so neither does this.
///
/// # Errors
/// Only if the graph was not verified.
pub fn join(graph: &Graph) -> Result<Graph> {
    let mut uses = vec![0usize; graph.values.len()];
    for v in graph.nodes.iter().flat_map(|n| &n.operands) {
        uses[v.index()] += 1;
    }
    for (_, v) in graph.outputs.iter().chain(&graph.updates) {
        uses[v.index()] += 1;
    }
    // Sums within sums are looked at with the outermost one.
    let mut inner = vec![false; graph.values.len()];
    for node in graph.nodes.iter().filter(|n| n.op.is("add")) {
        for v in node.operands.iter().filter(|v| uses[v.index()] == 1) {
            inner[v.index()] = true;
        }
    }
    let (b, mut map) = restart(graph)?;
    for node in &graph.nodes {
        let _scope = b.absolute_scope(&node.scope);
        let mut terms = vec![];
        if node.op.is("add") && !inner[node.results[0].index()] {
            collect(graph, node, &uses, &mut terms);
        }
        let results = match pieces(graph, &terms) {
            Some((pieces, rest)) => vec![assemble(&b, graph, &map, node, &pieces, &rest)?],
            None => {
                let operands: Vec<Value> = node.operands.iter().map(|v| map[v.index()]).collect();
                b.emit(node.op, &operands, node.attributes.clone())?
            }
        };
        for (&old, new) in node.results.iter().zip(results) {
            map[old.index()] = new;
        }
    }
    let joined = conclude(b, graph, &map);
    verify(&joined)?;
    Ok(joined)
}

/// The terms of a sum, through sums that nobody else reads.
fn collect(graph: &Graph, node: &Node, uses: &[usize], terms: &mut Vec<Value>) {
    for &operand in &node.operands {
        match graph.definition(operand) {
            Definition::Node(n, _) if graph.nodes[n].op.is("add") && uses[operand.index()] == 1 => {
                collect(graph, &graph.nodes[n], uses, terms);
            }
            _ => terms.push(operand),
        }
    }
}

/// The terms that can be joined, in order along their axis, and the others; `None` where there are not two.
fn pieces(graph: &Graph, terms: &[Value]) -> Option<(Vec<Piece>, Vec<Value>)> {
    let (mut found, mut rest): (Vec<Piece>, Vec<Value>) = (vec![], vec![]);
    for &term in terms {
        match piece(graph, term) {
            Some(piece) if found.first().is_none_or(|first| first.axis == piece.axis) => found.push(piece),
            _ => rest.push(term),
        }
    }
    found.sort_by_key(|p| p.low);
    let apart = found.windows(2).all(|w| w[0].high <= w[1].low);
    (found.len() > 1 && apart).then_some((found, rest))
}

fn piece(graph: &Graph, value: Value) -> Option<Piece> {
    let Definition::Node(n, _) = graph.definition(value) else { return None };
    let node = &graph.nodes[n];
    if !node.op.is("pad") || node.attributes.float("value").to_bits() != 0 {
        return None;
    }
    let lists = ["low", "high", "interior"].map(|name| node.attributes.sizes(name));
    let mut padded = (0..lists[0].len()).filter(|&a| lists[0][a] > 0 || lists[1][a] > 0);
    let axis = padded.next()?;
    if padded.next().is_some() || lists[2].iter().any(|&i| i > 0) {
        return None;
    }
    let size = graph.shape(node.operands[0])[axis];
    Some(Piece { value: node.operands[0], axis, low: lists[0][axis], high: lists[0][axis] + size })
}

fn assemble(b: &Builder, graph: &Graph, map: &[Value], node: &Node, pieces: &[Piece], rest: &[Value]) -> Result<Value> {
    let ty = graph.ty(node.results[0]);
    let axis = pieces[0].axis;
    let mut parts = vec![];
    let mut at = 0;
    let zeros = |from: usize, to: usize| {
        let mut shape = ty.shape.clone();
        shape[axis] = to - from;
        b.constant_of(ty.dtype, &shape, vec![0.0])
    };
    for piece in pieces {
        if piece.low > at {
            parts.push(zeros(at, piece.low)?);
        }
        parts.push(map[piece.value.index()]);
        at = piece.high;
    }
    if at < ty.shape[axis] {
        parts.push(zeros(at, ty.shape[axis])?);
    }
    let mut sum = b.concatenate(&parts, axis)?;
    let add = lookup("add").expect("add is in the table");
    for term in rest {
        sum = b.emit1(add, &[sum, map[term.index()]], Attributes::new())?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use fer_graph::TensorType;

    use super::*;
    use crate::simplify;

    fn gradient(of: impl Fn(&Builder, Value) -> Value) -> Graph {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([4, 6])).unwrap();
        let y = of(&b, x);
        let axes: Vec<usize> = (0..b.rank(y)).collect();
        let loss = b.reduce_sum(b.exponential(y).unwrap(), &axes).unwrap();
        let g = fer_autodiff::gradients(&b, loss, &[x]).unwrap()[0].unwrap();
        b.output("g", g);
        simplify(&join(&simplify(&b.finish()).unwrap()).unwrap()).unwrap()
    }

    fn count(graph: &Graph, op: &str) -> usize {
        graph.nodes.iter().filter(|n| n.op.is(op)).count()
    }

    #[test]
    fn parts_of_a_tensor_get_one_cotangent() {
        let graph = gradient(|b, x| {
            let [q, k, v] = [0, 2, 4].map(|i| b.slice_axis(x, 1, i, i + 2).unwrap());
            b.multiply(b.multiply(q, k).unwrap(), v).unwrap()
        });
        assert_eq!((count(&graph, "pad"), count(&graph, "concatenate"), count(&graph, "add")), (0, 1, 0));
    }

    #[test]
    fn what_is_not_covered_is_zero_and_what_overlaps_stays() {
        let graph = gradient(|b, x| {
            let [p, q] = [0, 4].map(|i| b.slice_axis(x, 1, i, i + 2).unwrap());
            b.multiply(p, q).unwrap()
        });
        assert_eq!((count(&graph, "pad"), count(&graph, "concatenate")), (0, 1));
        let graph = gradient(|b, x| {
            let [p, q] = [0, 1].map(|i| b.slice_axis(x, 1, i, i + 3).unwrap());
            b.multiply(p, q).unwrap()
        });
        assert_eq!((count(&graph, "pad"), count(&graph, "add")), (2, 1));
    }

    #[test]
    fn a_rolled_tensor_is_rolled_back() {
        let graph = gradient(|b, x| b.multiply(b.roll(x, 0, 1).unwrap(), x).unwrap());
        assert_eq!((count(&graph, "pad"), count(&graph, "concatenate")), (0, 2));
    }
}
