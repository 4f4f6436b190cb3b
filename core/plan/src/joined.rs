//! Where joined values stand, and what is copied for that.

use fer_graph::{Graph, Node, Value};

use crate::{Place, View, place::parts};

/// What is asked of an engine that joins values. It numbers the buffers.
pub trait Joining {
    /// Where a value stands; it has been computed.
    fn place(&mut self, value: Value) -> Place;

    /// The buffer in which a value stands densely, copied there if need be.
    fn dense(&mut self, value: Value) -> usize;

    /// A new buffer for a join's result.
    fn room(&mut self, join: Value) -> usize;

    /// Copies elements from one view to another of the same shape.
    fn copy(&mut self, from: usize, view: &View, to: usize, target: &View);
}

/// Where joined values stand: in the memory of the one value that all are parts of, or in one that they are written to, which is the
/// target if there is one. Those that were not written to their place already are copied there.
pub fn joined(engine: &mut impl Joining, graph: &Graph, join: &Node, target: Option<(usize, View)>) -> Place {
    let value = join.results[0];
    if target.is_none() {
        let places: Vec<Place> = join.operands.iter().map(|&o| engine.place(o)).collect();
        if let Some(place) = Place::together(&places, join.attributes.int("axis") as usize) {
            return place;
        }
    }
    let (buffer, view) = target.unwrap_or_else(|| (engine.room(value), View::dense(graph.shape(value))));
    for (part, &operand) in parts(graph, join, &view).iter().zip(&join.operands) {
        let place = engine.place(operand);
        if place.is(buffer, part) {
            continue;
        }
        let (from, view) = match place {
            Place::At { buffer, view } => (buffer, view),
            Place::Splat(_) => (engine.dense(operand), View::dense(graph.shape(operand))),
        };
        engine.copy(from, &view, buffer, part);
    }
    Place::At { buffer, view }
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType};

    use super::*;

    /// An engine that knows where values stand and says what it is asked for.
    struct Told {
        places: Vec<(Value, Place)>,
        made: Vec<String>,
    }

    impl Joining for Told {
        fn place(&mut self, value: Value) -> Place {
            self.places.iter().find(|(known, _)| *known == value).unwrap().1.clone()
        }

        fn dense(&mut self, _: Value) -> usize {
            self.made.push("dense 6".into());
            6
        }

        fn room(&mut self, _: Value) -> usize {
            self.made.push("room 9".into());
            9
        }

        fn copy(&mut self, from: usize, view: &View, to: usize, target: &View) {
            self.made.push(format!("{from} from {} -> {to} from {}", view.offsets()[0], target.offsets()[0]));
        }
    }

    /// Where the join of two values of `[8]` stands, which stand so themselves; and what was made for it.
    fn join(places: [Place; 2], target: Option<(usize, View)>) -> (Place, Vec<String>) {
        let b = Builder::new("t");
        let values = ["x", "y"].map(|name| b.input(name, TensorType::float([8])).unwrap());
        b.output("xy", b.concatenate(&values, 0).unwrap());
        let graph = b.finish();
        let mut engine = Told { places: values.into_iter().zip(places).collect(), made: vec![] };
        let place = joined(&mut engine, &graph, &graph.nodes[0], target);
        (place, engine.made)
    }

    /// A value of `[8]` within one of `[16]`.
    fn half(buffer: usize, start: usize) -> Place {
        let view = View::dense(&[16]).slice(&[start], &[start + 8], &[1]).unwrap();
        Place::At { buffer, view }
    }

    #[test]
    fn parts_of_one_value_are_seen_there() {
        let (place, made) = join([half(3, 8), half(3, 0)], None);
        let Place::At { buffer, view } = place else { panic!("{place:?}") };
        assert_eq!((buffer, view.offsets()), (3, (8..16).chain(0..8).collect()));
        assert!(made.is_empty(), "{made:?}");
    }

    #[test]
    fn other_values_are_copied_beside_each_other() {
        let (place, made) = join([half(3, 8), Place::Splat(1.0)], None);
        assert!(place.is(9, &View::dense(&[16])));
        assert_eq!(made, ["room 9", "3 from 8 -> 9 from 0", "dense 6", "6 from 0 -> 9 from 8"]);
    }

    #[test]
    fn what_was_written_to_its_place_is_not_copied() {
        let whole = View::dense(&[16]);
        let (place, made) = join([half(5, 0), half(3, 0)], Some((5, whole.clone())));
        assert!(place.is(5, &whole));
        assert_eq!(made, ["3 from 0 -> 5 from 8"]);
        // Even if they are together elsewhere.
        let (place, made) = join([half(3, 0), half(3, 8)], Some((5, whole.clone())));
        assert!(place.is(5, &whole));
        assert_eq!(made, ["3 from 0 -> 5 from 0", "3 from 8 -> 5 from 8"]);
    }
}
