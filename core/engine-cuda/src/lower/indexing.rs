//! gather and scatter_add.

use fer_graph::{Node, Value};

use super::{Lowering, Place};
use crate::{kernels::Family, plan::Home};

impl Lowering<'_> {
    pub(super) fn gather(&mut self, node: &Node) {
        let (x, indices) = (self.dense(node.operands[0]), self.dense(node.operands[1]));
        let [_, size, after] = around(self.graph.shape(node.operands[0]), node.attributes.int("axis") as usize);
        let picked = self.buffers[indices].elements;
        let element = self.element(x);
        let to = self.output_as(node.results[0], element);
        let count = self.buffers[to].elements;
        let kernel = self.kernel(Family::Index, "GATHER", &[element.c()]).each(count, 256);
        self.launch(kernel.read(x).read(indices).write(to).int(size).int(picked).int(after).long(count));
    }

    pub(super) fn scatter_add(&mut self, node: &Node) {
        let [indices, updates] = [node.operands[0], node.operands[1]];
        let [_, size, after] = around(self.graph.shape(node.results[0]), node.attributes.int("axis") as usize);
        let picked = self.graph.ty(indices).elements();
        let given = self.known_indices(indices);
        let from = self.dense(updates);
        let to = self.output(node.results[0]);
        let count = self.buffers[to].elements;
        let elements = [self.c(from), self.c(to)];
        if let Some(numbers) = given {
            let mut order: Vec<u32> = (0..picked as u32).collect();
            let row = |i: u32| numbers[i as usize].clamp(0, size as i32 - 1) as usize;
            order.sort_by_key(|&i| row(i));
            let starts: Vec<u32> = (0..=size).map(|s| order.partition_point(|&i| row(i) < s) as u32).collect();
            let (starts, order) = (self.table(&starts), self.table(&order));
            let kernel = self.kernel(Family::Index, "SCATTER_KNOWN", &elements).each(count, 256).read(starts);
            self.launch(kernel.read(order).read(from).write(to).int(size).int(picked).int(after).long(count));
            return;
        }
        let indices = self.dense(indices);
        let kernel = self.kernel(Family::Index, "SCATTER_ADD", &elements).each(count, 256);
        self.launch(kernel.read(indices).read(from).write(to).int(size).int(picked).int(after).long(count));
    }

    /// The indices, where they are a constant of the plan.
    fn known_indices(&mut self, value: Value) -> Option<Vec<i32>> {
        let Place::At { buffer, view } = self.place(value) else { return None };
        let Home::Constant(constant) = self.buffers[buffer].home else { return None };
        let numbers: Vec<i32> =
            (self.constants[constant].as_chunks::<4>().0.iter()).map(|b| i32::from_le_bytes(*b)).collect();
        Some(view.offsets().into_iter().map(|i| numbers[i]).collect())
    }
}

/// Sizes before, at and after an axis.
fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}
