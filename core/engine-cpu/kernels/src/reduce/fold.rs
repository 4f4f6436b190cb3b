//! How axes are cut, and the folds of their pieces.

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    numbers::Stored,
    product::Rows,
    shared::{Scratch, SharedMut},
    simd::{Kernel, Simd},
    vectors::{TASK, fold},
};

/// Numbers of a row that lanes fold at once, at most.
const PIECE: usize = 4096;
/// Columns of a task, at most.
const STRIP: usize = 1024;
/// Rows that are folded together before they meet the others.
const TOGETHER: usize = 8;

/// What becomes of two numbers.
pub trait Op: Copy + Send + Sync {
    /// What comes of no number.
    const START: f32;
    /// Folds the results of pieces.
    type Next: Op;
    const NEXT: Self::Next;

    /// Adds a number to the result.
    fn take<S: Simd>(self, s: S, result: S::F, x: S::F) -> S::F;
    /// Joins two results.
    fn merge<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F;
    /// Joins the lanes of a result.
    fn lanes<S: Simd>(self, s: S, result: S::F) -> f32;
}

#[derive(Clone, Copy)]
pub struct Sum;

impl Op for Sum {
    const START: f32 = 0.0;
    type Next = Sum;
    const NEXT: Sum = Sum;

    #[inline(always)]
    fn take<S: Simd>(self, s: S, result: S::F, x: S::F) -> S::F {
        s.add(result, x)
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, result: S::F) -> f32 {
        s.sum(result)
    }
}

#[derive(Clone, Copy)]
pub struct Squares;

impl Op for Squares {
    const START: f32 = 0.0;
    type Next = Sum;
    const NEXT: Sum = Sum;

    #[inline(always)]
    fn take<S: Simd>(self, s: S, result: S::F, x: S::F) -> S::F {
        s.fma(x, x, result)
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, result: S::F) -> f32 {
        s.sum(result)
    }
}

#[derive(Clone, Copy)]
pub struct Greatest;

impl Op for Greatest {
    const START: f32 = f32::NEG_INFINITY;
    type Next = Greatest;
    const NEXT: Greatest = Greatest;

    #[inline(always)]
    fn take<S: Simd>(self, s: S, result: S::F, x: S::F) -> S::F {
        // A NaN that stands in the result stays because of the order of operands.
        s.select(s.eq(x, x), s.max(x, result), x)
    }
    #[inline(always)]
    fn merge<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        self.take(s, a, b)
    }
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, result: S::F) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        // SAFETY: no vector has more lanes.
        unsafe { s.store(lanes.as_mut_ptr(), result) };
        lanes.into_iter().fold(f32::NEG_INFINITY, |top, x| if x > top || x.is_nan() { x } else { top })
    }
}

/// `outer` folds of `reduced` rows of `inner`, one after the other in `rows`; dense where `inner` is 1 and `rows` says so.
pub struct Job<'a, O, T = f32> {
    pub op: O,
    pub shape: [usize; 3],
    pub x: &'a [T],
    pub rows: Rows<'a>,
    pub y: SharedMut<'a, f32>,
}

/// Folds everything. The rows lie within `x`, and `y` has `outer * inner` elements.
#[inline(always)]
pub fn run<S: Simd, O: Op, T: Stored>(job: &Job<'_, O, T>) {
    let Job { op, shape: [outer, reduced, inner], x, rows, y } = *job;
    if outer * inner == 0 {
        return;
    }
    if inner == 1 && matches!(rows, Rows::Every(1)) {
        along::<S, O, T>(op, [outer, reduced], x, y);
        return;
    }
    let strip = inner.min(STRIP);
    let depth = (TASK / strip).clamp(32, 256);
    let (strips, pieces) = (inner.div_ceil(strip), reduced.div_ceil(depth));
    let columns = move |i: usize| i * strip..inner.min((i + 1) * strip);
    if pieces <= 1 {
        let share = (TASK / (reduced * strip).max(1)).clamp(1, TASK);
        (0..outer.div_ceil(share) * strips).into_par_iter().for_each(|task| {
            let first = task / strips * share;
            for o in first..outer.min(first + share) {
                let range = o * reduced..(o + 1) * reduced;
                S::ISA.run(Across { op, x, rows, range, columns: columns(task % strips), y, start: o * inner });
            }
        });
        return;
    }
    let mut results = Scratch::new(outer * pieces * inner);
    let there = SharedMut::new(&mut results);
    (0..outer * pieces * strips).into_par_iter().for_each(|task| {
        let (piece, strip) = (task / strips, task % strips);
        let (o, first) = (piece / pieces, piece % pieces * depth);
        let range = o * reduced + first..o * reduced + reduced.min(first + depth);
        S::ISA.run(Across { op, x, rows, range, columns: columns(strip), y: there, start: piece * inner });
    });
    again::<S, O::Next>(Job { op: O::NEXT, shape: [outer, pieces, inner], x: &results, rows: Rows::Every(inner), y });
}

