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

    /// What will be written, of what begins at `to`.
    #[inline(always)]
    pub fn of_result<T>(to: *const T, parts: Parts, steps: usize) -> Ahead {
        Ahead::new(to.wrapping_add(parts.first).cast(), size_of::<T>(), parts, steps, true)
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
        while let Some(line) = self.line() {
            if self.written { ahead(line.cast()) } else { prefetch(line.cast(), 1) }
        }
    }

    /// The next line, if one is due.
    #[inline(always)]
    fn line(&mut self) -> Option<*const u8> {
        if self.due < self.steps {
            return None;
        }
        if self.left == 0 {
            self.parts = self.parts.checked_sub(1)?;
            self.left = self.lines;
            self.at = self.at.wrapping_add(self.stride);
        }
        self.due -= self.steps;
        let line = self.at.wrapping_add((self.lines - self.left) * LINE_BYTES);
        self.left -= 1;
        Some(line)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line of every part once, in order, as evenly as whole lines allow, and none beyond.
    #[test]
    fn lines_come_evenly_and_once() {
        let numbers = [0.0f32; 1000];
        let parts = Parts { first: 100, len: 40, stride: 200, count: 3 };
        for steps in [1, 2, 7, 9, 100] {
            let mut ahead = Ahead::of(Numbers::F32(&numbers), parts, steps);
            let mut lines = vec![];
            for step in 1..=steps + 5 {
                ahead.due += ahead.all;
                lines.extend(std::iter::from_fn(|| ahead.line()));
                assert_eq!(lines.len(), 9 * step.min(steps) / steps, "step {step} of {steps}");
            }
            let at =
                |part: usize, line: usize| numbers[100 + 200 * part..].as_ptr().cast::<u8>().wrapping_add(64 * line);
            let expected: Vec<_> = (0..9).map(|i| at(i / 3, i % 3)).collect();
            assert_eq!(lines, expected, "{steps} steps");
        }
        let mut nothing = Ahead::NOTHING;
        nothing.due += nothing.all;
        assert_eq!(nothing.line(), None);
    }
}
