//! convolution and its adjoints as matrix products (dfdx's own conv2d needs a nightly compiler): im2col lays the window's
//! elements of each output out as a column, col2im adds columns back.

use fer_graph::{Attributes, ops::Window};
use rayon::prelude::*;

use super::{Kernel, Site, operands};
use crate::{
    element::{Element, Flat, Product},
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
    fn columns<E: Element>(&self, image: &[E]) -> Vec<E> {
        let mut columns = vec![E::default(); self.window_elements() * self.pixels()];
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

    /// The kernel's matrix `[outputs, window elements]` of each group.
    fn matrices<E: Element>(&self, kernel: &[E]) -> Vec<Flat<E>> {
        kernel.chunks_exact(self.outputs * self.window_elements()).map(|group| E::tensor(group.to_vec())).collect()
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
        let (input, matrices) = (x.floats(counts[0]), sizes.matrices(&kernel.floats(counts[1])));
        drop((x, kernel));
        let mut output = vec![E::default(); total];
        output
            .par_chunks_exact_mut(sizes.output_area())
            .zip(input.par_chunks_exact(sizes.input_area()))
            .enumerate()
            .for_each(|(i, (output, input))| {
                let columns = E::tensor(sizes.columns(input));
                let matrix = matrices[i % sizes.groups].clone();
                E::copy_into(&E::matmul(matrix, columns, sizes.product()), output);
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
        let (matrices, cotangents) = (sizes.matrices(&kernel.floats(counts[0])), cotangent.floats(counts[1]));
        drop((kernel, cotangent));
        let mut input = vec![E::default(); total];
        input
            .par_chunks_exact_mut(sizes.input_area())
            .zip(cotangents.par_chunks_exact(sizes.output_area()))
            .enumerate()
            .for_each(|(i, (input, cotangent))| {
                let matrix = matrices[i % sizes.groups].clone();
                let columns = E::matmul(matrix, E::tensor(cotangent.to_vec()), product);
                sizes.add_columns(&E::copy(&columns), input);
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
        let (input, cotangents) = (x.floats(counts[0]), cotangent.floats(counts[1]));
        drop((x, cotangent));
        let part = |i: usize| -> Vec<E> {
            let image = &input[i * sizes.input_area()..(i + 1) * sizes.input_area()];
            let cotangent = &cotangents[i * sizes.output_area()..(i + 1) * sizes.output_area()];
            E::copy(&E::matmul(E::tensor(cotangent.to_vec()), E::tensor(sizes.columns(image)), product))
        };
        let mut kernel = vec![E::default(); total];
        let per_group = sizes.outputs * sizes.window_elements();
        let all = sizes.images * sizes.groups;
        let at_once = IMAGES * sizes.groups;
        for first in (0..all).step_by(at_once) {
            let parts: Vec<Vec<E>> = (first..all.min(first + at_once)).into_par_iter().map(part).collect();
            for (i, part) in parts.into_iter().enumerate() {
                let group = (first + i) % sizes.groups;
                let target = &mut kernel[group * per_group..(group + 1) * per_group];
                target.iter_mut().zip(part).for_each(|(t, s)| *t += s);
            }
        }
        Value::dense(kernel)
    })
}
