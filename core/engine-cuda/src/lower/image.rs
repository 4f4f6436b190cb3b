use super::Lowering;
use fer_graph::Node;
impl Lowering<'_> {
    pub(super) fn resize(&mut self, _: &Node, _: bool) {}
    pub(super) fn grid_sample(&mut self, _: &Node) {}
    pub(super) fn grid_sample_vjp(&mut self, _: &Node) {}
    pub(super) fn max_pool(&mut self, _: &Node) {}
    pub(super) fn max_pool_grad(&mut self, _: &Node) {}
}
