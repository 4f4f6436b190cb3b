//! Sums over channels, in parts that are cut by shape.

use rayon::prelude::*;

use super::{Rectifier, Shape};
use crate::{
    numbers::{Numbers, Stored},
    shared::{Scratch, SharedMut},
    simd::{Isa, Kernel, Simd},
    vectors::{self, first_lanes, fold},
};

/// Numbers of a part, about.
const PART: usize = 4096;
/// Planes that are smaller are summed over images first, place by place.
const SMALL: usize = 64;
/// Images that are summed so.
const IMAGES: usize = 16;
/// Places of a task.
const STRIP: usize = 1024;

/// What is summed; `G` holds a gradient.
#[derive(Clone, Copy)]
pub enum Quantity<'a, G> {
    /// The mean, and the squares of what is centred by it. What the mean is rounded by is summed too, else it would show in the
    /// variance where the mean is large.
    Moments,
    /// The gradient of z, and its product with x less the mean. `constants` are those of the forward pass.
    Gradients { grad: G, constants: &'a [f32], slope: f32 },
}

/// What a part of a channel came to.
#[derive(Clone, Copy)]
pub struct Part {
    pub numbers: usize,
    pub first: f64,
    pub second: f64,
}

/// How channels are cut into parts.
#[derive(Clone, Copy)]
pub struct Cut {
    shape: Shape,
    small: bool,
    /// Images of a part.
    images: usize,
    /// Numbers of a plane that belong to a part.
    piece: usize,
    /// Parts of a plane: its pieces, or its places.
    per_plane: usize,
}

impl Cut {
    pub fn new(shape: Shape) -> Cut {
        let plane = shape.plane;
        if plane < SMALL {
            return Cut { shape, small: true, images: IMAGES, piece: 1, per_plane: plane };
        }
        let piece = plane.min(PART);
        Cut { shape, small: false, images: (PART / plane).max(1), piece, per_plane: plane.div_ceil(piece) }
    }

    /// How often a channel's constant is repeated: for each place of small planes, which are worked on together.
    pub fn spread(&self) -> usize {
        if self.small { self.shape.plane } else { 1 }
    }

    fn groups(&self) -> usize {
        self.shape.count.div_ceil(self.images)
    }

    /// Sums a quantity and writes for each channel what `join` makes of its parts.
    pub fn sums(
        &self,
        isa: Isa,
        x: Numbers<'_>,
        quantity: Quantity<'_, Numbers<'_>>,
        first: &mut [f32],
        second: &mut [f32],
        join: impl Fn(usize, Parts<'_>) -> (f32, f32) + Sync,
    ) {
        let mut sums = Scratch::new(3 * self.parts());
        self.sum_quantity(isa, x, quantity, SharedMut::new(&mut sums));
        first.par_iter_mut().zip(second).enumerate().for_each(|(channel, (first, second))| {
            (*first, *second) = join(channel, Parts { cut: self, sums: &sums, channel, next: 0 });
        });
    }

    /// Parts of all channels.
    fn parts(&self) -> usize {
        self.groups() * self.shape.channels * self.per_plane
    }

    fn sum_quantity(&self, isa: Isa, x: Numbers<'_>, quantity: Quantity<'_, Numbers<'_>>, to: SharedMut<'_, f32>) {
        match x {
            Numbers::F32(x) => self.sum_numbers(isa, x, quantity, to),
            Numbers::Bf16(x) => self.sum_numbers(isa, x, quantity, to),
        }
    }

    fn sum_numbers<X: Stored>(&self, isa: Isa, x: &[X], quantity: Quantity<'_, Numbers<'_>>, to: SharedMut<'_, f32>) {
        match quantity {
            // Any type will do for a gradient that is not there.
            Quantity::Moments => self.sum_parts::<X, f32>(isa, x, Quantity::Moments, to),
            Quantity::Gradients { grad: Numbers::F32(grad), constants, slope } => {
                self.sum_parts(isa, x, Quantity::Gradients { grad, constants, slope }, to);
            }
            Quantity::Gradients { grad: Numbers::Bf16(grad), constants, slope } => {
                self.sum_parts(isa, x, Quantity::Gradients { grad, constants, slope }, to);
            }
        }
    }

    fn sum_parts<X: Stored, G: Stored>(&self, isa: Isa, x: &[X], quantity: Quantity<'_, &[G]>, to: SharedMut<'_, f32>) {
        let all = self.parts();
        let job = Job { cut: self, x, quantity, all, to };
        if self.small {
            let strips = (self.shape.channels * self.per_plane).div_ceil(STRIP);
            (0..self.groups() * strips).into_par_iter().for_each(|task| {
                isa.run(Places { job: &job, group: task / strips, first: task % strips * STRIP });
            });
        } else {
            (0..all).into_par_iter().for_each(|index| isa.run(Piece { job: &job, index }));
        }
    }
}

/// The parts of a channel in order.
#[derive(Clone)]
pub struct Parts<'a> {
    cut: &'a Cut,
    sums: &'a [f32],
    channel: usize,
    next: usize,
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let Cut { shape, images, piece, per_plane, .. } = *self.cut;
        if self.next == self.cut.groups() * per_plane {
            return None;
        }
        let (group, part) = (self.next / per_plane, self.next % per_plane);
        self.next += 1;
        let width = if self.cut.small { 1 } else { piece.min(shape.plane - part * piece) };
        let index = (group * shape.channels + self.channel) * per_plane + part;
        let numbers = images.min(shape.count - group * images) * width;
        let all = self.sums.len() / 3;
        let [first, second, rest] = [0, 1, 2].map(|i| f64::from(self.sums[i * all + index]));
        // The mean is off by rest / n, and so are the squares by its square.
        let off = rest / numbers as f64;
        Some(Part { numbers, first: first + off, second: second - rest * off })
    }
}

