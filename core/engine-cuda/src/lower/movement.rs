//! Views, joins, padding and random numbers.

use fer_graph::{Node, Value};
use fer_plan::{Joining, View, joined, targets};

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
            let target = self.targets.get(&node.results[0]).cloned();
            // What is copied for the join is not the work of the node that asks for it.
            let label = self.label.clone();
            self.label.op = "concatenate".into();
            self.label.flops = 0;
            let place = joined(self, graph, node, target);
            self.label = label;
            return place;
        }
        let operand = node.operands[0];
        self.place(operand).seen(graph, node, || self.dense(operand))
    }

    /// Decides which values are written where they will be joined.
    pub(super) fn join(&mut self) {
        if !self.options.is_off("concatenate") {
            self.targets = targets(self.graph, |value| self.room(value));
        }
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

impl Joining for Lowering<'_> {
    fn place(&mut self, value: Value) -> Place {
        self.place(value)
    }

    fn dense(&mut self, value: Value) -> BufferId {
        self.dense(value)
    }

    fn room(&mut self, join: Value) -> BufferId {
        self.buffer(self.graph.ty(join).elements(), self.stored[join.index()], Home::Arena)
    }

    fn copy(&mut self, from: BufferId, view: &View, to: BufferId, target: &View) {
        self.copy(from, view, to, target);
    }
}
