//! Sums and maxima over axes.

use fer_cpu_kernels::reduce;
use fer_graph::Node;

use super::Lowering;
use crate::step::Home;

impl Lowering<'_> {
    /// Neighbouring axes at once, from the innermost group outwards.
    pub(super) fn reduce(&mut self, node: &Node) {
        let mut shape = self.shape(node.operands[0]);
        let mut from = self.dense(node.operands[0]);
        let mut axes = node.attributes.sizes("axes");
        let (isa, is_sum) = (self.isa(), node.op.is("reduce_sum"));
        while let Some(last) = axes.pop() {
            let mut first = last;
            while axes.last().is_some_and(|&a| a + 1 == first) {
                first -= 1;
                axes.pop();
            }
            let product = |list: &[usize]| list.iter().product::<usize>();
            let sizes = [product(&shape[..first]), product(&shape[first..=last]), product(&shape[last + 1..])];
            shape.drain(first..=last);
            let to = match axes.is_empty() {
                true => self.output(node.results[0]),
                false => self.buffer(product(&shape), self.buffers[from].element, Home::Arena),
            };
            self.emit([from], [to], move |a| match is_sum {
                true => reduce::sum(isa, sizes, a.read(0), a.write(0)),
                false => reduce::max(isa, sizes, a.read(0), a.write(0)),
            });
            from = to;
        }
    }
}
