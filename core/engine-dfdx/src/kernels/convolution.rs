//! convolution and its adjoints as matrix products (dfdx's own conv2d needs a nightly compiler): im2col lays the window's
//! elements of each output out as a column, col2im adds columns back.

use fer_graph::{Attributes, ops::Window};
use rayon::prelude::*;

use super::{Kernel, Site, operands};
use crate::{
    buffer::Buffer,
    chunks::in_pieces,
    element::{Element, Product},
    value::Value,
};

/// Images whose kernel cotangents are held at once. Fixed: the order of summation must not depend on threads.
const IMAGES: usize = 16;

/// Sizes of one convolution.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    images: usize,
    groups: usize,
    /// Channels of the input and the output in one group.
    channels: usize,
    outputs: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    output: [usize; 2],
    window: Window,
}

impl Sizes {
    /// From the shapes of input, kernel and output.
    fn new(attributes: &Attributes, x: &[usize], kernel: &[usize], y: &[usize]) -> Sizes {
        let window = Window::of(attributes);
        Sizes {
            images: x[0],
            groups: window.groups,
            channels: kernel[1],
            outputs: kernel[0] / window.groups,
            input: [x[2], x[3]],
            kernel: [kernel[2], kernel[3]],
            output: [y[2], y[3]],
            window,
        }
    }

    /// Elements of one group of one image.
    fn input_area(&self) -> usize {
        self.channels * self.input[0] * self.input[1]
    }

    fn output_area(&self) -> usize {
        self.outputs * self.pixels()
    }

    fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Rows of the column matrix: elements of one window.
    fn window_elements(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    /// For each row of the column matrix and each line of outputs: where the row's run starts in the matrix, where in the
    /// input, and the outputs whose element lies inside.
    fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let [kh, kw] = self.kernel;
        let [oh, ow] = self.output;
        (0..self.channels * kh * kw).flat_map(move |row| {
            let (channel, y, x) = (row / (kh * kw), row / kw % kh, row % kw);
            let columns = self.inside(1, x);
            (0..oh).map(move |line| {
                let at = (line * self.window.stride[0] + y * self.window.dilation[0])
                    .checked_sub(self.window.padding[0])
                    .filter(|at| *at < self.input[0]);
                let (first, last) = if at.is_some() { columns } else { (0, 0) };
                let source = match at {
                    Some(at) if first < last => {
                        (channel * self.input[0] + at) * self.input[1]
                            + first * self.window.stride[1]
                            + x * self.window.dilation[1]
                            - self.window.padding[1]
                    }
                    _ => 0,
                };
                Run { target: (row * oh + line) * ow + first, source, count: last - first }
            })
        })
    }

    /// The range of outputs whose element `k` of the window lies inside the input.
    fn inside(&self, axis: usize, k: usize) -> (usize, usize) {
        let (stride, padding) = (self.window.stride[axis], self.window.padding[axis]);
        let shift = k * self.window.dilation[axis];
        let first = padding.saturating_sub(shift).div_ceil(stride);
        let last = (self.input[axis] + padding).saturating_sub(shift).div_ceil(stride).min(self.output[axis]);
        (first.min(last), last)
    }

    /// The column matrix `[window elements, pixels]` of one group of one image.
    fn columns<E: Element>(&self, image: &[E]) -> Buffer<E> {
        let mut columns = Buffer::filled(self.window_elements() * self.pixels(), E::default());
        let step = self.window.stride[1];
        for Run { target, source, count } in self.runs().filter(|run| run.count > 0) {
            let line = &mut columns[target..target + count];
            if step == 1 {
                line.copy_from_slice(&image[source..source + count]);
            } else {
                line.iter_mut().zip(image[source..].iter().step_by(step)).for_each(|(t, s)| *t = *s);
            }
        }
        columns
    }

    /// Adds a column matrix back to the image it came from.
    fn add_columns<E: Element>(&self, columns: &[E], image: &mut [E]) {
        let step = self.window.stride[1];
        for Run { target, source, count } in self.runs().filter(|run| run.count > 0) {
            let line = &columns[target..target + count];
            image[source..].iter_mut().step_by(step).zip(line).for_each(|(t, s)| *t += *s);
        }
    }

