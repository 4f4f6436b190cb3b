//! A strided view laid out densely, or in the places of another view: what transpose, broadcast, slice and concatenate come down to.
//!
//! Axes that follow each other in both are merged first. What then counts is the innermost axis of the result: where its elements
//! follow each other in the source they are copied in runs, where they repeat a run is filled. Where they are far apart, another
//! axis is taken along whose elements do follow each other, and the two are transposed in tiles, so that no cache line is fetched
//! for the sake of one element.

use rayon::prelude::*;

use super::TASK;
use crate::{
    shared::SharedMut,
    simd::{Isa, Kernel, Simd},
    square::{SQUARE, square},
};

/// Axes that are left after merging, at most.
const AXES: usize = 16;
/// Rows and columns of a tile of a transpose.
const TILE: usize = 16;
/// Elements of a row that one task takes, at most.
const PIECE: usize = 4096;

/// One axis: steps in the source and in the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Axis {
    size: usize,
    from: usize,
    to: usize,
}

/// The axes of a move, merged, the innermost of the result last.
#[derive(Clone, Copy, Debug)]
struct Axes {
    all: [Axis; AXES],
    count: usize,
}

impl Axes {
    fn merged(sizes: &[usize], strides: &[usize], targets: &[usize]) -> Axes {
        let mut axes = Axes { all: [Axis::default(); AXES], count: 0 };
        // From the innermost on, in reverse for the while.
        for ((&size, &from), &to) in sizes.iter().zip(strides).zip(targets).rev().filter(|((size, _), _)| **size != 1) {
            match axes.all[..axes.count].last_mut() {
                Some(inner) if from == inner.from * inner.size && to == inner.to * inner.size => inner.size *= size,
                _ => {
                    assert!(axes.count < AXES, "more than {AXES} axes are left of {sizes:?} by {strides:?}");
                    axes.all[axes.count] = Axis { size, from, to };
                    axes.count += 1;
                }
            }
        }
        if axes.count == 0 {
            axes.all[0] = Axis { size: 1, from: 1, to: 1 };
            axes.count = 1;
        }
        axes.all[..axes.count].reverse();
        axes
    }

    /// With the axis along which places follow each other innermost; `None` where there is none, or some place has two elements.
    fn written_once(mut self) -> Option<Axes> {
        let axes = &mut self.all[..self.count];
        let dense = axes.iter().position(|axis| axis.to == 1 || axis.size == 1)?;
        axes[dense..].rotate_left(1);
        let mut sorted = [Axis::default(); AXES];
        sorted[..axes.len()].copy_from_slice(axes);
        let sorted = &mut sorted[..axes.len()];
        sorted.sort_by_key(|axis| axis.to);
        let mut end = 1;
        for axis in sorted {
            if axis.to < end {
                return None;
            }
            end += (axis.size - 1) * axis.to;
        }
        Some(self)
    }

    /// The axis whose source is dense goes beside the innermost one, if that one's is not.
    fn beside(mut self) -> Axes {
        let last = self.count - 1;
        if self.all[last].from > 1
            && let Some(dense) = self.all[..last].iter().position(|axis| axis.from == 1)
        {
            self.all[dense..last].rotate_left(1);
        }
        self
    }

    fn inner(&self) -> Axis {
        self.all[self.count - 1]
    }

    /// Those that lie around the innermost one.
    fn outer(&self) -> &[Axis] {
        &self.all[..self.count - 1]
    }
}

/// `to[i] = from[offset + sum_a i_a strides[a]]`: `to` is dense row-major of `sizes`, a stride of 0 repeats.
///
/// # Panics
/// When `to` has another size, an element lies outside `from`, or more than 16 axes cannot be merged.
pub fn permute<T: Copy + Send + Sync>(from: &[T], to: &mut [T], sizes: &[usize], strides: &[usize], offset: usize) {
    assert_eq!(to.len(), sizes.iter().product::<usize>(), "the result has another size");
    let mut dense = vec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        dense[axis - 1] = dense[axis] * sizes[axis];
    }
    transfer(from, strides, offset, to, &dense, 0, sizes);
}

