//! What a kernel computes on its way: a bias and a rectifier after a convolution, a residual gradient after a norm's.

use fer_graph::{DType, Definition, Value};

use super::Lowering;
use fer_plan::sources;

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

    /// The leaky rectifier that is all that becomes of a value, its adjoint aside: its result and slope, within 0 and 1.
    pub(super) fn only_rectified(&self, value: Value) -> Option<(Value, f64)> {
        let graph = self.graph;
        if self.options.is_off("absorb") || self.uses.leaves[value.index()] || graph.ty(value).dtype != DType::Float {
            return None;
        }
        let mut found = None;
        for &reader in self.uses.readers[value.index()].iter().filter(|r| !self.merged.contains(r)) {
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
                found = Some((node.results[0], slope)).filter(|_| (0.0..=1.0).contains(&slope));
            }
        }
        found.filter(|(result, _)| !self.targets.contains_key(result))
    }

    /// The adjoint of a leaky rectifier that is all that becomes of the cotangent of `x`, where `x` is the rectifier's result and so has
    /// the sign of what came into it: the adjoint's result, and the slope.
    pub(super) fn only_rectified_back(&self, x: Value, cotangent: Value) -> Option<(Value, f64)> {
        let graph = self.graph;
        if self.options.is_off("absorb") || self.uses.leaves[cotangent.index()] || self.targets.contains_key(&cotangent)
        {
            return None;
        }
        let Definition::Node(rectifier, _) = graph.definition(x) else { return None };
        let [reader] = self.uses.readers[cotangent.index()][..] else { return None };
        let (rectifier, adjoint) = (&graph.nodes[rectifier], &graph.nodes[reader]);
        let cluster = self.clusters.of[reader]?;
        let of_it = adjoint.op.adjoint
            && rectifier.op.is("leaky_relu")
            && adjoint.op.def.name == "leaky_relu"
            && adjoint.operands[..] == [rectifier.operands[0], cotangent]
            && adjoint.attributes.float("negative_slope") == rectifier.attributes.float("negative_slope")
            && self.clusters.clusters[cluster].nodes.contains(&reader)
            && !self.targets.contains_key(&adjoint.results[0]);
        // Only a rectifier has a slope.
        let slope = of_it.then(|| rectifier.attributes.float("negative_slope"))?;
        (0.0..=1.0).contains(&slope).then_some((adjoint.results[0], slope))
    }

    /// Finds the adjoints of leaky rectifiers behind a batch norm whose adjoint computes them on its way, from the same x: they are
    /// taken out of their clusters.
    pub(super) fn merge_rectifiers(&mut self) {
        for index in 0..self.graph.nodes.len() {
            if let Some(adjoint) = self.rectifier_of_norm(index) {
                self.absorb(self.graph.nodes[adjoint].results[0]);
                self.merged.insert(adjoint);
            }
        }
    }

    fn rectifier_of_norm(&self, index: usize) -> Option<usize> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        if !node.op.adjoint || node.op.def.name != "batch_norm_training" || self.options.is_off("absorb") {
            return None;
        }
        let &cotangent = node.operands.last()?;
        let Definition::Node(adjoint, _) = graph.definition(cotangent) else { return None };
        let rectifier = &graph.nodes[adjoint];
        if !rectifier.op.adjoint || rectifier.op.def.name != "leaky_relu" {
            return None;
        }
        let Definition::Node(norm, _) = graph.definition(rectifier.operands[0]) else { return None };
        let forward = &graph.nodes[norm];
        let same = forward.op.is("batch_norm_training")
            && forward.operands[..3] == node.operands[..3]
            && forward.results[0] == rectifier.operands[0]
            && forward.attributes.float("epsilon") == node.attributes.float("epsilon");
        let alone = self.uses.readers[cotangent.index()][..] == [index]
            && !self.uses.leaves[cotangent.index()]
            && !self.targets.contains_key(&cotangent);
        (same && alone).then_some(adjoint)
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
        let flat = fer_plan::root(graph, node.operands[0]);
        (fits && axes.contains(&1) && graph.ty(flat).elements() == channels).then_some(flat)
    }
}
