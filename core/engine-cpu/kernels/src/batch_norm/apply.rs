//! The pass that writes: z and its activation, or the gradient of x.

use std::ops::Range;

use rayon::prelude::*;

use super::{Rectifier, Shape};
use crate::{
    numbers::{Numbers, NumbersMut, Stored},
    shared::SharedMut,
    simd::{Isa, Kernel, Simd},
    vectors::{TASK, map},
};

/// What is read.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub shape: Shape,
    pub x: Numbers<'a>,
    /// That of y: then the gradient of x is written.
    pub grad: Option<Numbers<'a>>,
    /// For each channel, one after the other: mean, factor, bias; for the gradient what it loses, flat and along what is centred.
    pub constants: &'a [f32],
    pub activation: Option<f32>,
    /// The slope of a rectifier that x came through, whose adjoint the gradient goes through as well.
    pub before: Option<f32>,
    /// How often each constant is there: once, or for each place of the plane.
    pub spread: usize,
}

impl Pass<'_> {
    pub fn run(self, isa: Isa, to: NumbersMut<'_>) {
        match to {
            NumbersMut::F32(to) => self.write(isa, to),
            NumbersMut::Bf16(to) => self.write(isa, to),
        }
    }

    fn write<Y: Stored>(self, isa: Isa, to: SharedMut<'_, Y>) {
        match (self.x, self.grad) {
            // Any type will do for a gradient that is not there.
            (Numbers::F32(x), None) => self.write_rows(isa, x, None::<&[f32]>, to),
            (Numbers::Bf16(x), None) => self.write_rows(isa, x, None::<&[f32]>, to),
            (Numbers::F32(x), Some(Numbers::F32(grad))) => self.write_rows(isa, x, Some(grad), to),
            (Numbers::F32(x), Some(Numbers::Bf16(grad))) => self.write_rows(isa, x, Some(grad), to),
            (Numbers::Bf16(x), Some(Numbers::F32(grad))) => self.write_rows(isa, x, Some(grad), to),
            (Numbers::Bf16(x), Some(Numbers::Bf16(grad))) => self.write_rows(isa, x, Some(grad), to),
        }
    }

    fn write_rows<X: Stored, G: Stored, Y: Stored>(self, isa: Isa, x: &[X], grad: Option<&[G]>, to: SharedMut<'_, Y>) {
        let Shape { count, channels, plane } = self.shape;
        // Small planes are worked on together: a row is an image, else a plane.
        let together = self.spread != 1 || plane == 1;
        let (rows, width) = if together { (count, channels * plane) } else { (count * channels, plane) };
        if rows == 0 || width == 0 {
            return;
        }
        let (share, piece) = ((TASK / width).max(1), width.min(TASK));
        let pieces = width.div_ceil(piece);
        (0..rows.div_ceil(share) * pieces).into_par_iter().for_each(|task| {
            let (first, from) = (task / pieces * share, task % pieces * piece);
            let (rows, columns) = (first..rows.min(first + share), from..width.min(from + piece));
            isa.run(Rows { pass: &self, x, grad, together, rows, width, columns, to });
        });
    }
}

struct Rows<'a, X, G, Y> {
    pass: &'a Pass<'a>,
    x: &'a [X],
    grad: Option<&'a [G]>,
    together: bool,
    rows: Range<usize>,
    width: usize,
    columns: Range<usize>,
    to: SharedMut<'a, Y>,
}

impl<X: Stored, G: Stored, Y: Stored> Kernel for Rows<'_, X, G, Y> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows { pass, x, grad, together, rows, width, columns, to } = self;
        let size = pass.shape.channels * pass.spread;
        let rectifier = Rectifier::new(s, pass.activation.unwrap_or(1.0));
        let before = Rectifier::new(s, pass.before.unwrap_or(1.0));
        let count = columns.len();
        for row in rows {
            let at = row * width + columns.start;
            let x = x[at..][..count].as_ptr();
            let to = to.at(at, count);
            let first = if together { columns.start } else { row % pass.shape.channels };
            let there = if together { count } else { 1 };
            let constant = |i: usize| pass.constants[i * size + first..][..there].as_ptr();
            let (mean, factor, bias) = (constant(0), constant(1), constant(2));
            // SAFETY: `count` numbers are there of all, but of constants only one unless planes are worked on together.
            unsafe {
                match (grad, together) {
                    (None, true) => map!(s, count, to, [x, mean, factor, bias], {
                        let z = s.fma(s.sub(x, mean), factor, bias);
                        rectifier.apply(s, z, z)
                    }),
                    (None, false) => {
                        let (mean, factor, bias) = (s.splat(*mean), s.splat(*factor), s.splat(*bias));
                        map!(s, count, to, [x], {
                            let z = s.fma(s.sub(x, mean), factor, bias);
                            rectifier.apply(s, z, z)
                        });
                    }
                    (Some(grad), true) => {
                        let grad = grad[at..][..count].as_ptr();
                        let (flat, along) = (constant(3), constant(4));
                        map!(s, count, to, [x, grad, mean, factor, bias, flat, along], {
                            let centred = s.sub(x, mean);
                            let g = rectifier.apply(s, s.fma(centred, factor, bias), grad);
                            before.apply(s, x, s.mul(factor, s.sub(s.sub(g, flat), s.mul(centred, along))))
                        });
                    }
                    (Some(grad), false) => {
                        let grad = grad[at..][..count].as_ptr();
                        let (mean, factor, bias) = (s.splat(*mean), s.splat(*factor), s.splat(*bias));
                        let (flat, along) = (s.splat(*constant(3)), s.splat(*constant(4)));
                        map!(s, count, to, [x, grad], {
                            let centred = s.sub(x, mean);
                            let g = rectifier.apply(s, s.fma(centred, factor, bias), grad);
                            before.apply(s, x, s.mul(factor, s.sub(s.sub(g, flat), s.mul(centred, along))))
                        });
                    }
                }
            }
        }
    }
}
