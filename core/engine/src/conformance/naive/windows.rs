//! Convolution, its adjoints, and max pooling by their definition.

use fer_graph::{Attributes, ops::Window};

use super::{Array, each_index};

/// Calls `visit(index in x, index in the kernel, index in y)` for every product that a convolution sums.
fn each_product(
    x: &[usize],
    kernel: &[usize],
    y: &[usize],
    attributes: &Attributes,
    mut visit: impl FnMut(&[usize], &[usize], &[usize]),
) {
    let window = Window::of(attributes);
    let per_group = kernel[0] / window.groups;
    each_index(y, |out| {
        each_index(&kernel[1..], |k| {
            let at = |axis: usize| {
                (out[2 + axis] * window.stride[axis] + k[1 + axis] * window.dilation[axis])
                    .checked_sub(window.padding[axis])
                    .filter(|at| *at < x[2 + axis])
            };
            if let (Some(row), Some(column)) = (at(0), at(1)) {
                let channel = out[1] / per_group * kernel[1] + k[0];
                visit(&[out[0], channel, row, column], &[out[1], k[0], k[1], k[2]], out);
            }
        });
    });
}

pub fn convolution(x: &Array, kernel: &Array, shape: &[usize], attributes: &Attributes) -> Array {
    let mut y = Array::zeros(shape);
    each_product(&x.shape, &kernel.shape, shape, attributes, |i, k, o| *y.at_mut(o) += x.at(i) * kernel.at(k));
    y
}

pub fn input_grad(kernel: &Array, g: &Array, shape: &[usize], attributes: &Attributes) -> Array {
    let mut x = Array::zeros(shape);
    each_product(shape, &kernel.shape, &g.shape, attributes, |i, k, o| *x.at_mut(i) += g.at(o) * kernel.at(k));
    x
}

pub fn kernel_grad(x: &Array, g: &Array, shape: &[usize], attributes: &Attributes) -> Array {
    let mut kernel = Array::zeros(shape);
    each_product(&x.shape, shape, &g.shape, attributes, |i, k, o| *kernel.at_mut(k) += g.at(o) * x.at(i));
    kernel
}

/// The index of a window's winner: its first NaN, else its first largest element.
fn winner(x: &Array, out: &[usize], attributes: &Attributes) -> Vec<usize> {
    let [kernel, stride, padding] = ["kernel_size", "stride", "padding"].map(|name| attributes.sizes(name));
    let mut best: Option<Vec<usize>> = None;
    each_index(&kernel, |k| {
        let at = |axis: usize| {
            (out[2 + axis] * stride[axis] + k[axis]).checked_sub(padding[axis]).filter(|at| *at < x.shape[2 + axis])
        };
        let (Some(row), Some(column)) = (at(0), at(1)) else { return };
        let here = vec![out[0], out[1], row, column];
        let beaten = best.as_ref().is_none_or(|b| {
            let (new, old) = (x.at(&here), x.at(b));
            new > old || (new.is_nan() && !old.is_nan())
        });
        if beaten {
            best = Some(here);
        }
    });
    best.expect("padding is at most half a window")
}

pub fn max_pool(x: &Array, shape: &[usize], attributes: &Attributes) -> Array {
    Array::from_fn(shape, |out| x.at(&winner(x, out, attributes)))
}

pub fn max_pool_grad(x: &Array, g: &Array, attributes: &Attributes) -> Array {
    let mut result = Array::zeros(&x.shape);
    each_index(&g.shape, |out| *result.at_mut(&winner(x, out, attributes)) += g.at(out));
    result
}
