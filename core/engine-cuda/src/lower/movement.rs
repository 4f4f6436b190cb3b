//! Views, joins, padding and random numbers.

use fer_graph::{Node, Value};
use fer_plan::{View, parts, targets};

use super::{Lowering, Place};
use crate::{
    kernels::Family,
    plan::{BufferId, Home},
};

impl Lowering<'_> {
    /// Where the result of a view stands: where its operand does.
    pub(super) fn seen(&mut self, index: usize) -> Place {
        let (graph, node) = (self.graph, &self.graph.nodes[index]);
        if node.op.is("concatenate") {
            return self.joined(node);
        }
        let operand = node.operands[0];
        self.place(operand).seen(graph, node, || self.dense(operand))
    }

    /// Where joined values stand: in the memory of the one value that all are parts of, or in one that they are written to.
    fn joined(&mut self, join: &Node) -> Place {
        let value = join.results[0];
        let target = self.targets.get(&value).cloned();
        if target.is_none() {
            let places: Vec<Place> = join.operands.iter().map(|&o| self.place(o)).collect();
            if let Some(place) = Place::together(&places, join.attributes.int("axis") as usize) {
                return place;
            }
        }
        let (buffer, view) = target.unwrap_or_else(|| (self.joining(value), View::dense(self.graph.shape(value))));
        self.write_parts(join, buffer, &view);
        Place::At { buffer, view }
    }

    /// Copies those parts of a join that were not written to their place already.
    fn write_parts(&mut self, join: &Node, buffer: BufferId, view: &View) {
        let label = self.label.clone();
        self.label.op = "concatenate".into();
        for (part, &operand) in parts(self.graph, join, view).iter().zip(&join.operands) {
            let place = self.place(operand);
            if place.is(buffer, part) {
                continue;
            }
            let (from, view) = match place {
                Place::At { buffer, view } => (buffer, view),
                Place::Splat(_) => (self.dense(operand), View::dense(self.graph.shape(operand))),
            };
            self.copy(from, &view, buffer, part);
        }
        self.label = label;
    }

    /// Decides which values are written where they will be joined.
    pub(super) fn join(&mut self) {
        if !self.options.is_off("concatenate") {
            self.targets = targets(self.graph, |value| self.joining(value));
        }
    }

    /// A buffer for a join's result.
    fn joining(&mut self, value: Value) -> BufferId {
        self.buffer(self.graph.ty(value).elements(), self.stored[value.index()], Home::Arena)
    }

    pub(super) fn pad(&mut self, node: &Node) {
        let from = self.dense(node.operands[0]);
        let (shape, result) = (self.shape(node.operands[0]), self.shape(node.results[0]));
        let (low, interior) = (node.attributes.sizes("low"), node.attributes.sizes("interior"));
        let value = node.attributes.float("value");
        let element = self.element(from);
        let to = self.output_as(node.results[0], element);
        // Eight axes, the outer ones of size 1.
        let words = |list: Vec<usize>, missing: u32| {
            let filled = vec![missing; 8 - list.len()];
            filled.into_iter().chain(list.into_iter().map(|n| n as u32)).collect::<Vec<u32>>()
        };
        let steps = interior.iter().map(|i| i + 1).collect();
        let axes = [words(result.clone(), 1), words(shape, 1), words(low, 0), words(steps, 1)].concat();
        let count: usize = result.iter().product();
        let kernel = self.kernel(Family::Move, "PAD", &[element.c()]).each(count, 256);
        self.launch(kernel.read(from).write(to).words(axes).float(value as f32).long(count));
    }

    pub(super) fn rng_uniform(&mut self, node: &Node) {
        let key = self.dense(node.operands[0]);
        let stream = node.attributes.int("stream") as i32;
        let to = self.output(node.results[0]);
        let count = self.buffers[to].elements;
        let kernel = self.kernel(Family::Move, "RNG_UNIFORM", &[self.c(to)]).each(count.div_ceil(4), 256);
        self.launch(kernel.read(key).write(to).signed(stream).long(count));
    }
}
