//! Copies of a source, laid out so that each element of a kernel is one offset.

use std::ptr::{copy_nonoverlapping, write_bytes};

use super::grid::{Axis, Grid};
use crate::{numbers::Stored, shared::Scratch, simd::Simd};

/// Offsets, kept where floats are.
pub struct Offsets(Scratch);

impl Offsets {
    pub fn new(len: usize) -> Offsets {
        Offsets(Scratch::new(len))
    }

    pub fn get(&self) -> &[u32] {
        // SAFETY: both are four bytes of any value, and aligned alike.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len()) }
    }

    pub fn get_mut(&mut self) -> &mut [u32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len()) }
    }
}

/// Copies any number of numbers; short ones without the call of a library's.
///
/// # Safety
/// `from` and `to` are valid for `count` numbers and do not overlap.
#[inline(always)]
pub unsafe fn copy<S: Simd, T: Stored>(s: S, from: *const T, to: *mut T, count: usize) {
    let whole = S::LANES * size_of::<f32>() / size_of::<T>();
    // SAFETY: whole vectors that end at or before `count`, or its first lanes.
    unsafe {
        let mut at = 0;
        while at + whole <= count {
            copy_nonoverlapping(from.add(at), to.add(at), whole);
            at += whole;
        }
        if at == count {
            return;
        }
        if count >= whole {
            copy_nonoverlapping(from.add(count - whole), to.add(count - whole), whole);
            return;
        }
        while at < count {
            let some = S::LANES.min(count - at);
            T::store_first(s, to.add(at), T::load_first(s, from.add(at), some), some);
            at += some;
        }
    }
}

/// # Safety
/// `to` is valid for `count` numbers.
#[inline(always)]
unsafe fn zero<S: Simd, T: Stored>(s: S, to: *mut T, count: usize) {
    // SAFETY: as for `copy`. Zeros of either type are all zeros.
    unsafe {
        let mut at = 0;
        while at < count {
            let some = S::LANES.min(count - at);
            match some == S::LANES {
                true => write_bytes(to.add(at), 0, S::LANES),
                false => T::store_first(s, to.add(at), s.splat(0.0), some),
            }
            at += some;
        }
    }
}

/// Every `step`-th number.
///
/// # Safety
/// `from` is valid for `(count - 1) * step + 1` numbers, `to` for `count`; they do not overlap.
#[inline(always)]
unsafe fn gather<S: Simd, T: Stored>(s: S, from: *const T, step: usize, to: *mut T, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match step {
            1 => copy(s, from, to, count),
            // Known steps become shuffles.
            2 => (0..count).for_each(|i| *to.add(i) = *from.add(2 * i)),
            4 => (0..count).for_each(|i| *to.add(i) = *from.add(4 * i)),
            _ => (0..count).for_each(|i| *to.add(i) = *from.add(step * i)),
        }
    }
}

/// `pitch` columns of a staged row: `row[(i * step) + origin]`, zeros outside.
///
/// # Safety
/// `row` is valid for the axis's source (or `None`: all zeros), `to` for `pitch` numbers.
#[inline(always)]
unsafe fn stage_row<S: Simd, T: Stored>(
    s: S,
    axis: &Axis,
    phase: usize,
    pitch: usize,
    row: Option<*const T>,
    to: *mut T,
) {
    // SAFETY: the columns in between are those whose place lies within the source.
    unsafe {
        let Some(row) = row else { return zero(s, to, pitch) };
        let (step, origin) = (axis.step as isize, axis.origin + phase as isize);
        let reach = |end: isize| (((end - origin).max(0) + step - 1) / step) as usize;
        let (low, high) = (reach(0).min(pitch), reach(axis.source as isize).min(pitch));
        let high = high.max(low);
        zero(s, to, low);
        if high > low {
            gather(s, row.offset(low as isize * step + origin), axis.step, to.add(low), high - low);
        }
        zero(s, to.add(high), pitch - high);
    }
}

/// A channel of the source, `[height, width]`, as the planes that outputs `first..first + rows` read, `plane` numbers apart.
///
/// # Safety
/// `channel` is valid for the source's plane, `to` for the grid's planes.
#[inline(always)]
pub unsafe fn stage<S: Simd, T: Stored>(
    s: S,
    grid: &Grid,
    channel: *const T,
    first: usize,
    rows: usize,
    plane: usize,
    to: *mut T,
) {
    let [down, across] = &grid.axes;
    let mut to = to;
    for row_phase in 0..down.phases {
        for phase in 0..across.phases {
            for i in 0..rows + down.span {
                let y = ((first + i) * down.step + row_phase) as isize + down.origin;
                let inside = y >= 0 && y < down.source as isize;
                // SAFETY: the row lies within the channel, and its columns within the plane.
                unsafe {
                    let row = inside.then(|| channel.add(y as usize * across.source));
                    stage_row(s, across, phase, grid.pitch, row, to.add(i * grid.pitch));
                }
            }
            let filled = (rows + down.span) * grid.pitch;
            // SAFETY: the rest of the plane, which is read beside the last positions and must be finite. At most what a plane for so
            // few rows needs, since there may be room for more.
            unsafe {
                zero(s, to.add(filled), plane.min(grid.plane(rows)) - filled);
                to = to.add(plane);
            }
        }
    }
}

/// Rows of a dense cotangent, `[rows, outputs]`, `pitch` apart with zeros between them, up to `len` numbers.
///
/// # Safety
/// `from` is valid for `rows` rows, `to` for `len` numbers.
#[inline(always)]
pub unsafe fn spread<S: Simd, T: Stored>(s: S, grid: &Grid, from: *const T, rows: usize, to: *mut T, len: usize) {
    let outputs = grid.axes[1].outputs;
    for i in 0..rows {
        let end = if i + 1 == rows { len } else { (i + 1) * grid.pitch };
        // SAFETY: the row's outputs, and what lies between them and the next row.
        unsafe {
            copy(s, from.add(i * outputs), to.add(i * grid.pitch), outputs);
            zero(s, to.add(i * grid.pitch + outputs), end - i * grid.pitch - outputs);
        }
    }
}
