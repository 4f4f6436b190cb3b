//! Sums and greatest numbers over an axis of `[outer, reduced, inner]`.
//!
//! Where nothing stands within the axis, lanes fold along it; elsewhere rows are folded onto each other. Either way an axis is cut
//! into pieces by its length alone, and what they come to is folded in turn: no sum is a chain of more than some hundred additions,
//! so its error is some units of the last place of the sum of magnitudes, however long the axis.

mod fold;

use fold::{Greatest, Job, Op, Squares, Sum};

use crate::{
    numbers::{Numbers, Stored},
    product::Rows,
    shared::SharedMut,
    simd::{Isa, Kernel, Simd},
    vectors::check_rows,
};

/// The sums over the middle of three axes: `[outer, reduced, inner]` to `[outer, inner]`.
///
/// # Panics
/// When a slice has another size.
pub fn sum<'a>(isa: Isa, shape: [usize; 3], x: impl Into<Numbers<'a>>, y: &mut [f32]) {
    match x.into() {
        Numbers::F32(x) => dense(isa, Sum, shape, x, y),
        Numbers::Bf16(x) => dense(isa, Sum, shape, x, y),
    }
}

/// The greatest over the middle of three axes: `[outer, reduced, inner]` to `[outer, inner]`. NaN where any is, -infinity of none.
///
/// # Panics
/// When a slice has another size.
pub fn max<'a>(isa: Isa, shape: [usize; 3], x: impl Into<Numbers<'a>>, y: &mut [f32]) {
    match x.into() {
        Numbers::F32(x) => dense(isa, Greatest, shape, x, y),
        Numbers::Bf16(x) => dense(isa, Greatest, shape, x, y),
    }
}

/// The sums of `width` columns over `rows` rows that begin where `x_rows` says.
///
/// # Panics
/// When rows do not lie within their slice, or `y` has another size.
pub fn column_sums<'a>(
    isa: Isa,
    (rows, width): (usize, usize),
    x: impl Into<Numbers<'a>>,
    x_rows: Rows<'_>,
    y: &mut [f32],
) {
    let x = x.into();
    check_rows(x_rows, rows, width, x.len(), "x");
    assert_eq!(y.len(), width, "the result has another size");
    let (op, shape, rows, y) = (Sum, [1, rows, width], x_rows, SharedMut::new(y));
    match x {
        Numbers::F32(x) => isa.run(Job { op, shape, x, rows, y }),
        Numbers::Bf16(x) => isa.run(Job { op, shape, x, rows, y }),
    }
}

/// The sum of the squares of all numbers.
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f32 {
    let mut y = [0.0];
    dense(isa, Squares, [1, x.len(), 1], x, &mut y);
    y[0]
}

fn dense<O: Op, T: Stored>(isa: Isa, op: O, shape: [usize; 3], x: &[T], y: &mut [f32]) {
    let [outer, reduced, inner] = shape;
    assert_eq!(x.len(), outer * reduced * inner, "x has another size");
    assert_eq!(y.len(), outer * inner, "the result has another size");
    isa.run(Job { op, shape, x, rows: Rows::Every(inner), y: SharedMut::new(y) });
}

impl<O: Op, T: Stored> Kernel for Job<'_, O, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        fold::run::<S, O, T>(&self);
    }
}

#[cfg(test)]
mod tests;
