//! Max pooling of images, and its adjoint.
//!
//! A window's winner is its first NaN, else its first largest element, row-major. Windows of one row of the result are compared
//! side by side, one element of the window after the other.

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{
    shared::Scratch,
    simd::{Isa, Kernel, Simd},
};

/// Elements of a task, about.
const TASK: usize = 1 << 14;

/// Windows over images `[planes, height, width]`; pairs are height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub height: usize,
    pub width: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Cells on both sides that never win; at most half the kernel.
    pub padding: [usize; 2],
}

impl Pool {
    /// Rows and columns of the result.
    ///
    /// # Panics
    /// When a window has no size, does not fit into the padded image or may lie in the padding alone.
    pub fn out(&self) -> (usize, usize) {
        let Pool { height, width, kernel, stride, padding } = *self;
        let size = |axis: usize, size: usize| {
            let padded = size + 2 * padding[axis];
            let fits = kernel[axis] > 0 && kernel[axis] <= padded && 2 * padding[axis] <= kernel[axis];
            assert!(fits && stride[axis] > 0 && size > 0, "no such windows: {self:?}");
            (padded - kernel[axis]) / stride[axis] + 1
        };
        (size(0, height), size(1, width))
    }

    /// Planes of a task.
    fn together(&self) -> usize {
        (TASK / (self.height * self.width)).max(1)
    }

    /// Windows side by side without padding, of two by two.
    fn is_plain(&self) -> bool {
        self.kernel == [2, 2] && self.stride == [2, 2] && self.padding == [0, 0]
    }

    /// The windows `from..to` whose element `k` lies within the axis, and where that of the first is.
    #[inline(always)]
    fn inside(&self, axis: usize, k: usize, size: usize, out: usize) -> (usize, usize, usize) {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let from = padding.saturating_sub(k).div_ceil(stride);
        let to = (size + padding).saturating_sub(k).div_ceil(stride).min(out);
        (from, to.max(from), (from * stride + k).saturating_sub(padding))
    }
}

/// y `[planes, h', w']`, the largest of each window of x `[planes, h, w]`; NaN passes through.
///
/// # Panics
/// When a slice has another size.
pub fn max_pool(isa: Isa, planes: usize, pool: &Pool, x: &[f32], y: &mut [f32]) {
    let (oh, ow) = pool.out();
    assert_eq!(x.len(), planes * pool.height * pool.width, "the images have another size");
    assert_eq!(y.len(), planes * oh * ow, "the result has another size");
    let (plane, together) = (pool.height * pool.width, pool.together());
    let tasks = x.par_chunks(together * plane).zip(y.par_chunks_mut(together * oh * ow));
    tasks.for_each(|(x, y)| isa.run(Forward { pool, x, y }));
}

/// The cotangent of x `[planes, h, w]`: that of y `[planes, h', w']`, added to each window's winner.
///
/// # Panics
/// When a slice has another size.
pub fn max_pool_grad(isa: Isa, planes: usize, pool: &Pool, x: &[f32], grad_y: &[f32], grad_x: &mut [f32]) {
    let (oh, ow) = pool.out();
    assert_eq!(x.len(), planes * pool.height * pool.width, "the images have another size");
    assert_eq!(grad_x.len(), x.len(), "the cotangent of the images has another size");
    assert_eq!(grad_y.len(), planes * oh * ow, "the cotangent has another size");
    let (plane, together) = (pool.height * pool.width, pool.together());
    let tasks = grad_y.par_chunks(together * oh * ow).zip(grad_x.par_chunks_mut(together * plane));
    tasks.zip(x.par_chunks(together * plane)).for_each(|((grad_y, grad_x), x)| {
        isa.run(Backward { pool, x, grad_y, grad_x });
    });
}

/// Whether a later element of a window beats the best so far.
#[inline(always)]
fn beats(new: f32, best: f32) -> bool {
    // Single bars, so that lanes need no branch.
    (new > best) | (new.is_nan() & !best.is_nan())
}

struct Forward<'a> {
    pool: &'a Pool,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Forward { pool, x, y } = self;
        let (oh, ow) = pool.out();
        for (x, y) in x.chunks_exact(pool.height * pool.width).zip(y.chunks_exact_mut(oh * ow)) {
            for (i, y) in y.chunks_exact_mut(ow).enumerate() {
                if pool.is_plain() {
                    let (above, below) = x[2 * i * pool.width..][..2 * pool.width].split_at(pool.width);
                    let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
                    for (y, (a, b)) in y.iter_mut().zip(pairs) {
                        *y = [a[1], b[0], b[1]].into_iter().fold(a[0], |best, x| if beats(x, best) { x } else { best });
                    }
                    continue;
                }
                y.fill(f32::NEG_INFINITY);
                each_line(pool, i, ow, |from, to, at| {
                    let y = y[from..to].iter_mut();
                    each_step(&x[at..], pool.stride[1], y, |y, x| *y = if beats(x, *y) { x } else { *y });
                });
            }
        }
    }
}

