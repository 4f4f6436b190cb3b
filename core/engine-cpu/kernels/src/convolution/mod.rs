//! Convolutions of NCHW images with OIHW kernels, forward and backward.
//!
//! A band of output rows is a correlation `out[o][q] = sum_k w[o][k] source[offset_k + q]`: the source's rows are staged behind each
//! other with the padding between them, strided ones apart by phase, so that every element of the kernel becomes one offset and q
//! runs on over row ends. What is computed at the few places between two rows is thrown away. The gradient of the input is the same
//! correlation of the cotangent, one for each phase of a strided image. The gradient of the kernel sums over q instead: with few
//! channels in lanes (`lanes`), with many as a matrix product (`columns`). A kernel that covers its whole image is a plain
//! matrix product (`whole`).

mod ahead;
mod columns;
mod correlate;
mod grid;
mod lanes;
mod stage;
#[cfg(test)]
mod tests;
mod tile;
mod whole;
mod words;

use crate::{
    convolution::grid::{Grid, Pass, Path, plan},
    factors::{Exact, Factors, Rounded},
    numbers::{Numbers, NumbersMut, Stored},
    shared::SharedMut,
    simd::Isa,
};

/// The sizes of a convolution: images `[batch, channels, height, width]`, kernel `[out_channels, channels / groups, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub out_channels: usize,
    /// Height and width, as everything below.
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Zeros on both sides.
    pub padding: [usize; 2],
    /// Distance of the kernel's elements.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Convolution {
    /// Rows of the result.
    ///
    /// # Panics
    /// When the dilated kernel does not fit into the padded image.
    pub fn out_height(&self) -> usize {
        self.outputs(0, self.height)
    }

    /// Columns of the result.
    ///
    /// # Panics
    /// When the dilated kernel does not fit into the padded image.
    pub fn out_width(&self) -> usize {
        self.outputs(1, self.width)
    }

    /// Of one pass, a product and its sum counted as two, products with padding included.
    pub fn flops(&self) -> u64 {
        let outputs = self.batch * self.out_channels * self.out_height() * self.out_width();
        2 * outputs as u64 * (self.channels / self.groups * self.kernel[0] * self.kernel[1]) as u64
    }

    fn outputs(&self, axis: usize, size: usize) -> usize {
        let span = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
        let padded = size + 2 * self.padding[axis];
        assert!(span <= padded, "a kernel over {span} positions does not fit into {padded}");
        (padded - span) / self.stride[axis] + 1
    }

    fn image_len(&self) -> usize {
        self.batch * self.channels * self.height * self.width
    }

    fn kernel_len(&self) -> usize {
        self.out_channels * (self.channels / self.groups) * self.kernel[0] * self.kernel[1]
    }

    fn out_len(&self) -> usize {
        self.batch * self.out_channels * self.out_height() * self.out_width()
    }

    fn check(&self, x: usize, kernel: usize, out: usize) {
        let pairs = [self.kernel, self.stride, self.dilation];
        assert!(self.groups > 0 && pairs.iter().flatten().all(|&d| d > 0), "a size of the window is zero: {self:?}");
        let divides = self.channels.is_multiple_of(self.groups) && self.out_channels.is_multiple_of(self.groups);
        assert!(divides, "the groups do not divide the channels: {self:?}");
        assert_eq!(x, self.image_len(), "the images have another size");
        assert_eq!(kernel, self.kernel_len(), "the kernel has another size");
        assert_eq!(out, self.out_len(), "the result has another size");
    }
}

/// What happens to the sums of a convolution before they are written.
#[derive(Clone, Copy, Debug)]
pub struct After<'a> {
    /// Added, one number for each channel of the result.
    pub bias: Option<&'a [f32]>,
    /// What is not positive is multiplied by it (a leaky rectifier), bias included; within 0 to 1, 0 excluded. 1 changes nothing.
    pub slope: f32,
}

impl After<'_> {
    /// Nothing happens.
    pub const NOTHING: After<'static> = After { bias: None, slope: 1.0 };

    /// What becomes of a sum.
    fn of(&self, sum: f32, channel: usize) -> f32 {
        let sum = self.bias.map_or(sum, |b| sum + b[channel]);
        if sum > 0.0 { sum } else { sum * self.slope }
    }
}

/// Whether a correlation takes its factors rounded. Those of one channel (of a group) are left as they are: there are no two channels
/// to put into a word, so that rounding would cost time and bring none.
fn rounded(factors: Factors, grid: &Grid) -> bool {
    factors == Factors::Bf16 && grid.sources > 1
}

