//! Convolutions and their adjoints.

use fer_cpu_kernels::convolution::{self, After, Convolution};
use fer_graph::{Node, ops::Window};

use super::Lowering;

impl Lowering<'_> {
    /// The sizes of the convolution that a node is, or is a gradient of.
    pub(super) fn convolved(&self, node: &Node) -> Convolution {
        let window = Window::of(&node.attributes);
        let [first, second, result] =
            [node.operands[0], node.operands[1], node.results[0]].map(|v| self.graph.shape(v));
        let (image, kernel) = match node.op.def.name {
            "convolution" => (first, second),
            "convolution_input_grad" => (result, first),
            _ => (first, result),
        };
        Convolution {
            batch: image[0],
            channels: image[1],
            height: image[2],
            width: image[3],
            out_channels: kernel[0],
            kernel: [kernel[2], kernel[3]],
            stride: window.stride,
            padding: window.padding,
            dilation: window.dilation,
            groups: window.groups,
        }
    }

    pub(super) fn convolution(&mut self, node: &Node) {
        let shape = self.convolved(node);
        let by_patches = match node.op.def.name {
            "convolution" => self.patches_forward(node, &shape),
            _ => self.patches_backward(node, &shape),
        };
        if by_patches {
            return;
        }
        let (isa, factors) = (self.isa(), self.options.factors);
        let (a, b) = (self.dense(node.operands[0]), self.dense(node.operands[1]));
        let value = node.results[0];
        if node.op.is("convolution") {
            let bias = self.absorbing().and_then(|absorb| absorb.only_biased(value));
            let mut reads = vec![a, b];
            let mut last = value;
            if let Some((bias, sum)) = bias {
                reads.push(self.dense(bias));
                self.clusters.absorb(self.graph, sum);
                last = sum;
            }
            let rectified = self.absorbing().and_then(|a| a.only_rectified(last));
            let (to, slope) = match rectified.filter(|(_, slope)| *slope > 0.0) {
                Some((rectified, slope)) => {
                    self.clusters.absorb(self.graph, rectified);
                    let to = self.output(rectified);
                    // What is positive stays so: the adjoint may look at the result instead.
                    self.set(last, to);
                    (to, slope as f32)
                }
                None => (self.output(last), 1.0),
            };
            self.emit(reads, [to], move |m| {
                let after = After { bias: bias.map(|_| m.read(2)), slope };
                convolution::forward(isa, factors, &shape, m.numbers(0), m.read(1), after, m.write_numbers(0));
            });
            return;
        }
        let to = self.output(value);
        match node.op.def.name {
            "convolution_input_grad" => self.emit([a, b], [to], move |m| {
                convolution::input_grad(isa, factors, &shape, m.read(0), m.numbers(1), m.write_numbers(0));
            }),
            _ => self.emit([a, b], [to], move |m| {
                convolution::kernel_grad(isa, factors, &shape, m.numbers(0), m.numbers(1), m.write(0));
            }),
        }
    }
}
