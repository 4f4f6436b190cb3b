//! What a kernel computes on its way: a bias and a rectifier after a convolution, a residual gradient after a norm's.

use fer_graph::{DType, Definition, Value};

use super::Lowering;
use crate::uses::sources;

impl Lowering<'_> {
    /// The sum that is all that becomes of a result of node `index`, if its other term is there already: that term, and the sum.
    pub(super) fn only_added(&self, index: usize, value: Value) -> Option<(Value, Value)> {
        let graph = self.graph;
        if self.options.is_off("absorb") || self.uses.leaves[value.index()] || self.targets.contains_key(&value) {
            return None;
        }
        let [reader] = self.uses.readers[value.index()][..] else { return None };
        let sum = &graph.nodes[reader];
        let cluster = self.clusters.of[reader]?;
        if !sum.op.is("add")
            || graph.ty(value).dtype != DType::Float
            || !self.clusters.clusters[cluster].nodes.contains(&reader)
        {
            return None;
        }
        let other = match sum.operands[..] {
            [a, b] if a == value && b != value => b,
            [a, b] if b == value && a != value => a,
            _ => return None,
        };
        let there = |source: Value| match graph.definition(source) {
            Definition::Node(producer, _) => self.clusters.slots[producer] < self.clusters.slots[index],
            Definition::Argument(_) => true,
        };
        let known = sources(graph, other).into_iter().all(|s| there(s) && s != value);
        known.then_some((other, sum.results[0]))
    }

    /// The leaky rectifier that is all that becomes of a value, its adjoint aside: its result and slope, which is above 0.
    pub(super) fn only_rectified(&self, value: Value) -> Option<(Value, f64)> {
        let graph = self.graph;
        if self.options.is_off("absorb") || self.uses.leaves[value.index()] || graph.ty(value).dtype != DType::Float {
            return None;
        }
        let mut found = None;
        for &reader in &self.uses.readers[value.index()] {
            let node = &graph.nodes[reader];
            let reads_once = node.operands[0] == value && !node.operands[1..].contains(&value);
            let cluster = self.clusters.of[reader]?;
            if node.op.def.name != "leaky_relu"
                || !reads_once
                || !self.clusters.clusters[cluster].nodes.contains(&reader)
            {
                return None;
            }
            if !node.op.adjoint {
                let slope = node.attributes.float("negative_slope");
                found = Some((node.results[0], slope)).filter(|_| slope > 0.0 && slope <= 1.0);
            }
        }
        found.filter(|(result, _)| !self.targets.contains_key(result))
    }

    /// Takes a value's node out of its cluster: the kernel has computed it.
    pub(super) fn absorb(&mut self, value: Value) {
        if let Definition::Node(node, _) = self.graph.definition(value)
            && let Some(cluster) = self.clusters.of[node].take()
        {
            self.clusters.clusters[cluster].nodes.retain(|&n| n != node);
        }
    }

    /// The one value for each channel of `[n, c, ...]` that `value` repeats.
    pub(super) fn per_channel(&self, value: Value, channels: usize) -> Option<Value> {
        let graph = self.graph;
        let Definition::Node(index, _) = graph.definition(value) else { return None };
        let node = &graph.nodes[index];
        if !node.op.is("broadcast_in_dim") {
            return None;
        }
        let from = graph.shape(node.operands[0]);
        let axes = node.attributes.sizes("broadcast_dimensions");
        let fits = from.iter().zip(&axes).all(|(&size, &axis)| size == if axis == 1 { channels } else { 1 });
        let flat = crate::uses::root(graph, node.operands[0]);
        (fits && axes.contains(&1) && graph.ty(flat).elements() == channels).then_some(flat)
    }
}
