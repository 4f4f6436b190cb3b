//! Bilinear samples of images at given points (Jaderberg et al. 2015), zeros outside, and their gradients.
//!
//! Where points lie and what their four pixels weigh is computed in vectors, for some points at a time, and then serves all
//! channels. Pixels outside are replaced by the nearest inside with a weight of 0, as in the operation's meaning: an infinite pixel
//! there makes NaN. A coordinate that is NaN weighs nothing and reads the first pixel.

mod points;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use self::points::{POINTS, Points};
use crate::{
    shared::{Scratch, SharedMut},
    simd::{Isa, Kernel, Simd},
};

/// Points of a task.
const TASK: usize = 32 * POINTS;
/// Channels whose cotangents are summed side by side.
const TOGETHER: usize = 4;

/// Sizes: images `[batch, channels, height, width]`, grid `[batch, out_height, out_width, 2]` of (x, y) in -1..1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridSample {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub out_height: usize,
    pub out_width: usize,
    /// -1 and 1 are the centres of the corner pixels, not their outer edges.
    pub align_corners: bool,
}

impl GridSample {
    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Points of a sample.
    fn points(&self) -> usize {
        self.out_height * self.out_width
    }

    fn check(&self, x: usize, grid: usize, y: usize) {
        let planes = self.batch * self.channels;
        assert_eq!(x, planes * self.plane(), "the images have another size");
        assert_eq!(grid, self.batch * self.points() * 2, "the grid has another size");
        assert_eq!(y, planes * self.points(), "the result has another size");
        assert!(y == 0 || self.plane() > 0, "no pixel to sample: {self:?}");
        assert!(u32::try_from(self.plane()).is_ok(), "images of {} pixels", self.plane());
    }

    /// Tasks of all samples, and the sample and points of one.
    fn spans(&self) -> (usize, impl Fn(usize) -> (usize, usize, usize) + Sync) {
        let points = self.points();
        let each = points.div_ceil(TASK);
        let span = move |task: usize| {
            let first = task % each * TASK;
            (task / each, first, TASK.min(points - first))
        };
        (self.batch * each, span)
    }
}

/// y `[n, c, oh, ow]` of x `[n, c, h, w]` at grid `[n, oh, ow, 2]`.
///
/// # Panics
/// When a slice has another size than the shape says.
pub fn forward(isa: Isa, shape: &GridSample, x: &[f32], grid: &[f32], y: &mut [f32]) {
    shape.check(x.len(), grid.len(), y.len());
    if y.is_empty() {
        return;
    }
    let (tasks, span) = shape.spans();
    let y = SharedMut::new(y);
    (0..tasks).into_par_iter().for_each(|task| {
        let (sample, first, count) = span(task);
        isa.run(Forward { shape, x, grid, y, sample, first, count });
    });
}

/// The cotangents of x `[n, c, h, w]` and grid `[n, oh, ow, 2]` that are wanted, of that of y `[n, c, oh, ow]`.
///
/// # Panics
/// When a slice has another size than the shape says.
pub fn backward(
    isa: Isa,
    shape: &GridSample,
    x: &[f32],
    grid: &[f32],
    grad_y: &[f32],
    grad_x: Option<&mut [f32]>,
    grad_grid: Option<&mut [f32]>,
) {
    shape.check(x.len(), grid.len(), grad_y.len());
    if let Some(grad_x) = grad_x {
        assert_eq!(grad_x.len(), x.len(), "the cotangent of the images has another size");
        if !grad_x.is_empty() {
            let groups = shape.channels.div_ceil(TOGETHER);
            let grad_x = SharedMut::new(grad_x);
            (0..shape.batch * groups).into_par_iter().for_each(|task| {
                let (sample, first) = (task / groups, task % groups * TOGETHER);
                let count = TOGETHER.min(shape.channels - first);
                isa.run(GradX { shape, grid, grad_y, grad_x, sample, first, count });
            });
        }
    }
    if let Some(grad_grid) = grad_grid {
        assert_eq!(grad_grid.len(), grid.len(), "the cotangent of the grid has another size");
        if grad_y.is_empty() {
            grad_grid.fill(0.0);
            return;
        }
        let (tasks, span) = shape.spans();
        let grad_grid = SharedMut::new(grad_grid);
        (0..tasks).into_par_iter().for_each(|task| {
            let (sample, first, count) = span(task);
            isa.run(GradGrid { shape, x, grid, grad_y, grad_grid, sample, first, count });
        });
    }
}

