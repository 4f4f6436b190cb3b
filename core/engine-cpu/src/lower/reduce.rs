//! Sums and maxima over axes.

use fer_cpu_kernels::{elementwise::Element, reduce};
use fer_graph::{DType, Definition, Node, Value};

use super::Lowering;
use crate::step::Home;

impl Lowering<'_> {
    /// Neighbouring axes at once, from the innermost group outwards.
    pub(super) fn reduce(&mut self, node: &Node) {
        if let Some(x) = self.squared(node) {
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

    /// The value whose squares, and nothing else, a node sums.
    pub(super) fn squared(&self, node: &Node) -> Option<Value> {
        let Definition::Node(index, _) = self.graph.definition(node.operands[0]) else { return None };
        self.is_summed_square(index).then(|| self.graph.nodes[index].operands[0])
    }

    /// Whether a node is a square whose only use is to be summed whole: the norm of a gradient.
    pub(super) fn is_summed_square(&self, index: usize) -> bool {
        let node = &self.graph.nodes[index];
        let result = node.results[0];
        let [reader] = self.uses.readers[result.index()][..] else { return false };
        let sum = &self.graph.nodes[reader];
        !self.options.is_off("sum_of_squares")
            && node.op.is("multiply")
            && node.operands[0] == node.operands[1]
            && self.graph.ty(result).dtype == DType::Float
            && !self.uses.leaves[result.index()]
            && sum.op.is("reduce_sum")
            && sum.operands[0] == result
            && sum.attributes.ints("axes").len() == self.graph.shape(result).len()
    }
}
