//! Bilinear interpolation of images, and its adjoint.
//!
//! Both axes are linear maps of two weights a row. Rows are combined in vectors, columns one by one, so the axis that leaves less
//! to do one by one decides which comes first: an image that grows is widened before its rows are repeated, one that shrinks
//! loses rows before columns. The adjoint takes the same steps backwards.

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{
    numbers::{Numbers, NumbersMut, Stored},
    shared::{Scratch, SharedMut},
    simd::{Isa, Kernel, Simd},
    vectors::map,
};

/// Interpolation along one axis: element i is `weight[i][0] * x[low[i]] + weight[i][1] * x[high[i]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    low: Vec<u32>,
    high: Vec<u32>,
    weight: Vec<[f32; 2]>,
    from: usize,
}

impl Taps {
    /// From dense weights `[out, in]`; none when a row has more than two that are not zero.
    ///
    /// # Panics
    /// When there are not as many weights.
    pub fn from_matrix(out: usize, from: usize, weights: &[f64]) -> Option<Taps> {
        assert_eq!(weights.len(), out * from, "the matrix has another size");
        assert!(u32::try_from(from).is_ok() && (from > 0 || out == 0), "an axis of {from}");
        let mut taps = Taps { low: vec![], high: vec![], weight: vec![], from };
        for row in weights.chunks(from.max(1)) {
            let mut used = row.iter().enumerate().filter(|(_, w)| **w != 0.0);
            let (low, first) = used.next().unwrap_or((0, &0.0));
            // A row of one weight reads nothing else, so that nothing else can make it NaN.
            let (high, second) = used.next().unwrap_or((low, &0.0));
            if used.next().is_some() {
                return None;
            }
            taps.low.push(low as u32);
            taps.high.push(high as u32);
            taps.weight.push([*first as f32, *second as f32]);
        }
        Some(taps)
    }

    /// Elements of the result.
    pub fn len(&self) -> usize {
        self.low.len()
    }

    pub fn is_empty(&self) -> bool {
        self.low.is_empty()
    }

    /// The indices and weights of element i.
    #[inline(always)]
    fn at(&self, i: usize) -> ([usize; 2], [f32; 2]) {
        ([self.low[i] as usize, self.high[i] as usize], self.weight[i])
    }

    /// The indices and weights of all.
    #[inline(always)]
    fn all(&self) -> impl Iterator<Item = (usize, usize, [f32; 2])> {
        let indices = self.low.iter().zip(&self.high);
        indices.zip(&self.weight).map(|((&low, &high), &weight)| (low as usize, high as usize, weight))
    }
}

/// What both passes need.
#[derive(Clone, Copy)]
struct Map<'a> {
    size: (usize, usize),
    rows: &'a Taps,
    columns: &'a Taps,
}

