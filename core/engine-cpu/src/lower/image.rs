//! resize, grid_sample and max_pool, and their adjoints.

use fer_cpu_kernels::{grid_sample, pool, resize};
use fer_graph::{Attribute, Node, ops::interpolation_matrix};

use super::Lowering;
use crate::step::BufferId;

impl Lowering<'_> {
    pub(super) fn resize(&mut self, node: &Node, adjoint: bool) {
        let attributes = &node.attributes;
        let shape = self.shape(node.operands[0]);
        let size = attributes.sizes("size");
        let corners = attributes.text("coordinate_mode") == "align_corners";
        let taps = [0, 1].map(|axis| {
            let scale = match attributes.get("scales") {
                Some(Attribute::Floats(scales)) => Some(scales[axis]),
                _ => None,
            };
            let (from, to) = (shape[2 + axis], size[axis]);
            let matrix = interpolation_matrix(from, to, scale, corners);
            resize::Taps::from_matrix(to, from, &matrix).expect("bilinear weights have two taps")
        });
        let (isa, planes, from) = (self.isa(), shape[0] * shape[1], (shape[2], shape[3]));
        let given = self.dense(node.operands[usize::from(adjoint)]);
        let to = self.output(node.results[0]);
        self.emit([given], [to], move |a| match adjoint {
            false => resize::forward(isa, planes, from, &taps[0], &taps[1], a.numbers(0), a.write_numbers(0)),
            true => resize::backward(isa, planes, from, &taps[0], &taps[1], a.numbers(0), a.write_numbers(0)),
        });
    }

    fn sampled(&self, node: &Node) -> grid_sample::GridSample {
        let [x, grid] = [self.graph.shape(node.operands[0]), self.graph.shape(node.operands[1])];
        grid_sample::GridSample {
            batch: x[0],
            channels: x[1],
            height: x[2],
            width: x[3],
            out_height: grid[1],
            out_width: grid[2],
            align_corners: node.attributes.flag("align_corners"),
        }
    }

    pub(super) fn grid_sample(&mut self, node: &Node) {
        let (isa, shape) = (self.isa(), self.sampled(node));
        let reads = [self.dense(node.operands[0]), self.dense(node.operands[1])];
        let to = self.output(node.results[0]);
        self.emit(reads, [to], move |a| grid_sample::forward(isa, &shape, a.read(0), a.read(1), a.write(0)));
    }

    pub(super) fn grid_sample_vjp(&mut self, node: &Node) {
        let (isa, shape) = (self.isa(), self.sampled(node));
        let reads = [0, 1, 2].map(|i| self.dense(node.operands[i]));
        let wrt = node.attributes.sizes("wrt");
        let writes: Vec<BufferId> = node.results.iter().map(|&r| self.output(r)).collect();
        self.emit(reads, writes, move |a| {
            let [dx, dgrid] = [0, 1].map(|i| wrt.iter().position(|&w| w == i).map(|at| a.write(at)));
            grid_sample::backward(isa, &shape, a.read(0), a.read(1), a.read(2), dx, dgrid);
        });
    }

    pub(super) fn max_pool(&mut self, node: &Node) {
        let shape = self.shape(node.operands[0]);
        let pair = |name: &str| {
            let sizes = node.attributes.sizes(name);
            [sizes[0], sizes[1]]
        };
        let pool = pool::Pool {
            height: shape[2],
            width: shape[3],
            kernel: pair("kernel_size"),
            stride: pair("stride"),
            padding: pair("padding"),
        };
        let (isa, planes) = (self.isa(), shape[0] * shape[1]);
        let reads: Vec<BufferId> = node.operands.iter().map(|&o| self.dense(o)).collect();
        let to = self.output(node.results[0]);
        let adjoint = node.op.is("max_pool_grad");
        self.emit(reads, [to], move |a| match adjoint {
            false => pool::max_pool(isa, planes, &pool, a.numbers(0), a.write_numbers(0)),
            true => pool::max_pool_grad(isa, planes, &pool, a.numbers(0), a.numbers(1), a.write_numbers(0)),
        });
    }
}
