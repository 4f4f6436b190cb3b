//! A kernel that covers its image: each image is one row of a matrix product.

use super::{After, Convolution};
use crate::{
    numbers::{Numbers, NumbersMut, Stored},
    product::{Along, Factors, Rows, Side, Size, multiply},
    shared::{Scratch, SharedMut},
    simd::Isa,
};

fn side<'a>(data: impl Into<Numbers<'a>>, stride: usize, along: Along) -> Side<'a> {
    Side { data: data.into(), rows: Rows::Every(stride), along }
}

/// `[columns, rows]` to `[rows, columns]`, where what `after` makes of a number of a column is written.
fn turned(from: &[f32], columns: usize, after: After<'_>, to: NumbersMut<'_>) {
    fn each<T: Stored>(from: &[f32], columns: usize, after: After<'_>, to: SharedMut<'_, T>) {
        let rows = to.len() / columns;
        for i in 0..rows {
            // SAFETY: this is the only part at a time.
            let to = unsafe { to.part(i * columns, columns) };
            for (j, to) in to.iter_mut().enumerate() {
                *to = T::nearest(after.of(from[j * rows + i], j));
            }
        }
    }
    match to {
        NumbersMut::F32(to) => each(from, columns, after, to),
        NumbersMut::Bf16(to) => each(from, columns, after, to),
    }
}

/// The kernel, by far the largest, is the side that streams by: it is read once, and never packed as a whole.
pub fn forward(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    x: Numbers<'_>,
    kernel: &[f32],
    after: After<'_>,
    out: NumbersMut<'_>,
) {
    let (n, o, k) = (shape.batch, shape.out_channels, kernel.len() / shape.out_channels);
    let mut columns = Scratch::new(o * n);
    let size = Size { m: o, n, k };
    multiply(isa, factors, size, side(kernel, k, Along::Kept), side(x, k, Along::Kept), None, false, &mut columns);
    turned(&columns, o, after, out);
}

pub fn input_grad(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    kernel: &[f32],
    grad_out: Numbers<'_>,
    grad_x: NumbersMut<'_>,
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
    turned(&columns, k, After::NOTHING, grad_x);
}

pub fn kernel_grad(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    x: Numbers<'_>,
    grad_out: Numbers<'_>,
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
