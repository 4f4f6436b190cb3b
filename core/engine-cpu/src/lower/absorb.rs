//! What a kernel computes on its way: a bias and a rectifier after a convolution, a residual gradient after a norm's.

use fer_plan::Absorb;

use super::Lowering;

impl Lowering<'_> {
    /// What a kernel may compute on its way; nothing where that is switched off.
    pub(super) fn absorbing(&self) -> Option<Absorb<'_>> {
        let Lowering { graph, uses, clusters, targets, .. } = self;
        (!self.options.is_off("absorb")).then_some(Absorb { graph, uses, clusters, targets })
    }

    /// Finds the adjoints of leaky rectifiers behind a batch norm whose adjoint computes them on its way, from the same x: they are
    /// taken out of their clusters.
    pub(super) fn merge_rectifiers(&mut self) {
        let Some(absorb) = self.absorbing() else { return };
        self.merged = (0..self.graph.nodes.len()).filter(|&n| absorb.norm_before(n).is_some()).collect();
        for &adjoint in &self.merged {
            self.clusters.absorb(self.graph, self.graph.nodes[adjoint].results[0]);
        }
    }
}