impl Map<'_> {
    fn check(&self, planes: usize, x: usize, y: usize) {
        let (h, w) = self.size;
        assert!((self.rows.from, self.columns.from) == (h, w), "the weights are for images of another size");
        assert_eq!(x, planes * h * w, "the images have another size");
        assert_eq!(y, planes * self.rows.len() * self.columns.len(), "the result has another size");
    }

    /// Whether rows are widened before they are combined.
    fn wide_first(&self) -> bool {
        self.size.0 < self.rows.len()
    }

    fn forward(self, isa: Isa, planes: usize, x: Numbers<'_>, y: NumbersMut<'_>) {
        self.check(planes, x.len(), y.len());
        if y.is_empty() {
            return;
        }
        match (x, y) {
            (Numbers::F32(x), NumbersMut::F32(y)) => self.forward_planes(isa, x, y),
            (Numbers::F32(x), NumbersMut::Bf16(y)) => self.forward_planes(isa, x, y),
            (Numbers::Bf16(x), NumbersMut::F32(y)) => self.forward_planes(isa, x, y),
            (Numbers::Bf16(x), NumbersMut::Bf16(y)) => self.forward_planes(isa, x, y),
        }
    }

    fn forward_planes<X: Stored, Y: Stored>(self, isa: Isa, x: &[X], y: SharedMut<'_, Y>) {
        let (plane, out) = (self.size.0 * self.size.1, self.rows.len() * self.columns.len());
        x.par_chunks(plane).enumerate().for_each(|(i, x)| {
            // SAFETY: each plane is written by one task.
            let y = unsafe { y.part(i * out, out) };
            isa.run(Forward { map: self, x, y });
        });
    }

    fn backward(self, isa: Isa, planes: usize, grad_y: Numbers<'_>, grad_x: NumbersMut<'_>) {
        self.check(planes, grad_x.len(), grad_y.len());
        match (grad_y, grad_x) {
            (Numbers::F32(y), NumbersMut::F32(x)) => self.backward_planes(isa, y, x),
            (Numbers::F32(y), NumbersMut::Bf16(x)) => self.backward_planes(isa, y, x),
            (Numbers::Bf16(y), NumbersMut::F32(x)) => self.backward_planes(isa, y, x),
            (Numbers::Bf16(y), NumbersMut::Bf16(x)) => self.backward_planes(isa, y, x),
        }
    }

    fn backward_planes<Y: Stored, X: Stored>(self, isa: Isa, grad_y: &[Y], grad_x: SharedMut<'_, X>) {
        let (plane, out) = (self.size.0 * self.size.1, self.rows.len() * self.columns.len());
        // From the planes of the result: those of a cotangent of nothing are empty, and still to be written.
        (0..grad_x.len() / plane.max(1)).into_par_iter().for_each(|i| {
            // SAFETY: each plane is written by one task.
            let grad_x = unsafe { grad_x.part(i * plane, plane) };
            isa.run(Backward { map: self, grad_y: &grad_y[i * out..][..out], grad_x });
        });
    }
}

/// y `[planes, rows, columns]` of x `[planes, h, w]`.
///
/// # Panics
/// When a slice or the weights have another size.
pub fn forward<'a>(
    isa: Isa,
    planes: usize,
    size: (usize, usize),
    rows: &Taps,
    columns: &Taps,
    x: impl Into<Numbers<'a>>,
    y: impl Into<NumbersMut<'a>>,
) {
    Map { size, rows, columns }.forward(isa, planes, x.into(), y.into());
}

/// The cotangent of x `[planes, h, w]` of that of y `[planes, rows, columns]`. Sums are rounded once, when they are whole.
///
/// # Panics
/// When a slice or the weights have another size.
pub fn backward<'a>(
    isa: Isa,
    planes: usize,
    size: (usize, usize),
    rows: &Taps,
    columns: &Taps,
    grad_y: impl Into<Numbers<'a>>,
    grad_x: impl Into<NumbersMut<'a>>,
) {
    Map { size, rows, columns }.backward(isa, planes, grad_y.into(), grad_x.into());
}

struct Forward<'a, X, Y> {
    map: Map<'a>,
    x: &'a [X],
    y: &'a mut [Y],
}

impl<X: Stored, Y: Stored> Kernel for Forward<'_, X, Y> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Map { size: (h, w), rows, columns } = self.map;
        let out = columns.len();
        let lines = self.y.chunks_exact_mut(out).enumerate();
        if self.map.wide_first() {
            let (mut wide, mut spare) = (Scratch::new(h * out), Scratch::new(X::spare(w)));
            for (x, wide) in self.x.chunks_exact(w).zip(wide.chunks_exact_mut(out)) {
                interpolate(columns, X::floats(s, x, &mut spare), wide);
            }
            for (i, y) in lines {
                let ([low, high], weight) = rows.at(i);
                combine(s, weight, &wide[low * out..][..out], &wide[high * out..][..out], y);
            }
        } else {
            let (mut line, mut spare) = (Scratch::new(w), Scratch::new(Y::spare(out)));
            for (i, y) in lines {
                let ([low, high], weight) = rows.at(i);
                combine(s, weight, &self.x[low * w..][..w], &self.x[high * w..][..w], &mut line);
                interpolate(columns, &line, Y::floats_mut(y, &mut spare));
                Y::settle(s, &spare, y);
            }
        }
    }
}

