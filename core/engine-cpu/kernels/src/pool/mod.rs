//! Max pooling of images, and its adjoint.
//!
//! A window's winner is its first NaN, else its first largest element, row-major. Windows of one row of the result are
//! compared side by side: rows of an image are split by the phase of the stride first, so that the same element of windows that
//! follow each other stands in lanes that do.

#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    numbers::{Numbers, NumbersMut, Stored},
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

    /// The planes of each task.
    fn tasks(&self, planes: usize) -> impl ParallelIterator<Item = Range<usize>> {
        let together = (TASK / (self.height * self.width)).max(1);
        (0..planes.div_ceil(together)).into_par_iter().map(move |task| {
            let first = task * together;
            first..planes.min(first + together)
        })
    }

    /// Windows side by side without padding, of two by two.
    fn is_plain(&self) -> bool {
        self.kernel == [2, 2] && self.stride == [2, 2] && self.padding == [0, 0]
    }
}

/// y `[planes, h', w']`, the largest of each window of x `[planes, h, w]`; NaN passes through.
///
/// # Panics
/// When a slice has another size.
pub fn max_pool<'a>(isa: Isa, planes: usize, pool: &Pool, x: impl Into<Numbers<'a>>, y: impl Into<NumbersMut<'a>>) {
    let (x, y, (oh, ow)) = (x.into(), y.into(), pool.out());
    assert_eq!(x.len(), planes * pool.height * pool.width, "the images have another size");
    assert_eq!(y.len(), planes * oh * ow, "the result has another size");
    pool.tasks(planes).for_each(|planes| isa.run(Forward { pool, planes, x, y }));
}

/// The cotangent of x `[planes, h, w]`: that of y `[planes, h', w']`, added to each window's winner. Sums are rounded once.
///
/// # Panics
/// When a slice has another size.
pub fn max_pool_grad<'a>(
    isa: Isa,
    planes: usize,
    pool: &Pool,
    x: impl Into<Numbers<'a>>,
    grad_y: impl Into<Numbers<'a>>,
    grad_x: impl Into<NumbersMut<'a>>,
) {
    let (x, grad_y, grad_x, (oh, ow)) = (x.into(), grad_y.into(), grad_x.into(), pool.out());
    assert_eq!(x.len(), planes * pool.height * pool.width, "the images have another size");
    assert_eq!(grad_x.len(), x.len(), "the cotangent of the images has another size");
    assert_eq!(grad_y.len(), planes * oh * ow, "the cotangent has another size");
    pool.tasks(planes).for_each(|planes| isa.run(Backward { pool, planes, x, grad_y, grad_x }));
}

/// Whether a later element of a window beats the best so far.
#[inline(always)]
fn beats(new: f32, best: f32) -> bool {
    // Single bars, so that lanes need no branch.
    (new > best) | (new.is_nan() & !best.is_nan())
}

/// Plane `i` of `len` numbers as floats: where it stands, or widened to `room`.
#[inline(always)]
fn floats<'a, S: Simd>(s: S, planes: Numbers<'a>, i: usize, len: usize, room: &'a mut [f32]) -> &'a [f32] {
    match planes {
        Numbers::F32(planes) => &planes[i * len..][..len],
        Numbers::Bf16(planes) => Stored::floats(s, &planes[i * len..][..len], room),
    }
}

/// Where plane `i` of `len` numbers may be written as floats: where it will stand, or in `room`, until [`settle`] rounds it.
///
/// # Safety
/// Nobody else touches this plane.
#[inline(always)]
unsafe fn floats_mut<'a>(planes: NumbersMut<'a>, i: usize, len: usize, room: &'a mut [f32]) -> &'a mut [f32] {
    match planes {
        // SAFETY: the caller's promise.
        NumbersMut::F32(planes) => unsafe { planes.part(i * len, len) },
        NumbersMut::Bf16(_) => &mut room[..len],
    }
}

/// # Safety
/// Nobody else touches this plane.
#[inline(always)]
unsafe fn settle<S: Simd>(s: S, planes: NumbersMut<'_>, i: usize, len: usize, room: &[f32]) {
    if let NumbersMut::Bf16(planes) = planes {
        // SAFETY: the caller's promise.
        Stored::settle(s, room, unsafe { planes.part(i * len, len) });
    }
}

struct Forward<'a> {
    pool: &'a Pool,
    planes: Range<usize>,
    x: Numbers<'a>,
    y: NumbersMut<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Forward { pool, planes, x, y } = self;
        let (oh, ow) = pool.out();
        let (len, out) = (pool.height * pool.width, oh * ow);
        let (mut room_x, mut room_y) = (Scratch::new(len), Scratch::new(out));
        let phases = Phases::new(pool, ow);
        let mut memory = Scratch::new(phases.len() + 2 * phases.windows);
        let (lines, winners) = memory.split_at_mut(phases.len());
        lines.fill(f32::NEG_INFINITY);
        for i in planes {
            let x = floats(s, x, i, len, &mut room_x);
            // SAFETY: each plane is written by one task.
            let to = unsafe { floats_mut(y, i, out, &mut room_y) };
            if pool.is_plain() {
                for (x, to) in x.chunks_exact(2 * pool.width).zip(to.chunks_exact_mut(ow)) {
                    plain(x, to);
                }
            } else {
                for (i, to) in to.chunks_exact_mut(ow).enumerate() {
                    phases.compete(s, pool, x, i, lines, winners);
                    to.copy_from_slice(&winners[..ow]);
                }
            }
            // SAFETY: as above.
            unsafe { settle(s, y, i, out, &room_y) };
        }
    }
}