/// `to[to_offset + sum_a i_a to_strides[a]] = from[offset + sum_a i_a strides[a]]`; elsewhere `to` stays as it is. The places in `to`
/// must follow each other along one axis, and no two may be the same.
///
/// # Panics
/// When an element lies outside its slice, the places in `to` are not as they must be, or more than 16 axes cannot be merged.
pub fn transfer<T: Copy + Send + Sync>(
    from: &[T],
    strides: &[usize],
    offset: usize,
    to: &mut [T],
    to_strides: &[usize],
    to_offset: usize,
    sizes: &[usize],
) {
    assert!(sizes.len() == strides.len() && sizes.len() == to_strides.len(), "an axis without a stride");
    let elements = sizes.iter().product::<usize>();
    if elements == 0 {
        return;
    }
    for (len, strides, offset) in [(from.len(), strides, offset), (to.len(), to_strides, to_offset)] {
        let reach = |at: usize, (&size, &stride): (&usize, &usize)| {
            (size - 1).checked_mul(stride).and_then(|far| at.checked_add(far))
        };
        let last = sizes.iter().zip(strides).try_fold(offset, reach);
        assert!(
            last.is_some_and(|last| last < len),
            "{sizes:?} by {strides:?} from {offset} on does not lie within {len} elements"
        );
    }
    let merged = Axes::merged(sizes, strides, to_strides);
    let axes = merged.written_once().unwrap_or_else(|| {
        panic!("{sizes:?} by {to_strides:?} does not name each place once, and one beside the other along some axis")
    });
    let axes = axes.beside();
    let inner = axes.inner();
    let rows = elements / inner.size;
    let piece = inner.size.min(PIECE);
    let share = (TASK / piece).min(rows);
    let (tasks, pieces) = (rows.div_ceil(share), inner.size.div_ceil(piece));
    let to = SharedMut::new(&mut to[to_offset..]);
    let isa = Isa::best();
    (0..tasks * pieces).into_par_iter().for_each(|task| {
        let (row, column) = (task / pieces * share, task % pieces * piece);
        let columns = piece.min(inner.size - column);
        let rows = row..rows.min(row + share);
        isa.run(Rows { axes: &axes, rows, column, columns, from: &from[offset..], to });
    });
}

/// Some rows of a move, from some column on: a task's share.
struct Rows<'a, T> {
    axes: &'a Axes,
    rows: std::ops::Range<usize>,
    column: usize,
    columns: usize,
    from: &'a [T],
    to: SharedMut<'a, T>,
}

impl<T: Copy> Kernel for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: the furthest elements of both views were found to be there, and no place is named twice; tasks have rows or columns
        // of their own.
        unsafe { rows_of(s, self.axes, self.rows, self.column, self.columns, self.from, self.to) };
    }
}

/// Some rows, from some column on.
///
/// # Safety
/// All elements of the view are in `from`; nobody else touches these rows' columns meanwhile.
#[inline(always)]
unsafe fn rows_of<T: Copy, S: Simd>(
    s: S,
    axes: &Axes,
    range: std::ops::Range<usize>,
    column: usize,
    columns: usize,
    from: &[T],
    to: SharedMut<'_, T>,
) {
    let outer = axes.outer();
    let inner = Axis { size: columns, ..axes.inner() };
    let beside = outer.last().copied().unwrap_or(Axis { size: 1, from: 0, to: 0 });
    let mut row = range.start;
    while row < range.end {
        // As many rows as follow each other along the axis beside.
        let first = row % beside.size;
        let count = (beside.size - first).min(range.end - row);
        let (mut rest, mut source, mut target) = (row / beside.size, first * beside.from, first * beside.to);
        for axis in outer.iter().rev().skip(1) {
            let at = rest % axis.size;
            rest /= axis.size;
            source += at * axis.from;
            target += at * axis.to;
        }
        let rows = Axis { size: count, ..beside };
        // SAFETY: the caller's promise; the result's rows are of its size.
        unsafe {
            let from = from.as_ptr().add(source + column * inner.from);
            let to = to.at(target + column, (count - 1) * rows.to + columns);
            match inner.from {
                1 => runs(rows, columns, from, to),
                0 => fills(rows, columns, from, to),
                _ if rows.from == 1 && count > 1 => transpose(s, rows, inner, from, to),
                _ => {
                    for i in 0..count {
                        let (from, to) = (from.add(i * rows.from), to.add(i * rows.to));
                        (0..columns).for_each(|j| to.add(j).write(from.add(j * inner.from).read()));
                    }
                }
            }
        }
        row += count;
    }
}