/// Visits numbers together with the elements of x that are `stride` apart. Steps that the compiler knows go by in lanes.
#[inline(always)]
fn each_step<T>(x: &[f32], stride: usize, all: impl ExactSizeIterator<Item = T>, mut visit: impl FnMut(T, f32)) {
    match stride {
        1 => all.zip(x).for_each(|(to, &x)| visit(to, x)),
        2 => {
            // The last may end the row, without a neighbour.
            let (last, count) = (x[2 * (all.len() - 1)], all.len() - 1);
            let mut all = all;
            all.by_ref().take(count).zip(x.as_chunks::<2>().0).for_each(|(to, x)| visit(to, x[0]));
            all.for_each(|to| visit(to, last));
        }
        _ => all.zip(x.iter().step_by(stride)).for_each(|(to, &x)| visit(to, x)),
    }
}

/// `a` where the condition holds, else `b`, without a branch that could be guessed wrong.
#[inline(always)]
fn choose(condition: bool, a: u32, b: u32) -> u32 {
    b ^ ((a ^ b) & u32::from(condition).wrapping_neg())
}

/// Each element of row i's windows: the columns `from..to` whose windows have it within the image, and where the first one's is.
#[inline(always)]
fn each_line(pool: &Pool, i: usize, ow: usize, mut visit: impl FnMut(usize, usize, usize)) {
    for ky in 0..pool.kernel[0] {
        let Some(row) = (i * pool.stride[0] + ky).checked_sub(pool.padding[0]).filter(|&row| row < pool.height) else {
            continue;
        };
        for kx in 0..pool.kernel[1] {
            let (from, to, column) = pool.inside(1, kx, pool.width, ow);
            if from < to {
                visit(from, to, row * pool.width + column);
            }
        }
    }
}

struct Backward<'a> {
    pool: &'a Pool,
    x: &'a [f32],
    grad_y: &'a [f32],
    grad_x: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Backward { pool, x, grad_y, grad_x } = self;
        let (oh, ow) = pool.out();
        let plane = pool.height * pool.width;
        let mut memory = Scratch::new(2 * ow);
        let (best, place) = memory.split_at_mut(ow);
        for ((x, grad_y), grad_x) in
            x.chunks_exact(plane).zip(grad_y.chunks_exact(oh * ow)).zip(grad_x.chunks_exact_mut(plane))
        {
            grad_x.fill(0.0);
            for (i, grad) in grad_y.chunks_exact(ow).enumerate() {
                if pool.is_plain() {
                    let two = 2 * i * pool.width..(2 * i + 2) * pool.width;
                    plain_grad(pool.width, &x[two.clone()], grad, &mut grad_x[two]);
                    continue;
                }
                best.fill(f32::NEG_INFINITY);
                // Places are kept as the bits of floats; until one wins, the last is that of the window's first element.
                place.fill(f32::from_bits(u32::MAX));
                each_line(pool, i, ow, |from, to, at| {
                    let stride = pool.stride[1] as u32;
                    let mut here = at as u32;
                    let best = best[from..to].iter_mut().zip(&mut place[from..to]);
                    each_step(&x[at..], pool.stride[1], best, |(best, place), x| {
                        let wins = beats(x, *best) | (place.to_bits() == u32::MAX);
                        *best = f32::from_bits(choose(wins, x.to_bits(), best.to_bits()));
                        *place = f32::from_bits(choose(wins, here, place.to_bits()));
                        here = here.wrapping_add(stride);
                    });
                });
                for (&grad, place) in grad.iter().zip(&*place) {
                    grad_x[place.to_bits() as usize] += grad;
                }
            }
        }
    }
}

/// One row of windows of two by two: all of their elements are written.
#[inline(always)]
fn plain_grad(width: usize, x: &[f32], grad: &[f32], grad_x: &mut [f32]) {
    let (above, below) = x.split_at(width);
    let (to_above, to_below) = grad_x.split_at_mut(width);
    let from = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
    let to = to_above.as_chunks_mut::<2>().0.iter_mut().zip(to_below.as_chunks_mut::<2>().0);
    for ((&grad, (a, b)), (to_a, to_b)) in grad.iter().zip(from).zip(to) {
        // The first of both halves, then of the two.
        let [right_a, right_b] = [beats(a[1], a[0]), beats(b[1], b[0])];
        let best = |right, x: &[f32; 2]| f32::from_bits(choose(right, x[1].to_bits(), x[0].to_bits()));
        let is_below = beats(best(right_b, b), best(right_a, a));
        let of = |wins: bool| f32::from_bits(choose(wins, grad.to_bits(), 0));
        *to_a = [of(!is_below & !right_a), of(!is_below & right_a)];
        *to_b = [of(is_below & !right_b), of(is_below & right_b)];
    }
}
