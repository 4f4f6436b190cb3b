//! What a kernel computes on its way: the addition of a residual gradient to a norm's, and rectifiers around a batch norm.

use fer_graph::{DType, Definition, Node, Value};
use fer_plan::sources;

use crate::lower::Lowering;

impl Lowering<'_> {
    /// The sum that is all that becomes of a node's result, if its other term is there already when the node runs: that term, and the
    /// sum.
    pub(super) fn only_added(&self, value: Value) -> Option<(Value, Value)> {
        let graph = self.graph;
        let Definition::Node(index, _) = graph.definition(value) else { return None };
        if self.options.is_off("absorb") || self.uses.leaves[value.index()] || self.targets.contains_key(&value) {
            return None;
        }
        let [reader] = self.uses.readers[value.index()][..] else { return None };
        let sum = &graph.nodes[reader];
        let cluster = self.clusters.of[reader]?;
        if !sum.op.is("add")
            || graph.ty(value).dtype != DType::Float
            || self.targets.contains_key(&sum.results[0])
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
        sources(graph, other).into_iter().all(|s| there(s) && s != value).then_some((other, sum.results[0]))
    }

    /// The leaky rectifier that is all that becomes of a batch norm's first result: its result and slope, within 0 and 1. The rectifier's
    /// adjoint, where the norm's own adjoint is all that reads it, is taken out of its cluster: see [`Lowering::behind_rectifier`].
    pub(super) fn only_rectified(&mut self, norm: &Node) -> Option<(Value, f32)> {
        let graph = self.graph;
        let value = norm.results[0];
        if self.options.is_off("absorb") || self.uses.leaves[value.index()] || graph.ty(value).dtype != DType::Float {
            return None;
        }
        let readers = self.uses.readers[value.index()].clone();
        for &reader in &readers {
            if self.goes_into_adjoint(reader, norm) {
                self.absorb(graph.nodes[reader].results[0]);
            }
        }
        let mut found = None;
        for &reader in readers.iter().filter(|&&r| !self.goes_into_adjoint(r, norm)) {
            let node = &graph.nodes[reader];
            let reads_once = node.operands[0] == value && !node.operands[1..].contains(&value);
            let cluster = self.clusters.of[reader]?;
            if node.op.def.name != "leaky_relu"
                || !reads_once
                || !node.op.adjoint && found.is_some()
                || !self.clusters.clusters[cluster].nodes.contains(&reader)
            {
                return None;
            }
            if !node.op.adjoint {
                let slope = node.attributes.float("negative_slope");
                found = Some((node.results[0], slope as f32)).filter(|_| (0.0..=1.0).contains(&slope));
            }
        }
        found.filter(|(result, _)| !self.targets.contains_key(result))
    }

    /// Whether a node is the adjoint of a leaky rectifier behind a batch norm, and read by that norm's adjoint alone.
    fn goes_into_adjoint(&self, rectifier: usize, norm: &Node) -> bool {
        let graph = self.graph;
        let adjoint = &graph.nodes[rectifier];
        if !adjoint.op.adjoint || adjoint.op.def.name != "leaky_relu" || adjoint.operands[0] != norm.results[0] {
            return false;
        }
        let cotangent = adjoint.results[0];
        let [reader] = self.uses.readers[cotangent.index()][..] else { return false };
        let reader = &graph.nodes[reader];
        reader.op.adjoint
            && reader.op.def.name == "batch_norm_training"
            && reader.operands[..3] == norm.operands[..3]
            && reader.operands[5..] == [cotangent]
            && reader.attributes.float("epsilon") == norm.attributes.float("epsilon")
            && !self.uses.leaves[cotangent.index()]
            && !self.targets.contains_key(&cotangent)
    }

    /// The cotangent of a batch norm's result, or where that is the adjoint of a rectifier that is gone through on the way, and so was not
    /// computed, the cotangent of the rectifier's result; and the slope, 1 where there is none.
    pub(super) fn behind_rectifier(&self, cotangent: Value) -> (Value, f32) {
        match self.graph.definition(cotangent) {
            Definition::Node(n, _)
                if self.places[cotangent.index()].is_none() && self.graph.nodes[n].op.def.name == "leaky_relu" =>
            {
                let node = &self.graph.nodes[n];
                (node.operands[1], node.attributes.float("negative_slope") as f32)
            }
            _ => (cotangent, 1.0),
        }
    }

    /// The adjoint of a leaky rectifier that is all that becomes of the cotangent of `x`, where `x` is the rectifier's result and so has
    /// the sign of what came into it: the adjoint's result, and the slope.
    pub(super) fn only_rectified_back(&self, x: Value, cotangent: Value) -> Option<(Value, f32)> {
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
        (0.0..=1.0).contains(&slope).then_some((adjoint.results[0], slope as f32))
    }

    /// Takes a value's node out of its cluster: the kernel has computed it.
    pub(super) fn absorb(&mut self, value: Value) {
        if let Definition::Node(node, _) = self.graph.definition(value)
            && let Some(cluster) = self.clusters.of[node].take()
        {
            self.clusters.clusters[cluster].nodes.retain(|&n| n != node);
        }
    }
}