/// # Safety
/// Both are valid for the rows of as many columns.
#[inline(always)]
unsafe fn runs<T: Copy>(rows: Axis, columns: usize, from: *const T, to: *mut T) {
    // SAFETY: the caller's promise.
    unsafe {
        for i in 0..rows.size {
            let (from, to) = (from.add(i * rows.from), to.add(i * rows.to));
            // A call for a few elements would cost more than they do.
            if columns >= 16 {
                std::ptr::copy_nonoverlapping(from, to, columns);
            } else {
                (0..columns).for_each(|j| to.add(j).write(from.add(j).read()));
            }
        }
    }
}

/// # Safety
/// `from` is valid for an element of each row, `to` for rows of as many columns.
#[inline(always)]
unsafe fn fills<T: Copy>(rows: Axis, columns: usize, from: *const T, to: *mut T) {
    // SAFETY: the caller's promise.
    unsafe {
        for i in 0..rows.size {
            let x = from.add(i * rows.from).read();
            let to = to.add(i * rows.to);
            (0..columns).for_each(|j| to.add(j).write(x));
        }
    }
}

/// Rows of the result that follow each other in the source.
///
/// # Safety
/// Both are valid for the rows and columns.
#[inline(always)]
unsafe fn transpose<T: Copy, S: Simd>(s: S, rows: Axis, columns: Axis, from: *const T, to: *mut T) {
    // SAFETY: the caller's promise; the tile is read as far as it was written.
    unsafe {
        let mut tile = [[from.read(); TILE]; TILE];
        let apart = rows.to;
        for i in (0..rows.size).step_by(TILE) {
            for j in (0..columns.size).step_by(TILE) {
                let (height, width) = (TILE.min(rows.size - i), TILE.min(columns.size - j));
                let (from, to) = (from.add(i + j * columns.from), to.add(i * rows.to + j));
                if height == TILE && width == TILE && size_of::<T>() == size_of::<f32>() {
                    // Whole cache lines of the result at a time.
                    let (from, to) = (from.cast::<f32>(), to.cast::<f32>());
                    for (k, l) in [(0, 0), (0, SQUARE), (SQUARE, 0), (SQUARE, SQUARE)] {
                        square(s, from.add(k + l * columns.from), columns.from, to.add(k * apart + l), apart);
                    }
                } else if height == TILE && width == TILE {
                    for (k, line) in tile.iter_mut().enumerate() {
                        *line = from.add(k * columns.from).cast::<[T; TILE]>().read();
                    }
                    let rows: [[T; TILE]; TILE] = std::array::from_fn(|k| std::array::from_fn(|l| tile[l][k]));
                    for (k, row) in rows.into_iter().enumerate() {
                        to.add(k * apart).cast::<[T; TILE]>().write(row);
                    }
                } else {
                    for k in 0..height {
                        let (from, to) = (from.add(k), to.add(k * rows.to));
                        (0..width).for_each(|l| to.add(l).write(from.add(l * columns.from).read()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(sizes: &[usize]) -> Vec<usize> {
        (0..sizes.len()).map(|a| sizes[a + 1..].iter().product()).collect()
    }

    #[test]
    fn axes_merge_and_move() {
        let axes = |sizes: &[usize], strides: &[usize]| {
            let axes = Axes::merged(sizes, strides, &dense(sizes)).beside();
            axes.all[..axes.count].iter().map(|a| (a.size, a.from, a.to)).collect::<Vec<_>>()
        };
        assert_eq!(axes(&[2, 3, 4], &[12, 4, 1]), [(24, 1, 1)]);
        assert_eq!(axes(&[2, 1, 5], &[0, 7, 0]), [(10, 0, 1)]);
        assert_eq!(axes(&[1, 1], &[3, 9]), [(1, 1, 1)]);
        assert_eq!(axes(&[], &[]), [(1, 1, 1)]);
        // NCHW to NHWC: the pixels lie beside the channels.
        assert_eq!(axes(&[2, 5, 7, 3], &[105, 7, 1, 35]), [(2, 105, 105), (35, 1, 3), (3, 35, 1)]);
        // Reversed axes: the outermost moves inwards.
        assert_eq!(axes(&[4, 3, 2], &[1, 4, 12]), [(3, 4, 2), (4, 1, 6), (2, 12, 1)]);
    }
}