struct Backward<'a, Y, X> {
    map: Map<'a>,
    grad_y: &'a [Y],
    grad_x: &'a mut [X],
}

impl<Y: Stored, X: Stored> Kernel for Backward<'_, Y, X> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Map { size: (h, w), rows, columns } = self.map;
        let out = columns.len();
        // Rows without columns have no lines.
        let lines = self.grad_y.chunks_exact(out.max(1)).enumerate();
        let mut whole = Scratch::new(X::spare(h * w));
        let sums = X::floats_mut(self.grad_x, &mut whole);
        sums.fill(0.0);
        if self.map.wide_first() {
            let mut wide = Scratch::new(h * out);
            wide.fill(0.0);
            for (i, grad) in lines {
                spread(s, rows, i, grad, &mut wide);
            }
            for (wide, sums) in wide.chunks_exact(out.max(1)).zip(sums.chunks_exact_mut(w)) {
                scatter(columns, wide, sums);
            }
        } else {
            let (mut line, mut spare) = (Scratch::new(w), Scratch::new(Y::spare(out)));
            for (i, grad) in lines {
                line.fill(0.0);
                scatter(columns, Y::floats(s, grad, &mut spare), &mut line);
                spread(s, rows, i, &line, sums);
            }
        }
        X::settle(s, &whole, self.grad_x);
    }
}

/// `y = weight[0] * low + weight[1] * high`.
#[inline(always)]
fn combine<S: Simd, X: Stored, Y: Stored>(s: S, weight: [f32; 2], low: &[X], high: &[X], y: &mut [Y]) {
    let count = y.len();
    assert!(low.len() == count && high.len() == count);
    let [a, b] = weight.map(|w| s.splat(w));
    let (low, high) = (low.as_ptr(), high.as_ptr());
    // SAFETY: all three have `count` numbers.
    unsafe { map!(s, count, y.as_mut_ptr(), [low, high], s.fma(a, low, s.mul(b, high))) }
}

/// The adjoint of [`combine`] for row i: adds `line` to both rows of `to` that it came from.
#[inline(always)]
fn spread<S: Simd, T: Stored>(s: S, rows: &Taps, i: usize, line: &[T], to: &mut [f32]) {
    let count = line.len();
    let (indices, weight) = rows.at(i);
    for (row, weight) in indices.into_iter().zip(weight) {
        let to = &mut to[row * count..][..count];
        let (from, to, weight) = (line.as_ptr(), to.as_mut_ptr(), s.splat(weight));
        let sum = to.cast_const();
        // SAFETY: both have `count` numbers.
        unsafe { map!(s, count, to, [from, sum], s.fma(weight, from, sum)) }
        if indices[0] == indices[1] {
            // A row of one weight: the other is zero.
            break;
        }
    }
}

/// One row along its columns.
#[inline(always)]
fn interpolate(columns: &Taps, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == columns.from && y.len() == columns.len());
    for (y, (low, high, [a, b])) in y.iter_mut().zip(columns.all()) {
        // SAFETY: the indices of taps are below the size that they were made for, which is that of x.
        *y = unsafe { a * x.get_unchecked(low) + b * x.get_unchecked(high) };
    }
}

/// The adjoint of [`interpolate`], added to `x`.
#[inline(always)]
fn scatter(columns: &Taps, y: &[f32], x: &mut [f32]) {
    assert!(x.len() == columns.from && y.len() == columns.len());
    for (&y, (low, high, [a, b])) in y.iter().zip(columns.all()) {
        // SAFETY: as for `interpolate`.
        unsafe {
            *x.get_unchecked_mut(low) += a * y;
            if high != low {
                *x.get_unchecked_mut(high) += b * y;
            }
        }
    }
}
