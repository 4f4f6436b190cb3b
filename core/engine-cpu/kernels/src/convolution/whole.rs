//! A kernel that covers its image: each image is one row of a matrix product.

use super::{After, Convolution};
use crate::{
    product::{Along, Factors, Rows, Side, Size, multiply},
    shared::Scratch,
    simd::Isa,
};

fn side(data: &[f32], stride: usize, along: Along) -> Side<'_> {
    Side { data: data.into(), rows: Rows::Every(stride), along }
}

/// `[columns, rows]` to `[rows, columns]`.
fn turned(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = to.len() / columns;
    for (i, to) in to.chunks_exact_mut(columns).enumerate() {
        for (j, to) in to.iter_mut().enumerate() {
            *to = from[j * rows + i];
        }
    }
}

/// The kernel, by far the largest, is the side that streams by: it is read once, and never packed as a whole.
pub fn forward(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    x: &[f32],
    kernel: &[f32],
    after: After<'_>,
    out: &mut [f32],
) {
    let (n, o, k) = (shape.batch, shape.out_channels, kernel.len() / shape.out_channels);
    let mut columns = Scratch::new(o * n);
    let size = Size { m: o, n, k };
    multiply(isa, factors, size, side(kernel, k, Along::Kept), side(x, k, Along::Kept), None, false, &mut columns);
    turned(&columns, o, out);
    for (i, y) in out.iter_mut().enumerate() {
        *y = after.of(*y, i % o);
    }
}

pub fn input_grad(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    kernel: &[f32],
    grad_out: &[f32],
    grad_x: &mut [f32],
) {
    let (n, o, k) = (shape.batch, shape.out_channels, kernel.len() / shape.out_channels);
    let mut columns = Scratch::new(k * n);
    let size = Size { m: k, n, k: o };
    multiply(
        isa,
        factors,
        size,
        side(kernel, k, Along::Contracted),
        side(grad_out, o, Along::Kept),
        None,
        false,
        &mut columns,
    );
    turned(&columns, k, grad_x);
}

pub fn kernel_grad(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    x: &[f32],
    grad_out: &[f32],
    grad_kernel: &mut [f32],
) {
    let (n, o, k) = (shape.batch, shape.out_channels, grad_kernel.len() / shape.out_channels);
    let size = Size { m: o, n: k, k: n };
    multiply(
        isa,
        factors,
        size,
        side(grad_out, o, Along::Contracted),
        side(x, k, Along::Contracted),
        None,
        false,
        grad_kernel,
    );
}