/// One row of windows of two by two, side by side.
#[inline(always)]
fn plain(x: &[f32], y: &mut [f32]) {
    let (above, below) = x.split_at(x.len() / 2);
    let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
    for (y, (a, b)) in y.iter_mut().zip(pairs) {
        *y = [a[1], b[0], b[1]].into_iter().fold(a[0], |best, x| if beats(x, best) { x } else { best });
    }
}

struct Backward<'a> {
    pool: &'a Pool,
    planes: Range<usize>,
    x: Numbers<'a>,
    grad_y: Numbers<'a>,
    grad_x: NumbersMut<'a>,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Backward { pool, planes, x, grad_y, grad_x } = self;
        let (oh, ow) = pool.out();
        let (len, out) = (pool.height * pool.width, oh * ow);
        let (mut room_x, mut room_y, mut sums) = (Scratch::new(len), Scratch::new(out), Scratch::new(len));
        let phases = Phases::new(pool, ow);
        let mut memory = Scratch::new(phases.len() + 2 * phases.windows);
        let (lines, winners) = memory.split_at_mut(phases.len());
        lines.fill(f32::NEG_INFINITY);
        for i in planes {
            let (x, grad_y) = (floats(s, x, i, len, &mut room_x), floats(s, grad_y, i, out, &mut room_y));
            // SAFETY: each plane is written by one task.
            let to = unsafe { floats_mut(grad_x, i, len, &mut sums) };
            to.fill(0.0);
            for (i, grad) in grad_y.chunks_exact(ow).enumerate() {
                phases.compete(s, pool, x, i, lines, winners);
                for (j, (&grad, place)) in grad.iter().zip(&winners[phases.windows..]).enumerate() {
                    let corner = i * pool.stride[0] * pool.width + j * pool.stride[1];
                    let padding = pool.padding[0] * pool.width + pool.padding[1];
                    to[corner + place.to_bits() as usize - padding] += grad;
                }
            }
            // SAFETY: as above.
            unsafe { settle(s, grad_x, i, len, &sums) };
        }
    }
}

/// How rows are laid out by the phase of the stride, with room for padding and for whole vectors.
#[derive(Clone, Copy)]
struct Phases {
    /// Windows of a row, to the end of a vector.
    windows: usize,
    /// Cells before the first of the image.
    before: usize,
    /// Cells of one phase.
    cells: usize,
    count: usize,
}

impl Phases {
    fn new(pool: &Pool, ow: usize) -> Phases {
        let stride = pool.stride[1];
        let windows = ow.next_multiple_of(16);
        let before = pool.padding[1].div_ceil(stride);
        Phases { windows, before, cells: windows + before + pool.kernel[1] / stride + 1, count: stride }
    }

    fn len(&self) -> usize {
        self.cells * self.count
    }

    /// Lays out a row; cells that are not the image's stay what they are.
    #[inline(always)]
    fn split(&self, row: &[f32], lines: &mut [f32]) {
        if let Phases { count: 2, cells, before, .. } = *self {
            // Both at once go by in lanes.
            let (even, odd) = lines.split_at_mut(cells);
            let pairs = row.as_chunks::<2>();
            for (([a, b], even), odd) in pairs.0.iter().zip(&mut even[before..]).zip(&mut odd[before..]) {
                (*even, *odd) = (*a, *b);
            }
            if let (Some(&x), Some(last)) = (pairs.1.first(), even.get_mut(before + pairs.0.len())) {
                *last = x;
            }
            return;
        }
        for (phase, line) in lines.chunks_exact_mut(self.cells).enumerate().take(row.len()) {
            let cells = line[self.before..].iter_mut();
            cells.zip(row[phase..].iter().step_by(self.count)).for_each(|(to, &x)| *to = x);
        }
    }

    /// The winners of row i of the windows: their values, and behind these the bits of their places, counted from each window's
    /// corner. `lines` are minus infinity where no image is: that beats nothing.
    #[inline(always)]
    fn compete<S: Simd>(&self, s: S, pool: &Pool, x: &[f32], i: usize, lines: &mut [f32], winners: &mut [f32]) {
        let (values, places) = winners.split_at_mut(self.windows);
        values.fill(f32::NEG_INFINITY);
        // Where nothing is larger than that, the first element within the image wins.
        let rows_outside = pool.padding[0].saturating_sub(i * pool.stride[0]);
        for (j, place) in places.iter_mut().enumerate() {
            let columns_outside = pool.padding[1].saturating_sub(j * pool.stride[1]);
            *place = f32::from_bits((rows_outside * pool.width + columns_outside) as u32);
        }
        for ky in rows_outside..pool.kernel[0] {
            let row = i * pool.stride[0] + ky - pool.padding[0];
            if row >= pool.height {
                break;
            }
            self.split(&x[row * pool.width..][..pool.width], lines);
            for at in (0..self.windows).step_by(S::LANES) {
                // SAFETY: windows are whole vectors, and lines reach as far as the last element of the last window.
                unsafe {
                    let (value, place) = (values[at..].as_mut_ptr(), places[at..].as_mut_ptr());
                    let (mut best, mut winner) = (s.load(value), s.load(place));
                    for kx in 0..pool.kernel[1] {
                        let cell = kx + self.before * self.count - pool.padding[1];
                        let from = &lines[cell % self.count * self.cells + cell / self.count + at..][..S::LANES];
                        let new = s.load(from.as_ptr());
                        let here = s.splat(f32::from_bits((ky * pool.width + kx) as u32));
                        // As in `beats`.
                        let unless_nan = |x, y| s.select(s.eq(new, new), y, s.select(s.eq(best, best), x, y));
                        let larger = s.lt(best, new);
                        winner = s.select(larger, here, unless_nan(here, winner));
                        best = s.select(larger, new, unless_nan(new, best));
                    }
                    s.store(value, best);
                    s.store(place, winner);
                }
            }
        }
    }
}
