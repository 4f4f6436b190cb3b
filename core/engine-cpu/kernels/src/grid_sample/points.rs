//! Where points lie: the four pixels around each, and their weights.

use super::GridSample;
use crate::simd::Simd;

/// Points that are located at a time.
pub const POINTS: usize = 128;

/// One axis: for the pixels before and after each point.
struct Axis {
    /// Clamped into the image.
    index: [[f32; POINTS]; 2],
    /// 0 outside the image.
    weight: [[f32; POINTS]; 2],
    /// What the weight gains when the point moves by a pixel: -1 and 1, 0 outside the image.
    slope: [[f32; POINTS]; 2],
}

/// The four pixels around points, row-major: both above, both below.
pub struct Points {
    /// Places within a plane.
    pub place: [[u32; POINTS]; 4],
    pub weight: [[f32; POINTS]; 4],
    x: Axis,
    y: Axis,
}

/// A point of the grid at g is at pixel `(g + 1) * scale + shift`.
#[inline(always)]
fn scale_and_shift(size: usize, align_corners: bool) -> (f32, f32) {
    if align_corners { ((0.5 * (size - 1) as f64) as f32, 0.0) } else { ((0.5 * size as f64) as f32, -0.5) }
}

impl Axis {
    fn new() -> Axis {
        let none = [[0.0; POINTS]; 2];
        Axis { index: none, weight: none, slope: none }
    }

    /// Of the coordinates of some points, at `at` and on.
    ///
    /// Operations are rounded one by one, as they are in the operation's meaning.
    #[inline(always)]
    fn locate<S: Simd>(&mut self, s: S, at: usize, g: S::F, size: usize, align_corners: bool) {
        let (scale, shift) = scale_and_shift(size, align_corners);
        let (zero, one, last) = (s.splat(0.0), s.splat(1.0), s.splat((size - 1) as f32));
        let position = s.add(s.mul(s.add(g, one), s.splat(scale)), s.splat(shift));
        let low = s.floor(position);
        let part = s.sub(position, low);
        let taps = [(low, s.sub(one, part), s.splat(-1.0)), (s.add(low, one), part, one)];
        for (k, (index, weight, slope)) in taps.into_iter().enumerate() {
            let inside = |x| s.select(s.le(zero, index), s.select(s.le(index, last), x, zero), zero);
            // The order of operands takes NaN to 0.
            let clamped = s.min(s.max(index, zero), last);
            let [indices, weights, slopes] =
                [&mut self.index, &mut self.weight, &mut self.slope].map(|all| &mut all[k]);
            let values = [(indices, clamped), (weights, inside(weight)), (slopes, inside(slope))];
            for (to, x) in values {
                let to = &mut to[at..at + S::LANES];
                // SAFETY: a vector's lanes are there.
                unsafe { s.store(to.as_mut_ptr(), x) };
            }
        }
    }
}

impl Points {
    pub fn new() -> Points {
        Points { place: [[0; POINTS]; 4], weight: [[0.0; POINTS]; 4], x: Axis::new(), y: Axis::new() }
    }

    /// Locates points of (x, y), at most [`POINTS`].
    #[inline(always)]
    pub fn locate<S: Simd>(&mut self, s: S, shape: &GridSample, grid: &[f32]) {
        let count = grid.len() / 2;
        let mut apart = [[0.0; POINTS]; 2];
        for (p, pair) in grid.as_chunks::<2>().0.iter().enumerate() {
            (apart[0][p], apart[1][p]) = (pair[0], pair[1]);
        }
        for at in (0..count).step_by(S::LANES) {
            let [x, y] = [0, 1].map(|a| {
                let from = &apart[a][at..at + S::LANES];
                // SAFETY: a vector's lanes are there.
                unsafe { s.load(from.as_ptr()) }
            });
            self.x.locate(s, at, x, shape.width, shape.align_corners);
            self.y.locate(s, at, y, shape.height, shape.align_corners);
        }
        // Float may hold the last index only roughly.
        let (right, bottom) = ((shape.width - 1) as u32, (shape.height - 1) as u32);
        for k in 0..4 {
            let (y, x) = (k / 2, k % 2);
            for p in 0..count {
                let row = (self.y.index[y][p] as u32).min(bottom);
                let column = (self.x.index[x][p] as u32).min(right);
                self.place[k][p] = row * shape.width as u32 + column;
                self.weight[k][p] = self.y.weight[y][p] * self.x.weight[x][p];
            }
        }
    }

    /// The four pixels of a point.
    ///
    /// # Safety
    /// `plane` has the size of the shape that points were located for.
    #[inline(always)]
    pub unsafe fn pixels(&self, plane: &[f32], point: usize) -> [f32; 4] {
        // SAFETY: rows and columns were clamped into the plane.
        [0, 1, 2, 3].map(|k| unsafe { *plane.get_unchecked(self.place[k][point] as usize) })
    }

    /// The cotangents of points (x, y), of those of their four weights.
    #[inline(always)]
    pub fn grad(&self, shape: &GridSample, sums: &[[f32; POINTS]; 4], to: &mut [f32]) {
        let (along_x, _) = scale_and_shift(shape.width, shape.align_corners);
        let (along_y, _) = scale_and_shift(shape.height, shape.align_corners);
        for (p, to) in to.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let sum = [0, 1, 2, 3].map(|k| sums[k][p]);
            // A weight that is held at 0 has no gradient, not even NaN.
            let slope = |slope: f32, grad: f32| if slope == 0.0 { 0.0 } else { slope * grad };
            let ([top, bottom], [left, right]) =
                ([0, 1].map(|k| self.y.weight[k][p]), [0, 1].map(|k| self.x.weight[k][p]));
            let x = slope(self.x.slope[0][p], sum[0] * top + sum[2] * bottom)
                + slope(self.x.slope[1][p], sum[1] * top + sum[3] * bottom);
            let y = slope(self.y.slope[0][p], sum[0] * left + sum[1] * right)
                + slope(self.y.slope[1][p], sum[2] * left + sum[3] * right);
            *to = [x * along_x, y * along_y];
        }
    }
}
