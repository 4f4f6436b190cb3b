//! Convolutions and their adjoints.

use fer_cpu_kernels::convolution::{self, After, Convolution};
use fer_graph::ops::Window;

use super::Lowering;

impl Lowering<'_> {
    pub(super) fn convolution(&mut self, index: usize) {
        let node = &self.graph.nodes[index];
        let window = Window::of(&node.attributes);
        let shape = |image: &[usize], kernel: &[usize]| Convolution {
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
        };
        let [first, second, result] =
            [self.shape(node.operands[0]), self.shape(node.operands[1]), self.shape(node.results[0])];
        let by_patches = match node.op.def.name {
            "convolution" => self.patches_forward(index, &shape(&first, &second)),
            "convolution_input_grad" => self.patches_backward(node, &shape(&result, &first)),
            _ => self.patches_backward(node, &shape(&first, &result)),
        };
        if by_patches {
            return;
        }
        let (isa, factors) = (self.isa(), self.options.factors);
        let (a, b) = (self.dense(node.operands[0]), self.dense(node.operands[1]));
        let value = node.results[0];
        if node.op.is("convolution") {
            let shape = shape(&first, &second);
            let added = self.only_added(index, value);
            let bias = added.and_then(|(other, sum)| Some((self.per_channel(other, shape.out_channels)?, sum)));
            let mut reads = vec![a, b];
            let mut last = value;
            if let Some((bias, sum)) = bias {
                reads.push(self.dense(bias));
                self.absorb(sum);
                last = sum;
            }
            let (to, slope) = match self.only_rectified(last).filter(|(_, slope)| *slope > 0.0) {
                Some((rectified, slope)) => {
                    self.absorb(rectified);
                    let to = self.output(rectified);
                    // What is positive stays so: the adjoint may look at the result instead.
                    self.set(last, to);
                    (to, slope as f32)
                }
                None => (self.output(last), 1.0),
            };
            self.emit(reads, [to], move |m| {
                let after = After { bias: bias.map(|_| m.read(2)), slope };
                convolution::forward(isa, factors, &shape, m.read(0), m.read(1), after, m.write(0));
            });
            return;
        }
        let to = self.output(value);
        match node.op.def.name {
            "convolution_input_grad" => {
                let shape = shape(&result, &first);
                self.emit([a, b], [to], move |m| {
                    convolution::input_grad(isa, factors, &shape, m.read(0), m.read(1), m.write(0));
                });
            }
            _ => {
                let shape = shape(&first, &result);
                self.emit([a, b], [to], move |m| {
                    convolution::kernel_grad(isa, factors, &shape, m.read(0), m.read(1), m.write(0));
                });
            }
        }
    }
}
