//! Convolutions and their adjoints.

use fer_cpu_kernels::convolution::{self, Convolution};
use fer_graph::{Node, ops::Window};

use super::Lowering;

impl Lowering<'_> {
    pub(super) fn convolution(&mut self, node: &Node) {
        let window = Window::of(&node.attributes);
        let shape = |this: &Self, image: &[usize], kernel: &[usize]| {
            let _ = this;
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
        };
        let isa = self.isa();
        let (a, b) = (self.dense(node.operands[0]), self.dense(node.operands[1]));
        let [first, second, result] =
            [self.shape(node.operands[0]), self.shape(node.operands[1]), self.shape(node.results[0])];
        let to = self.output(node.results[0]);
        match node.op.def.name {
            "convolution" => {
                let shape = shape(self, &first, &second);
                self.emit([a, b], [to], move |m| {
                    convolution::forward(isa, &shape, m.read(0), m.read(1), None, m.write(0));
                });
            }
            "convolution_input_grad" => {
                let shape = shape(self, &result, &first);
                self.emit([a, b], [to], move |m| {
                    convolution::input_grad(isa, &shape, m.read(0), m.read(1), m.write(0));
                });
            }
            _ => {
                let shape = shape(self, &first, &result);
                self.emit([a, b], [to], move |m| {
                    convolution::kernel_grad(isa, &shape, m.read(0), m.read(1), m.write(0));
                });
            }
        }
    }
}
