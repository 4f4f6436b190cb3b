//! Sums and maxima over axes.

use fer_cpu_kernels::{elementwise::Element, reduce};
use fer_graph::Node;

use super::Lowering;
use crate::step::Home;

impl Lowering<'_> {
    /// Neighbouring axes at once, from the innermost group outwards.
    pub(super) fn reduce(&mut self, node: &Node) {
        if let Some(&x) = self.squares.get(&node.operands[0]) {
            let (isa, from, to) = (self.isa(), self.dense(x), self.output(node.results[0]));
            self.emit([from], [to], move |a| a.write(0)[0] = reduce::sum_of_squares(isa, a.read(0)));
            return;
        }
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
                false => self.buffer(product(&shape), Element::F32, Home::Arena),
            };
            self.emit([from], [to], move |a| match is_sum {
                true => reduce::sum(isa, sizes, a.numbers(0), a.write(0)),
                false => reduce::max(isa, sizes, a.numbers(0), a.write(0)),
            });
            from = to;
        }
    }
}
