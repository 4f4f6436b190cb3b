//! Squares that are only summed, as those of the norms of gradients are.

use std::collections::HashMap;

use fer_graph::{DType, Graph, Node, Value};

use crate::Uses;

/// Of squares that are not computed by themselves, what is squared: whoever sums them does that on the way.
pub type Squares = HashMap<Value, Value>;

/// Finds the squares whose only use is to be summed whole.
pub fn squares(graph: &Graph, uses: &Uses) -> Squares {
    let summed = |node: &Node| {
        let square = node.results[0];
        let sum = &graph.nodes[uses.only_reader(square)?];
        let whole = sum.op.is("reduce_sum")
            && sum.operands[0] == square
            && sum.attributes.ints("axes").len() == graph.shape(square).len();
        (whole && graph.ty(square).dtype == DType::Float).then_some((square, node.operands[0]))
    };
    let squared = |node: &&Node| node.op.is("multiply") && node.operands[0] == node.operands[1];
    graph.nodes.iter().filter(squared).filter_map(summed).collect()
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType};

    use super::*;

    /// The squares in a graph of what becomes of a gradient of `[2, 3]`.
    fn found(dtype: DType, make: impl FnOnce(&Builder, Value) -> Value) -> Squares {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::new(dtype, [2, 3])).unwrap();
        let y = make(&b, x);
        b.output("y", y);
        let graph = b.finish();
        squares(&graph, &Uses::of(&graph))
    }

    fn square(b: &Builder, x: Value) -> Value {
        b.multiply(x, x).unwrap()
    }

    fn whole(b: &Builder, x: Value) -> Value {
        b.reduce_sum(x, &[0, 1]).unwrap()
    }

    #[test]
    fn squares_that_are_summed_whole_are_found() {
        let mut expected = Squares::new();
        let found = found(DType::Float, |b, x| {
            let square = square(b, x);
            expected.insert(square, x);
            b.sqrt(whole(b, square)).unwrap()
        });
        assert_eq!((found.len(), found), (1, expected));
    }

    #[test]
    fn other_sums_and_other_products_are_not() {
        let none = |why: &str, make: fn(&Builder, Value) -> Value| {
            assert!(found(DType::Float, make).is_empty(), "{why}");
        };
        none("no square", |b, x| whole(b, b.multiply(x, b.tanh(x).unwrap()).unwrap()));
        none("sums of rows", |b, x| b.reduce_sum(square(b, x), &[1]).unwrap());
        none("the greatest", |b, x| b.reduce_max(square(b, x), &[0, 1]).unwrap());
        none("a sum of another view", |b, x| b.reduce_sum(b.reshape(square(b, x), &[6]).unwrap(), &[0]).unwrap());
        none("an output", square);
        none("an output that is summed, too", |b, x| {
            let square = square(b, x);
            b.output("square", square);
            whole(b, square)
        });
        none("a square that another node reads, too", |b, x| {
            let square = square(b, x);
            b.multiply(whole(b, square), whole(b, b.tanh(square).unwrap())).unwrap()
        });
        let rounded = found(DType::Bf16, |b, x| whole(b, square(b, x)));
        assert!(rounded.is_empty(), "each square is to be rounded");
    }
}
