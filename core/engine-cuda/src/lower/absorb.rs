//! What a kernel computes on its way: the addition of a residual gradient to a norm's, rectifiers around a batch norm, and a bias and a
//! rectifier behind a convolution.

use fer_graph::{Definition, Node, Value};
use fer_plan::Absorb;

use super::Lowering;

impl Lowering<'_> {
    /// What a kernel may compute on its way; nothing where that is switched off.
    pub(super) fn absorbing(&self) -> Option<Absorb<'_>> {
        let Lowering { graph, uses, clusters, targets, .. } = self;
        (!self.options.is_off("absorb")).then_some(Absorb { graph, uses, clusters, targets })
    }

    /// The leaky rectifier that is all that becomes of a batch norm's first result: its result and slope. The rectifier's adjoint, where
    /// the norm's own adjoint is all that reads it, is taken out of its cluster: see [`Lowering::behind_rectifier`].
    pub(super) fn only_rectified(&mut self, norm: &Node) -> Option<(Value, f32)> {
        let value = norm.results[0];
        let absorb = self.absorbing().filter(|a| !a.uses.leaves[value.index()])?;
        let rectified = absorb.only_rectified(value);
        let readers = self.uses.readers[value.index()].iter().copied();
        let behind: Vec<usize> = readers.filter(|&r| absorb.norm_before(r) == Some(value)).collect();
        for adjoint in behind {
            self.clusters.absorb(self.graph, self.graph.nodes[adjoint].results[0]);
        }
        rectified.map(|(result, slope)| (result, slope as f32))
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
}
