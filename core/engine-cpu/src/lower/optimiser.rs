//! The optimiser's update of one parameter, in place.

use fer_cpu_kernels::{
    elementwise::Element,
    optimiser::{self, AdamW},
};
use fer_graph::{Role, Value};

use super::{Lowering, Place};
use crate::step::{BufferId, Home};

impl Lowering<'_> {
    pub(super) fn adamw(&mut self, index: usize) {
        let node = &self.graph.nodes[index];
        let attributes = &node.attributes;
        let constants = AdamW {
            beta1: attributes.float("beta1"),
            beta2: attributes.float("beta2"),
            epsilon: attributes.float("epsilon"),
            weight_decay: attributes.float("weight_decay"),
            decoupled: attributes.flag("decoupled"),
        };
        let [parameter, gradient, first, second, rate, step] = [0, 1, 2, 3, 4, 5].map(|i| node.operands[i]);
        // The store's own memory, or a copy of it where the old value is still needed.
        let states = [(parameter, 0), (first, 1), (second, 2)].map(|(old, result)| {
            let buffer = self.replaced(index, old, node.results[result]);
            self.set(node.results[result], buffer);
            buffer
        });
        let reads = [gradient, rate, step].map(|v| self.dense(v));
        let isa = self.isa();
        self.emit(reads, states, move |a| {
            let (rate, step) = (a.read::<f32>(1)[0], a.read::<f32>(2)[0]);
            optimiser::adamw(isa, constants, rate, step, a.write(0), a.read(0), a.write(1), a.write(2));
        });
    }

    /// Memory that holds the old value and will hold the new one: the store's, if the new value is its update and nobody reads the
    /// old one afterwards.
    fn replaced(&mut self, index: usize, old: Value, new: Value) -> BufferId {
        let argument = self.graph.arguments.iter().find(|a| a.value == old && a.role != Role::Input);
        let becomes = |name: &str| self.graph.updates.iter().any(|(n, v)| n == name && *v == new);
        let slot = self.clusters.slots[index];
        let readers = &self.uses.readers[old.index()];
        let last =
            !self.uses.leaves[old.index()] && readers.iter().all(|&r| r == index || self.clusters.slots[r] < slot);
        if argument.is_some_and(|a| becomes(&a.name))
            && last
            && let Place::At { buffer, .. } = self.place(old)
        {
            return buffer;
        }
        let from = self.dense(old);
        let count = self.buffers[from].elements;
        let to = self.buffer(count, Element::F32, Home::Arena);
        self.emit([from], [to], |a| a.write::<f32>(0).copy_from_slice(a.read(0)));
        to
    }
}
