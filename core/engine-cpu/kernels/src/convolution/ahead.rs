//! Wishes for what the next band is staged from, and for where sums will be put: one after the other while sums are computed, which
//! wait for no memory.

use super::grid::Grid;
use crate::{
    numbers::Numbers,
    shared::{LINE_BYTES, ahead, prefetch},
};

/// Parts of memory, one stride apart, in elements.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    pub first: usize,
    pub len: usize,
    pub stride: usize,
    pub count: usize,
}

/// Lines of parts of memory, which are wished for at even steps.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// Where the part begins that is gone through.
    at: *const u8,
    /// Lines that are left of it, and lines of each.
    left: usize,
    lines: usize,
    /// Bytes from part to part.
    stride: usize,
    /// Parts behind it.
    parts: usize,
    /// Lines of all parts, and steps in which they are wished for.
    all: usize,
    steps: usize,
    /// Lines that are due, as multiples of `1 / steps`.
    due: usize,
    /// Whether they will be written.
    written: bool,
}

impl Ahead {
    /// Nothing is wished for.
    pub const NOTHING: Ahead = Ahead {
        at: std::ptr::null(),
        left: 0,
        lines: 0,
        stride: 0,
        parts: 0,
        all: 0,
        steps: 1,
        due: 0,
        written: false,
    };

    /// What will be read, in the course of so many steps.
    #[inline(always)]
    pub fn of(numbers: Numbers<'_>, parts: Parts, steps: usize) -> Ahead {
        Ahead::new(numbers.address(parts.first), numbers.bytes(), parts, steps, false)
    }

    /// What will be written; `to` is where the first part begins.
    #[inline(always)]
    pub fn of_result<T>(to: *const T, parts: Parts, steps: usize) -> Ahead {
        Ahead::new(to.cast(), size_of::<T>(), parts, steps, true)
    }

    #[inline(always)]
    fn new(first: *const u8, size: usize, parts: Parts, steps: usize, written: bool) -> Ahead {
        let Parts { len, stride, count, .. } = parts;
        let (lines, stride) = ((len * size).div_ceil(LINE_BYTES), stride * size);
        let parts = if lines == 0 { 0 } else { count };
        let at = first.wrapping_sub(stride);
        Ahead { at, left: 0, lines, stride, parts, all: lines * parts, steps: steps.max(1), due: 0, written }
    }

    /// What is due within so many steps.
    #[inline(always)]
    pub fn wish(&mut self, steps: usize) {
        self.due += steps * self.all;
        while self.due >= self.steps {
            self.due -= self.steps;
            if self.left == 0 {
                if self.parts == 0 {
                    return;
                }
                self.parts -= 1;
                self.left = self.lines;
                self.at = self.at.wrapping_add(self.stride);
            }
            let line = self.at.wrapping_add((self.lines - self.left) * LINE_BYTES).cast();
            self.left -= 1;
            if self.written { ahead(line) } else { prefetch(line, 1) }
        }
    }
}

/// The part of each channel of an image that outputs `first..first + rows` read.
pub fn source_parts(grid: &Grid, image: usize, first: usize, rows: usize) -> Parts {
    let [down, across] = &grid.axes;
    let row = |i: usize| (i as isize * down.step as isize + down.origin).clamp(0, down.source as isize) as usize;
    let (low, high) = (row(first), row(first + rows + down.span));
    Parts {
        first: image * grid.sources * grid.source_len() + low * across.source,
        len: (high - low) * across.source,
        stride: grid.source_len(),
        count: grid.sources,
    }
}
