//! Values of which another order of their rows is all that is read, as windows of tokens are.

use fer_graph::{Definition, Graph, Value};

use crate::{Starts, Uses, View, follow, root, sources};

/// What is read instead of a value: its rows in another order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arranged {
    pub value: Value,
    /// Of each row, which one of the first value it is.
    pub rows: Vec<usize>,
}

/// The order in which everything that computes with a value reads its rows, if it is one and another than their own. Whoever computes
/// the value row by row can do so in that order, and nothing has to be copied.
pub fn arranged(graph: &Graph, uses: &Uses, value: Value) -> Option<Arranged> {
    let readers = &uses.readers[value.index()];
    if uses.leaves[value.index()] || readers.is_empty() {
        return None;
    }
    let operands = readers.iter().flat_map(|&reader| &graph.nodes[reader].operands);
    let mut roots = operands.filter(|&&operand| sources(graph, operand).contains(&value)).map(|&o| root(graph, o));
    let read = roots.next()?;
    if read == value || roots.any(|other| other != read) {
        return None;
    }
    let width = *graph.shape(value).last()?;
    let map = view_of(graph, value, read)?.rows(width).filter(|map| map.step == 1 || width == 1)?;
    let rows: Option<Vec<usize>> = match &map.starts {
        // All rows at even distances are in their own order.
        Starts::Every { .. } => None,
        Starts::At(starts) => {
            starts.iter().map(|&s| s as usize).map(|s| s.is_multiple_of(width).then_some(s / width)).collect()
        }
    };
    let rows = rows?;
    let mut seen = vec![false; graph.ty(value).elements() / width];
    let once = rows.len() == seen.len() && rows.iter().all(|&row| !std::mem::replace(&mut seen[row], true));
    once.then_some(Arranged { value: read, rows })
}

/// A value seen in the memory of another that it is a view of, and of nothing else.
fn view_of(graph: &Graph, from: Value, value: Value) -> Option<View> {
    if value == from {
        return Some(View::dense(graph.shape(value)));
    }
    let Definition::Node(node, _) = graph.definition(value) else { return None };
    let node = &graph.nodes[node];
    let mut parts = node.operands.iter().map(|&operand| view_of(graph, from, operand));
    match node.op.def.name {
        "concatenate" => {
            let parts: Option<Vec<View>> = parts.collect();
            View::concatenate(&parts?, node.attributes.int("axis") as usize)
        }
        "reshape" | "stop_gradient" | "transpose" | "slice" | "broadcast_in_dim" => {
            follow(node, &parts.next()??, graph.shape(value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType};

    use super::*;

    /// What is read instead of the sum of an input of `[4, 4, 6]`, of what becomes of it, by products with `[2, 6]`.
    fn found(make: impl FnOnce(&Builder, Value) -> Vec<Value>) -> (Option<Arranged>, Vec<Value>) {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([4, 4, 6])).unwrap();
        let weight = b.input("weight", TensorType::float([2, 6])).unwrap();
        let value = b.add(x, x).unwrap();
        let read = make(&b, value);
        for (i, &value) in read.iter().enumerate() {
            b.output(&format!("y{i}"), b.linear(value, weight, None).unwrap());
        }
        let graph = b.finish();
        (arranged(&graph, &Uses::of(&graph), value), read)
    }

    /// Windows of two by two, one behind the other.
    fn windows(b: &Builder, x: Value) -> Value {
        b.transpose(b.reshape(x, &[2, 2, 2, 2, 6]).unwrap(), &[0, 2, 1, 3, 4]).unwrap()
    }

    #[test]
    fn windows_are_an_order_of_rows() {
        let (found, read) = found(|b, x| vec![windows(b, x)]);
        let rows = vec![0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        assert_eq!(found, Some(Arranged { value: read[0], rows }));
    }

    #[test]
    fn so_are_windows_of_what_was_rolled() {
        let (found, read) = found(|b, x| vec![windows(b, b.roll(x, 0, -1).unwrap())]);
        let found = found.unwrap();
        assert_eq!((found.value, &found.rows[..4]), (read[0], &[4, 5, 8, 9][..]));
        let mut rows = found.rows;
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..16));
    }

    #[test]
    fn shapes_of_one_order_are_one() {
        let (found, _) = found(|b, x| {
            let x = windows(b, x);
            vec![b.reshape(x, &[4, 4, 6]).unwrap(), b.reshape(x, &[16, 6]).unwrap()]
        });
        assert!(found.is_some());
    }

    #[test]
    fn what_is_read_in_two_orders_has_none() {
        assert_eq!(found(|b, x| vec![windows(b, x), x]).0, None);
        assert_eq!(found(|b, x| vec![windows(b, x), windows(b, b.roll(x, 1, 1).unwrap())]).0, None);
    }

    #[test]
    fn rows_are_whole_and_all_are_there() {
        // Its own order, columns as rows, a part of the rows, and some of them twice.
        assert_eq!(found(|b, x| vec![b.reshape(x, &[16, 6]).unwrap()]).0, None);
        assert_eq!(found(|b, x| vec![b.reshape(b.transpose(x, &[2, 0, 1]).unwrap(), &[16, 6]).unwrap()]).0, None);
        assert_eq!(found(|b, x| vec![b.slice_axis(b.roll(x, 0, 1).unwrap(), 0, 0, 3).unwrap()]).0, None);
        let twice = |b: &Builder, x: Value| {
            let half = b.slice_axis(b.roll(x, 0, 1).unwrap(), 0, 0, 2).unwrap();
            vec![b.concatenate(&[half, half], 0).unwrap()]
        };
        assert_eq!(found(twice).0, None);
    }

    /// Nobody may look for a value that is not there in its own order.
    #[test]
    fn an_output_is_read_as_it_is() {
        let made = found(|b, x| {
            b.output("x2", x);
            vec![windows(b, x)]
        });
        assert_eq!(made.0, None);
    }
}
