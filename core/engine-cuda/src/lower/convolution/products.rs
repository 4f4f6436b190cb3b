//! Convolutions that are matrix products: with kernels of one element, and those whose windows tile the image (patch embeddings).
//!
//! Patches are laid out one after the other first; the result then stands token by token, as the transformer behind it wants it.

use fer_graph::Value;
use fer_plan::View;

use super::Shape;
use crate::{
    Element,
    device::{Command, MatMul, Matrix},
    lower::{Lowering, Place},
    plan::{BufferId, Home},
};

/// Numbers in the products of all images that are then added up.
const MOST_PRODUCTS: usize = 1 << 24;

/// `[n, c, rows, down, columns, across]` seen patch by patch, and back.
const TO_PATCHES: [usize; 6] = [0, 2, 4, 1, 3, 5];
const FROM_PATCHES: [usize; 6] = [0, 3, 1, 4, 2, 5];

/// Axes of an image in patches: image, row and column of patches, channel, row and column within.
fn patch_axes(shape: &Shape) -> [usize; 6] {
    [shape.images, shape.points[0], shape.points[1], shape.channels[0], shape.kernel[0], shape.kernel[1]]
}

/// Rows, columns and depth of a product.
type Size = [usize; 3];

impl Lowering<'_> {
    /// A matrix of rows of `width`; `batch_stride` elements from one to the next.
    fn rows_of(&self, place: BufferId, width: usize, transposed: bool, batch_stride: usize) -> Matrix<BufferId> {
        Matrix { place, offset: 0, element: self.element(place), transposed, stride: width, batch_stride }
    }

    /// `c = a b` for so many matrices each.
    fn product_of(
        &mut self,
        [m, n, k]: Size,
        batch: usize,
        a: Matrix<BufferId>,
        b: Matrix<BufferId>,
        c: BufferId,
        math: crate::device::Math,
    ) {
        let (reads, writes) = (vec![a.place, b.place], vec![c]);
        let c = self.rows_of(c, n, false, m * n);
        let product = MatMul { m, n, k, batch, a, b, c, bias: None, row_sums: None, math };
        self.emit(Command::MatMul(product), reads, writes, vec![]);
    }

    /// Each image's result is the kernel times the image.
    pub(super) fn pointwise(&mut self, shape: &Shape, x: Value, kernel: Value, value: Value) {
        let (element, math) = self.factors_of(value);
        let ([c, o], area) = (shape.channels, shape.points[0] * shape.points[1]);
        let (x, kernel) = (self.dense_as(x, element), self.dense_as(kernel, element));
        let to = self.output(value);
        let (a, b) = (self.rows_of(kernel, c, false, 0), self.rows_of(x, area, false, c * area));
        self.product_of([o, area, c], shape.images, a, b, to, math);
    }

    pub(super) fn pointwise_input_grad(&mut self, shape: &Shape, kernel: Value, g: Value, value: Value) {
        let (element, math) = self.factors_of(value);
        let ([c, o], area) = (shape.channels, shape.points[0] * shape.points[1]);
        let (kernel, g) = (self.dense_as(kernel, element), self.dense_as(g, element));
        let to = self.output(value);
        let (a, b) = (self.rows_of(kernel, c, true, 0), self.rows_of(g, area, false, o * area));
        self.product_of([c, area, o], shape.images, a, b, to, math);
    }

    /// The sum of every image's product; false where those are too many numbers.
    pub(super) fn pointwise_kernel_grad(&mut self, shape: &Shape, x: Value, g: Value, value: Value) -> bool {
        let ([c, o], area) = (shape.channels, shape.points[0] * shape.points[1]);
        if shape.images * c * o > MOST_PRODUCTS {
            return false;
        }
        let (element, math) = self.factors_of(value);
        let (x, g) = (self.dense_as(x, element), self.dense_as(g, element));
        let to = self.output_as(value, self.grad_element(value));
        let products = match shape.images == 1 && self.element(to) == Element::F32 {
            true => to,
            false => self.scratch(shape.images * c * o, Element::F32),
        };
        let (a, b) = (self.rows_of(g, area, false, o * area), self.rows_of(x, area, true, c * area));
        self.product_of([o, c, area], shape.images, a, b, products, math);
        self.add_parts(products, shape.images, to);
        true
    }

    /// Rows, channels and numbers of the patches of all images.
    fn patch_size(shape: &Shape) -> Size {
        [shape.images * shape.points[0] * shape.points[1], shape.channels[1], shape.channels[0] * shape.size()]
    }

    pub(super) fn patches_forward(&mut self, shape: &Shape, x: Value, kernel: Value, value: Value) {
        let (element, math) = self.factors_of(value);
        let [m, n, k] = Self::patch_size(shape);
        let (patches, kernel) = (self.patches(shape, x, element), self.dense_as(kernel, element));
        let to = self.buffer(m * n, self.stored[value.index()], Home::Arena);
        let view = View::dense(&[shape.images, shape.points[0], shape.points[1], n]).transpose(&[0, 3, 1, 2]);
        let view = view.expect("a dense value can be seen in any order");
        self.places[value.index()] = Some(Place::At { buffer: to, view });
        let (a, b) = (self.rows_of(patches, k, false, 0), self.rows_of(kernel, k, true, 0));
        self.product_of([m, n, k], 1, a, b, to, math);
    }

    pub(super) fn patches_input_grad(&mut self, shape: &Shape, kernel: Value, g: Value, value: Value) {
        let (element, math) = self.factors_of(value);
        let [m, n, k] = Self::patch_size(shape);
        let (g, kernel) = (self.tokens(shape, g, element), self.dense_as(kernel, element));
        let to = self.buffer(m * k, self.stored[value.index()], Home::Arena);
        let view = View::dense(&patch_axes(shape)).transpose(&FROM_PATCHES);
        let view = view.expect("a dense value can be seen in any order").reshape(self.graph.shape(value));
        self.places[value.index()] = Some(Place::At { buffer: to, view });
        let (a, b) = (self.rows_of(g, n, false, 0), self.rows_of(kernel, k, false, 0));
        self.product_of([m, k, n], 1, a, b, to, math);
    }

    pub(super) fn patches_kernel_grad(&mut self, shape: &Shape, x: Value, g: Value, value: Value) {
        let (element, math) = self.factors_of(value);
        let [m, n, k] = Self::patch_size(shape);
        let (patches, g) = (self.patches(shape, x, element), self.tokens(shape, g, element));
        let to = self.output_as(value, self.grad_element(value));
        let (a, b) = (self.rows_of(g, n, true, 0), self.rows_of(patches, k, false, 0));
        self.product_of([n, k, m], 1, a, b, to, math);
    }

    /// A value of the result's shape, one row of channels for each patch.
    fn tokens(&mut self, shape: &Shape, value: Value, element: Element) -> BufferId {
        let order = |view: &View| view.transpose(&[0, 2, 3, 1]);
        let axes = [shape.images, shape.points[0], shape.points[1], shape.channels[1]];
        self.reordered(value, element, &axes, order)
    }

    /// An image, patch by patch.
    fn patches(&mut self, shape: &Shape, image: Value, element: Element) -> BufferId {
        let axes = patch_axes(shape);
        let split = FROM_PATCHES.map(|a| axes[a]);
        self.reordered(image, element, &axes, |view| view.reshape(&split).transpose(&TO_PATCHES))
    }

    /// A value in another order, densely and in this element; where it stands already, if it stands so.
    fn reordered(
        &mut self,
        value: Value,
        element: Element,
        axes: &[usize],
        order: impl Fn(&View) -> Option<View>,
    ) -> BufferId {
        let seen = match self.place(value) {
            Place::At { buffer, view } => order(&view).map(|view| (buffer, view)),
            Place::Splat(_) => None,
        };
        let (buffer, view) = match seen {
            Some(seen) => seen,
            None => {
                let dense = order(&View::dense(self.graph.shape(value)));
                (self.dense(value), dense.expect("a dense value can be seen in any order"))
            }
        };
        if self.element(buffer) == element && view.is_dense(self.buffers[buffer].elements) {
            return buffer;
        }
        let to = self.scratch(view.elements(), element);
        let own = std::mem::replace(&mut self.label.op, "copy".into());
        let flops = std::mem::take(&mut self.label.flops);
        self.copy(buffer, &view, to, &View::dense(axes));
        (self.label.op, self.label.flops) = (own, flops);
        to
    }
}
