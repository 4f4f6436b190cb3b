//! Where values stand: in a buffer, seen through a view, or nowhere because they are one number.

use fer_graph::{Graph, Node, Value};

use crate::{View, follow};

/// Where a value stands. Buffers are numbered by the engine.
#[derive(Clone, Debug)]
pub enum Place {
    /// One number everywhere.
    Splat(f64),
    At {
        buffer: usize,
        view: View,
    },
}

impl Place {
    /// Where the result of a view that is no join stands, given where its operand does: in the same buffer. `dense` makes the operand
    /// dense and says in which buffer; it is asked where there are too many pieces to follow, so that a copy is cheaper.
    ///
    /// # Panics
    /// When the node is no view.
    pub fn seen(self, graph: &Graph, node: &Node, dense: impl FnOnce() -> usize) -> Place {
        let Place::At { buffer, view } = self else { return self };
        let shape = graph.shape(node.results[0]);
        match follow(node, &view, shape) {
            Some(view) => Place::At { buffer, view },
            None => {
                let view = View::dense(graph.shape(node.operands[0]));
                let view = follow(node, &view, shape).expect("a dense value can be seen in any way");
                Place::At { buffer: dense(), view }
            }
        }
    }

    /// Where values joined along an axis stand if all are parts of one buffer already.
    pub(crate) fn together(places: &[Place], axis: usize) -> Option<Place> {
        let Place::At { buffer: one, .. } = places.first()? else { return None };
        let views: Option<Vec<View>> = places
            .iter()
            .map(|place| match place {
                Place::At { buffer, view } if buffer == one => Some(view.clone()),
                _ => None,
            })
            .collect();
        Some(Place::At { buffer: *one, view: View::concatenate(&views?, axis)? })
    }

    /// Whether a value stands in a buffer as this view of it says.
    pub(crate) fn is(&self, buffer: usize, view: &View) -> bool {
        matches!(self, Place::At { buffer: own, view: seen } if *own == buffer && seen.sees_as(view))
    }
}

/// The parts of a join within its view, by operand.
///
/// # Panics
/// When the view is not of the join's shape, or its elements stand in no order.
pub(crate) fn parts(graph: &Graph, join: &Node, view: &View) -> Vec<View> {
    let axis = join.attributes.int("axis") as usize;
    let shape = view.shape();
    let mut at = 0;
    let part = |operand: &Value| {
        let (mut start, mut limit) = (vec![0; shape.len()], shape.to_vec());
        start[axis] = at;
        at += graph.shape(*operand)[axis];
        limit[axis] = at;
        view.slice(&start, &limit, &vec![1; shape.len()]).expect("a part of a dense value can be said")
    };
    join.operands.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType};

    use super::*;

    fn at(buffer: usize, view: View) -> Place {
        Place::At { buffer, view }
    }

    #[test]
    fn views_stand_where_their_operand_does_or_in_a_copy() {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([4, 6])).unwrap();
        let turned = b.transpose(x, &[1, 0]).unwrap();
        b.output("y", b.reshape(turned, &[24]).unwrap());
        let graph = b.finish();
        let never = || -> usize { unreachable!("a dense value can be followed") };
        let place = at(3, View::dense(&[4, 6])).seen(&graph, &graph.nodes[0], never);
        assert!(place.is(3, &View::dense(&[4, 6]).transpose(&[1, 0]).unwrap()));
        assert!(!place.is(4, &View::dense(&[4, 6]).transpose(&[1, 0]).unwrap()));
        assert!(!place.is(3, &View::dense(&[6, 4])));
        assert!(
            matches!(Place::Splat(2.0).seen(&graph, &graph.nodes[0], never), Place::Splat(number) if number == 2.0)
        );
    }

    #[test]
    fn parts_of_one_buffer_are_together() {
        let b = Builder::new("t");
        let [x, y] = [("x", 8), ("y", 16)].map(|(name, n)| b.input(name, TensorType::float([4, n])).unwrap());
        b.output("xy", b.concatenate(&[x, y], 1).unwrap());
        let graph = b.finish();
        let whole = View::dense(&[4, 24]);
        let halves = parts(&graph, &graph.nodes[0], &whole);
        assert_eq!(halves.iter().map(View::shape).collect::<Vec<_>>(), [[4, 8], [4, 16]]);
        assert_eq!((halves[0].offsets()[8], halves[1].offsets()[0]), (24, 8));
        let [first, second] = [0, 1].map(|i| halves[i].clone());
        let places = [at(7, first.clone()), at(7, second.clone())];
        assert!(Place::together(&places, 1).unwrap().is(7, &whole));
        assert!(Place::together(&[at(7, first.clone()), at(8, second)], 1).is_none());
        assert!(Place::together(&[at(7, first), Place::Splat(0.0)], 1).is_none());
        assert!(Place::together(&[Place::Splat(0.0)], 1).is_none());
    }
}