/// Some points of one sample, of all channels.
struct Forward<'a> {
    shape: &'a GridSample,
    x: &'a [f32],
    grid: &'a [f32],
    y: SharedMut<'a, f32>,
    sample: usize,
    first: usize,
    count: usize,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.shape;
        let (plane, all) = (shape.plane(), shape.points());
        let mut points = Points::new();
        for first in (self.first..self.first + self.count).step_by(POINTS) {
            let count = POINTS.min(self.first + self.count - first);
            points.locate(s, shape, &self.grid[2 * (self.sample * all + first)..][..2 * count]);
            for channel in self.sample * shape.channels..(self.sample + 1) * shape.channels {
                let x = &self.x[channel * plane..][..plane];
                // SAFETY: each span of points belongs to one task.
                let y = unsafe { self.y.part(channel * all + first, count) };
                let [a, b, c, d] = &points.weight;
                for (p, y) in y.iter_mut().enumerate() {
                    // SAFETY: places lie within a plane.
                    let [i, j, k, l] = unsafe { points.pixels(x, p) };
                    *y = i * a[p] + j * b[p] + k * c[p] + l * d[p];
                }
            }
        }
    }
}

/// Some channels of one sample, at all points in order: what they add to a pixel is always summed in that order.
struct GradX<'a> {
    shape: &'a GridSample,
    grid: &'a [f32],
    grad_y: &'a [f32],
    grad_x: SharedMut<'a, f32>,
    sample: usize,
    first: usize,
    count: usize,
}

impl Kernel for GradX<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.shape;
        let (plane, all) = (shape.plane(), shape.points());
        let channel = self.sample * shape.channels + self.first;
        // SAFETY: each channel belongs to one task.
        let grad_x = unsafe { self.grad_x.part(channel * plane, self.count * plane) };
        // Channels side by side: a pixel is then fetched and written once for all of them.
        let mut sums = Scratch::new(TOGETHER * plane);
        sums.fill(0.0);
        let sums = sums.as_chunks_mut::<TOGETHER>().0;
        let mut points = Points::new();
        for first in (0..all).step_by(POINTS) {
            let count = POINTS.min(all - first);
            points.locate(s, shape, &self.grid[2 * (self.sample * all + first)..][..2 * count]);
            // Where channels are fewer the last stands in for those that are missing.
            let grads: [&[f32]; TOGETHER] =
                std::array::from_fn(|c| &self.grad_y[(channel + c.min(self.count - 1)) * all + first..][..count]);
            for p in 0..count {
                let grad = grads.map(|grads| grads[p]);
                for k in 0..4 {
                    let (place, weight) = (points.place[k][p] as usize, points.weight[k][p]);
                    // SAFETY: places lie within a plane.
                    let sums = unsafe { sums.get_unchecked_mut(place) };
                    *sums = std::array::from_fn(|c| sums[c] + grad[c] * weight);
                }
            }
        }
        for (c, grad_x) in grad_x.chunks_exact_mut(plane).enumerate() {
            grad_x.iter_mut().zip(&*sums).for_each(|(to, sums)| *to = sums[c]);
        }
    }
}

/// Some points of one sample, summed over channels.
struct GradGrid<'a> {
    shape: &'a GridSample,
    x: &'a [f32],
    grid: &'a [f32],
    grad_y: &'a [f32],
    grad_grid: SharedMut<'a, f32>,
    sample: usize,
    first: usize,
    count: usize,
}

impl Kernel for GradGrid<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = self.shape;
        let (plane, all) = (shape.plane(), shape.points());
        let mut points = Points::new();
        for first in (self.first..self.first + self.count).step_by(POINTS) {
            let count = POINTS.min(self.first + self.count - first);
            let at = 2 * (self.sample * all + first);
            points.locate(s, shape, &self.grid[at..][..2 * count]);
            // The cotangents of the four weights.
            let mut sums = [[0.0; POINTS]; 4];
            for channel in self.sample * shape.channels..(self.sample + 1) * shape.channels {
                let x = &self.x[channel * plane..][..plane];
                let grad_y = &self.grad_y[channel * all + first..][..count];
                for (p, &grad) in grad_y.iter().enumerate() {
                    // SAFETY: places lie within a plane.
                    let pixels = unsafe { points.pixels(x, p) };
                    for k in 0..4 {
                        sums[k][p] += grad * pixels[k];
                    }
                }
            }
            // SAFETY: each span of points belongs to one task.
            let to = unsafe { self.grad_grid.part(at, 2 * count) };
            points.grad(shape, &sums, to);
        }
    }
}
