//! Bilinear interpolation of images, and its adjoint.
//!
//! Both axes are linear maps of two weights a row. Rows are combined in vectors, columns one by one, so the axis that leaves less
//! to do one by one decides which comes first: an image that grows is widened before its rows are repeated, one that shrinks
//! loses rows before columns. The adjoint takes the same steps backwards.

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{
    shared::Scratch,
    simd::{Isa, Kernel, Simd},
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
}

/// y `[planes, rows, columns]` of x `[planes, h, w]`.
///
/// # Panics
/// When a slice or the weights have another size.
pub fn forward(isa: Isa, planes: usize, size: (usize, usize), rows: &Taps, columns: &Taps, x: &[f32], y: &mut [f32]) {
    let map = Map { size, rows, columns };
    map.check(planes, x.len(), y.len());
    if !y.is_empty() {
        let planes = x.par_chunks(size.0 * size.1).zip(y.par_chunks_mut(rows.len() * columns.len()));
        planes.for_each(|(x, y)| isa.run(Forward { map, x, y }));
    }
}

/// The cotangent of x `[planes, h, w]` of that of y `[planes, rows, columns]`.
///
/// # Panics
/// When a slice or the weights have another size.
pub fn backward(
    isa: Isa,
    planes: usize,
    size: (usize, usize),
    rows: &Taps,
    columns: &Taps,
    grad_y: &[f32],
    grad_x: &mut [f32],
) {
    let map = Map { size, rows, columns };
    map.check(planes, grad_x.len(), grad_y.len());
    if grad_y.is_empty() {
        grad_x.fill(0.0);
        return;
    }
    let planes = grad_y.par_chunks(rows.len() * columns.len()).zip(grad_x.par_chunks_mut(size.0 * size.1));
    planes.for_each(|(grad_y, grad_x)| isa.run(Backward { map, grad_y, grad_x }));
}

struct Forward<'a> {
    map: Map<'a>,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Map { size: (h, w), rows, columns } = self.map;
        let out = columns.len();
        let lines = self.y.chunks_exact_mut(out).enumerate();
        if self.map.wide_first() {
            let mut wide = Scratch::new(h * out);
            for (x, wide) in self.x.chunks_exact(w).zip(wide.chunks_exact_mut(out)) {
                interpolate(columns, x, wide);
            }
            for (i, y) in lines {
                let ([low, high], weight) = rows.at(i);
                combine(s, weight, &wide[low * out..][..out], &wide[high * out..][..out], y);
            }
        } else {
            let mut line = Scratch::new(w);
            for (i, y) in lines {
                let ([low, high], weight) = rows.at(i);
                combine(s, weight, &self.x[low * w..][..w], &self.x[high * w..][..w], &mut line);
                interpolate(columns, &line, y);
            }
        }
    }
}

struct Backward<'a> {
    map: Map<'a>,
    grad_y: &'a [f32],
    grad_x: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Map { size: (h, w), rows, columns } = self.map;
        let out = columns.len();
        let lines = self.grad_y.chunks_exact(out).enumerate();
        self.grad_x.fill(0.0);
        if self.map.wide_first() {
            let mut wide = Scratch::new(h * out);
            wide.fill(0.0);
            for (i, grad) in lines {
                spread(s, rows, i, grad, &mut wide);
            }
            for (wide, grad_x) in wide.chunks_exact(out).zip(self.grad_x.chunks_exact_mut(w)) {
                scatter(columns, wide, grad_x);
            }
        } else {
            let mut line = Scratch::new(w);
            for (i, grad) in lines {
                line.fill(0.0);
                scatter(columns, grad, &mut line);
                spread(s, rows, i, &line, self.grad_x);
            }
        }
    }
}

/// `y = weight[0] * low + weight[1] * high`.
#[inline(always)]
fn combine<S: Simd>(s: S, weight: [f32; 2], low: &[f32], high: &[f32], y: &mut [f32]) {
    let count = y.len();
    assert!(low.len() == count && high.len() == count);
    let [a, b] = weight.map(|w| s.splat(w));
    let (low, high, y) = (low.as_ptr(), high.as_ptr(), y.as_mut_ptr());
    let mut at = 0;
    // SAFETY: all three have `count` numbers.
    unsafe {
        while at + S::LANES <= count {
            s.store(y.add(at), s.fma(a, s.load(low.add(at)), s.mul(b, s.load(high.add(at)))));
            at += S::LANES;
        }
        let left = count - at;
        if left > 0 {
            let sum = s.fma(a, s.load_first(low.add(at), left), s.mul(b, s.load_first(high.add(at), left)));
            s.store_first(y.add(at), sum, left);
        }
    }
}

/// The adjoint of [`combine`] for row i: adds `line` to both rows of `to` that it came from.
#[inline(always)]
fn spread<S: Simd>(s: S, rows: &Taps, i: usize, line: &[f32], to: &mut [f32]) {
    let count = line.len();
    let (indices, weight) = rows.at(i);
    for (row, weight) in indices.into_iter().zip(weight) {
        let to = &mut to[row * count..][..count];
        let (from, to, weight) = (line.as_ptr(), to.as_mut_ptr(), s.splat(weight));
        let mut at = 0;
        // SAFETY: both have `count` numbers.
        unsafe {
            while at + S::LANES <= count {
                s.store(to.add(at), s.fma(weight, s.load(from.add(at)), s.load(to.add(at))));
                at += S::LANES;
            }
            let left = count - at;
            if left > 0 {
                let sum = s.fma(weight, s.load_first(from.add(at), left), s.load_first(to.add(at), left));
                s.store_first(to.add(at), sum, left);
            }
        }
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