    fn product(&self) -> Product {
        Product {
            batch: 1,
            m: self.outputs,
            k: self.window_elements(),
            n: self.pixels(),
            lhs_transposed: false,
            rhs_transposed: false,
        }
    }

    /// The kernel's matrix `[outputs, window elements]` for the group of the `i`th part of all images.
    fn matrix<'a, E: Element>(&self, kernel: &'a [E], i: usize) -> &'a [E] {
        let size = self.outputs * self.window_elements();
        &kernel[i % self.groups * size..][..size]
    }
}

struct Run {
    target: usize,
    source: usize,
    count: usize,
}

pub fn convolution<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let sizes = Sizes::new(site.attributes(), site.shape(0), site.shape(1), &site.result().shape);
    let counts = [site.ty(0).elements(), site.ty(1).elements()];
    let total = site.result().elements();
    Box::new(move |v| {
        let [x, kernel] = operands(v);
        let (input, kernel) = (x.shared(counts[0]), kernel.shared(counts[1]));
        let mut output = Buffer::scratch(total);
        in_pieces(&mut output, sizes.output_area(), |at, output| {
            let i = at / sizes.output_area();
            let columns = sizes.columns(&input[i * sizes.input_area()..][..sizes.input_area()]);
            E::matmul(sizes.matrix(&kernel, i), &columns, sizes.product(), output);
        });
        Value::dense(output)
    })
}

pub fn input_grad<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let sizes = Sizes::new(site.attributes(), &site.result().shape, site.shape(0), site.shape(1));
    let counts = [site.ty(0).elements(), site.ty(1).elements()];
    let total = site.result().elements();
    let product = sizes.product();
    let product = Product { m: product.k, k: product.m, lhs_transposed: true, ..product };
    Box::new(move |v| {
        let [kernel, cotangent] = operands(v);
        let (kernel, cotangents) = (kernel.shared(counts[0]), cotangent.shared(counts[1]));
        let mut input = Buffer::filled(total, E::default());
        in_pieces(&mut input, sizes.input_area(), |at, input| {
            let i = at / sizes.input_area();
            let cotangent = &cotangents[i * sizes.output_area()..][..sizes.output_area()];
            let mut columns = Buffer::scratch(sizes.window_elements() * sizes.pixels());
            E::matmul(sizes.matrix(&kernel, i), cotangent, product, &mut columns);
            sizes.add_columns(&columns, input);
        });
        Value::dense(input)
    })
}

pub fn kernel_grad<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let sizes = Sizes::new(site.attributes(), site.shape(0), &site.result().shape, site.shape(1));
    let counts = [site.ty(0).elements(), site.ty(1).elements()];
    let total = site.result().elements();
    let product = sizes.product();
    let product = Product { k: product.n, n: product.k, rhs_transposed: true, ..product };
    Box::new(move |v| {
        let [x, cotangent] = operands(v);
        let (input, cotangents) = (x.shared(counts[0]), cotangent.shared(counts[1]));
        let part = |i: usize| -> Buffer<E> {
            let image = &input[i * sizes.input_area()..][..sizes.input_area()];
            let cotangent = &cotangents[i * sizes.output_area()..][..sizes.output_area()];
            let mut part = Buffer::scratch(sizes.outputs * sizes.window_elements());
            E::matmul(cotangent, &sizes.columns(image), product, &mut part);
            part
        };
        let mut kernel = Buffer::filled(total, E::default());
        let per_group = sizes.outputs * sizes.window_elements();
        let all = sizes.images * sizes.groups;
        let at_once = IMAGES * sizes.groups;
        for first in (0..all).step_by(at_once) {
            let parts: Vec<Buffer<E>> = (first..all.min(first + at_once)).into_par_iter().map(part).collect();
            for (i, part) in parts.iter().enumerate() {
                let target = &mut kernel[(first + i) % sizes.groups * per_group..][..per_group];
                target.iter_mut().zip(part.iter()).for_each(|(t, s)| *t += *s);
            }
        }
        Value::dense(kernel)
    })
}