/// Folds the results of pieces. Not inlined: types would be without end.
fn again<S: Simd, O: Op>(job: Job<'_, O>) {
    run::<S, O, f32>(&job);
}

/// Folds rows that are dense.
#[inline(always)]
fn along<S: Simd, O: Op, T: Stored>(op: O, [outer, reduced]: [usize; 2], x: &[T], y: SharedMut<'_, f32>) {
    let pieces = reduced.div_ceil(PIECE);
    if pieces <= 1 {
        let share = (TASK / reduced.max(1)).max(1);
        (0..outer.div_ceil(share)).into_par_iter().for_each(|task| {
            let range = task * share..outer.min((task + 1) * share);
            S::ISA.run(Along { op, x, width: reduced, range, y });
        });
        return;
    }
    // The last piece of a row may be shorter, so each is a row of its own.
    let mut results = Scratch::new(outer * pieces);
    let there = SharedMut::new(&mut results);
    (0..outer * pieces).into_par_iter().for_each(|piece| {
        let (o, first) = (piece / pieces, piece % pieces * PIECE);
        let width = PIECE.min(reduced - first);
        let x = &x[o * reduced + first..][..width];
        // SAFETY: each piece has a result of its own.
        let y = SharedMut::new(unsafe { there.part(piece, 1) });
        S::ISA.run(Along { op, x, width, range: 0..1, y });
    });
    again::<S, O::Next>(Job { op: O::NEXT, shape: [outer, pieces, 1], x: &results, rows: Rows::Every(1), y });
}

/// Lanes along some rows.
struct Along<'a, O, T> {
    op: O,
    x: &'a [T],
    width: usize,
    range: Range<usize>,
    y: SharedMut<'a, f32>,
}

impl<O: Op, T: Stored> Kernel for Along<'_, O, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Along { op, x, width, range, y } = self;
        for row in range {
            let x = x[row * width..][..width].as_ptr();
            // SAFETY: the row has `width` numbers; its result is written by this task alone.
            unsafe {
                let result = fold!(s, width, O::START, [x], |last| op.take(s, last, x), |a, b| op.merge(s, a, b));
                y.at(row, 1).write(op.lanes(s, result));
            }
        }
    }
}

/// Some rows onto each other, to `y` from `start` on.
struct Across<'a, O, T> {
    op: O,
    x: &'a [T],
    rows: Rows<'a>,
    range: Range<usize>,
    columns: Range<usize>,
    y: SharedMut<'a, f32>,
    start: usize,
}

impl<O: Op, T: Stored> Kernel for Across<'_, O, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Across { op, x, rows, range, columns, y, start } = self;
        let width = columns.len();
        let to = y.at(start + columns.start, width);
        let mut from = [x.as_ptr(); TOGETHER];
        let mut row = range.start;
        loop {
            let count = TOGETHER.min(range.end - row);
            for (i, from) in from[..count].iter_mut().enumerate() {
                *from = x[rows.start(row + i) + columns.start..][..width].as_ptr();
            }
            let first = row == range.start;
            // SAFETY: `count` rows of `width` numbers are there, as many as are folded, and the result is written by this task alone.
            unsafe {
                if count == TOGETHER {
                    fold_rows(s, op, &from, width, to, first);
                } else {
                    fold_rows(s, op, &from[..count], width, to, first);
                }
            }
            row += count;
            if row == range.end {
                break;
            }
        }
    }
}

/// Folds rows onto each other and then onto the result, which is only written if they are the first.
///
/// # Safety
/// All are valid for `width` numbers.
#[inline(always)]
unsafe fn fold_rows<S: Simd, O: Op, T: Stored>(
    s: S,
    op: O,
    rows: &[*const T],
    width: usize,
    to: *mut f32,
    first: bool,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut at = 0;
        while at + S::LANES <= width {
            let mut result = s.splat(O::START);
            for row in rows {
                result = op.take(s, result, T::load(s, row.add(at)));
            }
            let to = to.add(at);
            s.store(to, if first { result } else { op.merge(s, s.load(to), result) });
            at += S::LANES;
        }
        if at < width {
            let left = width - at;
            let mut result = s.splat(O::START);
            for row in rows {
                result = op.take(s, result, T::load_first(s, row.add(at), left));
            }
            let to = to.add(at);
            s.store_first(to, if first { result } else { op.merge(s, s.load_first(to, left), result) }, left);
        }
    }
}
