//! Convolutions whose windows do not overlap (patch embeddings) as matrix products.
//!
//! The image is laid out patch by patch once; forward and backward are products of that. The result stands token by token, as the
//! transformer behind it wants it.

use fer_cpu_kernels::{
    convolution::Convolution,
    elementwise::Element,
    product::{self, Along, Size},
};
use fer_graph::{Node, Value};
use fer_plan::View;

use super::{Lowering, Place, product::Matrix};
use crate::step::{BufferId, Home};

/// Fewer channels than this leave a product's tiles half empty.
const FEWEST: usize = 32;

/// Whether the windows of a convolution tile its image.
fn tiles(shape: &Convolution) -> bool {
    shape.kernel == shape.stride
        && shape.kernel != [1, 1]
        && shape.padding == [0, 0]
        && shape.dilation == [1, 1]
        && shape.groups == 1
        && shape.height.is_multiple_of(shape.kernel[0])
        && shape.width.is_multiple_of(shape.kernel[1])
        && shape.out_channels >= FEWEST
}

/// Rows, patches a row and numbers of a patch: `m`, `o`, `k` of the forward product.
fn size(shape: &Convolution) -> Size {
    let [down, across] = shape.kernel;
    let patches = shape.batch * (shape.height / down) * (shape.width / across);
    Size { m: patches, n: shape.out_channels, k: shape.channels * down * across }
}

/// Axes of an image in patches: image, row and column of patches, channel, row and column within.
fn patch_axes(shape: &Convolution) -> [usize; 6] {
    let [down, across] = shape.kernel;
    [shape.batch, shape.height / down, shape.width / across, shape.channels, down, across]
}

/// `[n, c, rows, down, columns, across]` seen patch by patch, and back.
const TO_PATCHES: [usize; 6] = [0, 2, 4, 1, 3, 5];
const FROM_PATCHES: [usize; 6] = [0, 3, 1, 4, 2, 5];

impl Lowering<'_> {
    /// Whether a convolution is computed as a product of patches, where nothing else stands against it.
    pub(super) fn is_of_patches(&self, shape: &Convolution) -> bool {
        tiles(shape) && !self.options.is_off("patches")
    }

    /// The convolution as a product; false where it is none.
    pub(super) fn patches_forward(&mut self, node: &Node, shape: &Convolution) -> bool {
        let value = node.results[0];
        if !self.is_of_patches(shape) || self.targets.contains_key(&value) {
            return false;
        }
        let bias = self.absorbing().and_then(|absorb| absorb.only_biased(value));
        let (size, isa, factors) = (size(shape), self.isa(), self.options.factors);
        let patches = self.patches(node.operands[0], shape);
        let weight = self.dense(node.operands[1]);
        let mut reads = vec![patches, weight];
        let mut last = value;
        if let Some((bias, sum)) = bias {
            reads.push(self.dense(bias));
            self.clusters.absorb(self.graph, sum);
            last = sum;
        }
        let c = self.buffer(size.m * size.n, Element::F32, Home::Arena);
        let [n, rows, columns, ..] = patch_axes(shape);
        let view = View::dense(&[n, rows, columns, size.n]).transpose(&[0, 3, 1, 2]);
        let view = view.expect("a dense value can be seen in any order");
        self.places[last.index()] = Some(Place::At { buffer: c, view });
        let has_bias = bias.is_some();
        self.emit(reads, [c], move |a| {
            let side = |i| product::Side { data: a.numbers(i), rows: product::Rows::Every(size.k), along: Along::Kept };
            let (left, right) = (side(0), side(1));
            let bias = has_bias.then(|| a.read(2));
            product::multiply(isa, factors, size, left, right, bias, false, a.write(0));
        });
        true
    }

    /// The gradient of the image or of the kernel as a product; false where it is none.
    pub(super) fn patches_backward(&mut self, node: &Node, shape: &Convolution) -> bool {
        let value = node.results[0];
        if !self.is_of_patches(shape) || self.targets.contains_key(&value) {
            return false;
        }
        let Size { m, n: o, k } = size(shape);
        let Some(g) = self.tokens(node.operands[1], o) else { return false };
        let (isa, factors) = (self.isa(), self.options.factors);
        if node.op.is("convolution_kernel_grad") {
            let patches = self.patches(node.operands[0], shape);
            let (a, b) = (g.turned(), Matrix::dense(patches, k, Along::Contracted));
            let c = self.output(value);
            self.emit([a.buffer, b.buffer], [c], move |access| {
                let (a, b) = (a.side(access.numbers(0), 0, m), b.side(access.numbers(1), 0, m));
                product::multiply(isa, factors, Size { m: o, n: k, k: m }, a, b, None, false, access.write(0));
            });
            return true;
        }
        let b = Matrix::dense(self.dense(node.operands[0]), k, Along::Contracted);
        let c = self.buffer(m * k, Element::F32, Home::Arena);
        let view = View::dense(&patch_axes(shape)).transpose(&FROM_PATCHES);
        let view = view.expect("a dense value can be seen in any order").reshape(self.graph.shape(value));
        self.places[value.index()] = Some(Place::At { buffer: c, view });
        self.emit([g.buffer, b.buffer], [c], move |access| {
            let (a, b) = (g.side(access.numbers(0), 0, m), b.side(access.numbers(1), 0, o));
            product::multiply(isa, factors, Size { m, n: k, k: o }, a, b, None, false, access.write(0));
        });
        true
    }

    /// A result `[n, o, h, w]` as rows of channels, if it stands so.
    fn tokens(&mut self, value: Value, channels: usize) -> Option<Matrix> {
        let Place::At { buffer, view } = self.place(value) else { return None };
        let map = view.transpose(&[0, 2, 3, 1])?.rows(channels)?;
        Matrix::of(buffer, map, Along::Kept)
    }

    /// The image patch by patch, laid out at its first use.
    fn patches(&mut self, image: Value, shape: &Convolution) -> BufferId {
        let key = (image, shape.kernel);
        if let Some(&known) = self.patched.get(&key) {
            return known;
        }
        let axes = patch_axes(shape);
        let split: Vec<usize> = FROM_PATCHES.iter().map(|&a| axes[a]).collect();
        let (buffer, view) = match self.place(image) {
            Place::At { buffer, view } => (buffer, view),
            Place::Splat(_) => (self.dense(image), View::dense(self.graph.shape(image))),
        };
        let (buffer, view) = match view.reshape(&split).transpose(&TO_PATCHES) {
            Some(view) => (buffer, view),
            None => {
                let dense = View::dense(&split).transpose(&TO_PATCHES);
                (self.dense(image), dense.expect("a dense value can be seen in any order"))
            }
        };
        let to = self.buffer(view.elements(), self.buffers[buffer].element, Home::Arena);
        let label = self.label.clone();
        (self.label.op, self.label.flops) = ("copy".into(), 0);
        self.copy(buffer, &view, to, &View::dense(&axes));
        self.label = label;
        self.patched.insert(key, to);
        to
    }
}