struct Job<'a, X, G> {
    cut: &'a Cut,
    x: &'a [X],
    quantity: Quantity<'a, &'a [G]>,
    /// Parts of all channels: first sums, second ones and rests stand one after the other, so many of each.
    all: usize,
    to: SharedMut<'a, f32>,
}

/// Adds two sums over rows of `$count` numbers, given by their pointers, to `$sums`. Two pairs of registers take turns.
macro_rules! two_sums {
    ($s:ident, $count:expr, $sums:expr, [$($x:ident),+], |$last:ident| $step:expr) => {{
        let zero = $s.splat(0.0);
        let (mut even, mut odd) = ($sums, (zero, zero));
        let mut at = 0;
        while at + 2 * S::LANES <= $count {
            {
                $(let $x = Stored::load($s, $x.add(at));)+
                let $last = even;
                even = $step;
            }
            $(let $x = Stored::load($s, $x.add(at + S::LANES));)+
            let $last = odd;
            odd = $step;
            at += 2 * S::LANES;
        }
        while at < $count {
            let lanes = S::LANES.min($count - at);
            $(let $x = vectors::load($s, $x.add(at), lanes);)+
            let $last = even;
            let mask = first_lanes($s, lanes);
            let next = $step;
            even = ($s.select(mask, next.0, even.0), $s.select(mask, next.1, even.1));
            at += lanes;
        }
        ($s.add(even.0, odd.0), $s.add(even.1, odd.1))
    }};
}

/// A piece of some planes of one channel.
struct Piece<'a, X, G> {
    job: &'a Job<'a, X, G>,
    index: usize,
}

