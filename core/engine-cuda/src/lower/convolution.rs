//! Convolutions and their gradients: as products of the device's library where they are products, else by kernels that gather.

mod gather;
mod geometry;
mod grad;
mod products;

use fer_graph::{DType, Node, Value, ops::Window};

use self::{
    gather::{Target, Weights},
    geometry::Axis,
};
use super::{Lowering, factor::Factor};
use crate::{Element, Precision, device::Math};

/// The convolution that a node belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    images: usize,
    /// In and out.
    channels: [usize; 2],
    cells: [usize; 2],
    kernel: [usize; 2],
    points: [usize; 2],
    window: Window,
}

impl Shape {
    fn new(node: &Node, image: &[usize], kernel: &[usize], result: &[usize]) -> Shape {
        Shape {
            images: image[0],
            channels: [image[1], kernel[0]],
            cells: [image[2], image[3]],
            kernel: [kernel[2], kernel[3]],
            points: [result[2], result[3]],
            window: Window::of(&node.attributes),
        }
    }

    /// Channels of a group, in and out.
    fn of_group(&self) -> [usize; 2] {
        self.channels.map(|c| c / self.window.groups)
    }

    /// Elements of a kernel's channel.
    fn size(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether each channel has a kernel of its own.
    fn is_depthwise(&self) -> bool {
        self.of_group() == [1, 1]
    }

    /// Whether each point sees one cell, and each cell is seen by one point.
    fn is_pointwise(&self) -> bool {
        let Window { stride, padding, groups, .. } = self.window;
        self.kernel == [1, 1] && stride == [1, 1] && padding == [0, 0] && groups == 1
    }

    /// Whether windows tile the image.
    fn is_patches(&self) -> bool {
        let Window { stride, padding, dilation, groups } = self.window;
        let fits = |a: usize| self.cells[a].is_multiple_of(self.kernel[a]);
        self.kernel == stride
            && self.kernel != [1, 1]
            && padding == [0, 0]
            && dilation == [1, 1]
            && groups == 1
            && fits(0)
            && fits(1)
            && self.channels[1] >= FEWEST
    }
}

/// Fewer channels than this leave a product's tiles half empty.
const FEWEST: usize = 32;

impl Lowering<'_> {
    pub(super) fn convolution(&mut self, node: &Node) {
        let (x, kernel, value) = (node.operands[0], node.operands[1], node.results[0]);
        let shape = Shape::new(node, &self.shape(x), &self.shape(kernel), &self.shape(value));
        if self.nothing(value) {
            return;
        }
        if shape.is_pointwise() {
            self.pointwise(&shape, x, kernel, value);
        } else if shape.is_patches() {
            self.patches_forward(&shape, x, kernel, value);
        } else {
            let from = self.dense(x);
            let target = self.on_the_way(value);
            let axes =
                [0, 1].map(|a| Axis::forward(&shape.window, a, shape.cells[a], shape.kernel[a], shape.points[a]));
            let weights = Weights::forward(&shape, self.dense(kernel));
            self.gather_points(&shape, from, &weights, axes, target, self.rounds_to(value));
        }
    }

    /// Where a convolution's result goes: it may be computed with a bias and a leaky rectifier that follow.
    fn on_the_way(&mut self, value: Value) -> Target {
        let (mut bias, mut last) = (None, value);
        if let Some((other, sum)) = self.absorbing().and_then(|absorb| absorb.only_biased(value)) {
            self.clusters.absorb(self.graph, sum);
            bias = Some(self.dense_as(other, Element::F32));
            last = sum;
        }
        // Slope 0 has its own form: 0 * inf would be NaN.
        let rectified = self.absorbing().and_then(|a| a.only_rectified(last)).filter(|(_, slope)| *slope > 0.0);
        let Some((rectified, slope)) = rectified else { return Target { to: self.output(last), bias, slope: 1.0 } };
        self.clusters.absorb(self.graph, rectified);
        let to = self.output(rectified);
        // What is positive stays so, and nothing else becomes it: the adjoint may look at the result instead.
        self.set(last, to);
        Target { to, bias, slope: slope as f32 }
    }

    pub(super) fn convolution_input_grad(&mut self, node: &Node) {
        let (kernel, g, value) = (node.operands[0], node.operands[1], node.results[0]);
        let shape = Shape::new(node, &self.shape(value), &self.shape(kernel), &self.shape(g));
        if self.nothing(value) {
            return;
        }
        if shape.is_pointwise() {
            self.pointwise_input_grad(&shape, kernel, g, value);
        } else if shape.is_patches() {
            self.patches_input_grad(&shape, kernel, g, value);
        } else {
            let from = self.dense(g);
            let to = self.output(value);
            let weights = Weights::backward(&shape, self.dense(kernel));
            let [down, across] =
                [0, 1].map(|a| Axis::backward(&shape.window, a, shape.points[a], shape.kernel[a], shape.cells[a]));
            for down in &down {
                for across in &across {
                    let axes = [down.clone(), across.clone()];
                    self.gather_points(&shape, from, &weights, axes, Target::plain(to), self.rounds_to(value));
                }
            }
        }
    }

    pub(super) fn convolution_kernel_grad(&mut self, node: &Node) {
        let (x, g, value) = (node.operands[0], node.operands[1], node.results[0]);
        let shape = Shape::new(node, &self.shape(x), &self.shape(value), &self.shape(g));
        if self.nothing(value) {
            return;
        }
        if shape.is_pointwise() && self.pointwise_kernel_grad(&shape, x, g, value) {
            return;
        }
        if shape.is_patches() {
            self.patches_kernel_grad(&shape, x, g, value);
        } else {
            self.kernel_grad(&shape, x, g, value);
        }
    }

    /// Whether a value is empty, which then has its place.
    fn nothing(&mut self, value: Value) -> bool {
        let nothing = self.graph.ty(value).elements() == 0;
        if nothing {
            self.output(value);
        }
        nothing
    }

    /// What factors of what makes this value are rounded to.
    fn rounds_to(&self, value: Value) -> Option<Factor> {
        match self.options.precision {
            _ if self.graph.ty(value).dtype == DType::Bf16 => Some(Factor::Bf16),
            Precision::Bf16 => Some(Factor::Bf16),
            Precision::Tf32 => Some(Factor::Tf32),
            Precision::F32 => None,
        }
    }

    /// What factors of what makes this value are stored as.
    fn factors_of(&self, value: Value) -> (Element, Math) {
        let element = self.rounds_to(value).map_or(Element::F32, Factor::stored);
        (element, self.math(element))
    }

    /// The element of a kernel's gradient: that of its type.
    fn grad_element(&self, value: Value) -> Element {
        Element::of(self.graph.ty(value).dtype)
    }
}
