use super::Lowering;
use fer_graph::Node;
impl Lowering<'_> {
    pub(super) fn convolution(&mut self, _: &Node) {}
    pub(super) fn convolution_input_grad(&mut self, _: &Node) {}
    pub(super) fn convolution_kernel_grad(&mut self, _: &Node) {}
}