/// Fills each plane with a number.
fn each_plane(images: NumbersMut<'_>, plane: usize, number: impl Fn(usize) -> f32) {
    fn fill<T: Stored>(images: SharedMut<'_, T>, plane: usize, number: impl Fn(usize) -> f32) {
        for i in 0..images.len().checked_div(plane).unwrap_or(0) {
            // SAFETY: this is the only part at a time.
            unsafe { images.part(i * plane, plane) }.fill(T::nearest(number(i)));
        }
    }
    match images {
        NumbersMut::F32(images) => fill(images, plane, number),
        NumbersMut::Bf16(images) => fill(images, plane, number),
    }
}

/// The convolution: x `[n, c, h, w]`, kernel `[o, c / groups, kh, kw]`, bias `[o]` if any, out `[n, o, h', w']`, all dense row-major.
///
/// # Panics
/// When a slice has another size than the shape says.
pub fn forward<'a>(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    x: impl Into<Numbers<'a>>,
    kernel: &[f32],
    after: After<'_>,
    out: impl Into<NumbersMut<'a>>,
) {
    let (x, out) = (x.into(), out.into());
    shape.check(x.len(), kernel.len(), out.len());
    assert!(after.bias.is_none_or(|b| b.len() == shape.out_channels), "the bias has another size");
    assert!(after.slope > 0.0 && after.slope <= 1.0, "a slope of {} is not within 0 to 1", after.slope);
    match plan(shape, Pass::Forward) {
        Path::Nothing => {
            let plane = shape.out_height() * shape.out_width();
            each_plane(out, plane, |i| after.of(0.0, i % shape.out_channels));
        }
        Path::Whole => whole::forward(isa, factors, shape, x, kernel, after, out),
        _ => {
            let grid = Grid::forward(shape);
            match rounded(factors, &grid) {
                true => correlate::correlate::<Rounded>(isa, &grid, x, kernel, after, out),
                false => correlate::correlate::<Exact>(isa, &grid, x, kernel, after, out),
            }
        }
    }
}

/// The cotangent of x: kernel `[o, c / groups, kh, kw]`, grad_out `[n, o, h', w']`, grad_x `[n, c, h, w]`.
///
/// # Panics
/// When a slice has another size than the shape says.
pub fn input_grad<'a>(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    kernel: &[f32],
    grad_out: impl Into<Numbers<'a>>,
    grad_x: impl Into<NumbersMut<'a>>,
) {
    let (grad_out, grad_x) = (grad_out.into(), grad_x.into());
    shape.check(grad_x.len(), kernel.len(), grad_out.len());
    match plan(shape, Pass::InputGrad) {
        Path::Nothing => each_plane(grad_x, shape.height * shape.width, |_| 0.0),
        Path::Whole => whole::input_grad(isa, factors, shape, kernel, grad_out, grad_x),
        _ => {
            let grid = Grid::adjoint(shape);
            match rounded(factors, &grid) {
                true => correlate::correlate::<Rounded>(isa, &grid, grad_out, kernel, After::NOTHING, grad_x),
                false => correlate::correlate::<Exact>(isa, &grid, grad_out, kernel, After::NOTHING, grad_x),
            }
        }
    }
}

/// The cotangent of the kernel: x `[n, c, h, w]`, grad_out `[n, o, h', w']`, grad_kernel `[o, c / groups, kh, kw]`.
///
/// # Panics
/// When a slice has another size than the shape says.
pub fn kernel_grad<'a>(
    isa: Isa,
    factors: Factors,
    shape: &Convolution,
    x: impl Into<Numbers<'a>>,
    grad_out: impl Into<Numbers<'a>>,
    grad_kernel: &mut [f32],
) {
    let (x, grad_out) = (x.into(), grad_out.into());
    shape.check(x.len(), grad_kernel.len(), grad_out.len());
    match plan(shape, Pass::KernelGrad) {
        Path::Nothing => grad_kernel.fill(0.0),
        Path::Whole => whole::kernel_grad(isa, factors, shape, x, grad_out, grad_kernel),
        Path::Columns => columns::kernel_grad(isa, &Grid::forward(shape), x, grad_out, grad_kernel),
        _ => {
            let grid = Grid::forward(shape);
            match factors {
                Factors::Bf16 => lanes::kernel_grad::<Rounded>(isa, &grid, x, grad_out, grad_kernel),
                Factors::F32 => lanes::kernel_grad::<Exact>(isa, &grid, x, grad_out, grad_kernel),
            }
        }
    }
}