impl<X: Stored, G: Stored> Kernel for Piece<'_, X, G> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Piece { job: Job { cut, x, quantity, all, to }, index } = self;
        let Cut { shape: Shape { count, channels, plane }, images, piece, per_plane, .. } = **cut;
        let (row, part) = (index / per_plane, index % per_plane);
        let (group, channel) = (row / channels, row % channels);
        let width = piece.min(plane - part * piece);
        let range = group * images..count.min((group + 1) * images);
        let start = |image: usize| (image * channels + channel) * plane + part * piece;
        let zero = s.splat(0.0);
        let (mut first, mut second, mut rest) = (zero, zero, zero);
        // SAFETY: pieces lie within their planes, and their sums are this task's alone.
        unsafe {
            let results = match *quantity {
                Quantity::Moments => {
                    for image in range.clone() {
                        let x = x[start(image)..][..width].as_ptr();
                        first = s.add(first, fold!(s, width, 0.0, [x], |sum| s.add(sum, x), |a, b| s.add(a, b)));
                    }
                    let mean = s.sum(first) / (range.len() * width) as f32;
                    let middle = s.splat(mean);
                    for image in range {
                        let x = x[start(image)..][..width].as_ptr();
                        (second, rest) = two_sums!(s, width, (second, rest), [x], |sums| {
                            let centred = s.sub(x, middle);
                            (s.fma(centred, centred, sums.0), s.add(sums.1, centred))
                        });
                    }
                    (mean, s.sum(second))
                }
                Quantity::Gradients { grad, constants, slope } => {
                    let [mean, factor, bias] = [0, 1, 2].map(|i| constants[i * channels + channel]);
                    let (mean, factor, bias) = (s.splat(mean), s.splat(factor), s.splat(bias));
                    let rectifier = Rectifier::new(s, slope);
                    for image in range {
                        let at = start(image);
                        let (x, grad) = (x[at..][..width].as_ptr(), grad[at..][..width].as_ptr());
                        (first, second) = two_sums!(s, width, (first, second), [x, grad], |sums| {
                            let centred = s.sub(x, mean);
                            let g = rectifier.apply(s, s.fma(centred, factor, bias), grad);
                            (s.add(sums.0, g), s.fma(centred, g, sums.1))
                        });
                    }
                    (s.sum(first), s.sum(second))
                }
            };
            to.at(index, 1).write(results.0);
            to.at(all + index, 1).write(results.1);
            to.at(2 * all + index, 1).write(s.sum(rest));
        }
    }
}

/// Some images, for a strip of the places of all channels.
struct Places<'a, X, G> {
    job: &'a Job<'a, X, G>,
    group: usize,
    first: usize,
}

impl<X: Stored, G: Stored> Kernel for Places<'_, X, G> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Places { job: Job { cut, x, quantity, all, to }, group, first } = self;
        let Cut { shape: Shape { count, channels, plane }, images, .. } = **cut;
        let width = channels * plane;
        let end = width.min(first + STRIP);
        let (from, rows) = (group * images, images.min(count - group * images));
        let zero = s.splat(0.0);
        for column in (first..end).step_by(S::LANES) {
            let lanes = S::LANES.min(end - column);
            let (mut one, mut two, mut rest) = (zero, zero, zero);
            // SAFETY: `lanes` numbers are there in each row; their sums are this task's alone.
            unsafe {
                match *quantity {
                    Quantity::Moments => {
                        for row in from..from + rows {
                            one = s.add(one, load(s, x, row * width + column, lanes));
                        }
                        one = s.div(one, s.splat(rows as f32));
                        for row in from..from + rows {
                            let centred = s.sub(load(s, x, row * width + column, lanes), one);
                            (two, rest) = (s.fma(centred, centred, two), s.add(rest, centred));
                        }
                    }
                    Quantity::Gradients { grad, constants, slope } => {
                        let mean = load(s, constants, column, lanes);
                        let factor = load(s, constants, width + column, lanes);
                        let bias = load(s, constants, 2 * width + column, lanes);
                        let rectifier = Rectifier::new(s, slope);
                        for row in from..from + rows {
                            let centred = s.sub(load(s, x, row * width + column, lanes), mean);
                            let g = load(s, grad, row * width + column, lanes);
                            let g = rectifier.apply(s, s.fma(centred, factor, bias), g);
                            (one, two) = (s.add(one, g), s.fma(centred, g, two));
                        }
                    }
                }
                let at = group * width + column;
                s.store_first(to.at(at, lanes), one, lanes);
                s.store_first(to.at(all + at, lanes), two, lanes);
                s.store_first(to.at(2 * all + at, lanes), rest, lanes);
            }
        }
    }
}

/// The first lanes of a vector, zeros after them.
///
/// # Panics
/// When they are not there.
#[inline(always)]
fn load<S: Simd, T: Stored>(s: S, from: &[T], at: usize, lanes: usize) -> S::F {
    let from = from[at..][..lanes].as_ptr();
    // SAFETY: `lanes` numbers are there.
    unsafe { vectors::load(s, from, lanes) }
}
