//! A strided view laid out densely: what transpose, broadcast and slice come down to.
//!
//! Axes that follow each other in both are merged first. What then counts is the innermost axis of the result: where its elements
//! follow each other in the source they are copied in runs, where they repeat a run is filled. Where they are far apart, another
//! axis is taken along whose elements do follow each other, and the two are transposed in tiles, so that no cache line is fetched
//! for the sake of one element.

use rayon::prelude::*;

use super::TASK;
use crate::shared::SharedMut;

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
    fn merged(sizes: &[usize], strides: &[usize]) -> Axes {
        let mut axes = Axes { all: [Axis::default(); AXES], count: 0 };
        // From the innermost on, in reverse for the while.
        let mut to = 1;
        for (&size, &from) in sizes.iter().zip(strides).rev().filter(|(size, _)| **size != 1) {
            match axes.all[..axes.count].last_mut() {
                Some(inner) if from == inner.from * inner.size => inner.size *= size,
                _ => {
                    assert!(axes.count < AXES, "more than {AXES} axes are left of {sizes:?} by {strides:?}");
                    axes.all[axes.count] = Axis { size, from, to };
                    axes.count += 1;
                }
            }
            to *= size;
        }
        if axes.count == 0 {
            axes.all[0] = Axis { size: 1, from: 1, to: 1 };
            axes.count = 1;
        }
        axes.all[..axes.count].reverse();
        axes
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
    assert_eq!(sizes.len(), strides.len(), "an axis without a stride");
    assert_eq!(to.len(), sizes.iter().product::<usize>(), "the result has another size");
    if to.is_empty() {
        return;
    }
    let reach = |at: usize, (&size, &stride): (&usize, &usize)| {
        (size - 1).checked_mul(stride).and_then(|far| at.checked_add(far))
    };
    let last = sizes.iter().zip(strides).try_fold(offset, reach);
    assert!(
        last.is_some_and(|last| last < from.len()),
        "{sizes:?} by {strides:?} from {offset} on does not lie within {} elements",
        from.len()
    );
    let axes = Axes::merged(sizes, strides).beside();
    let inner = axes.inner();
    let rows = to.len() / inner.size;
    let piece = inner.size.min(PIECE);
    let share = (TASK / piece).min(rows);
    let (tasks, pieces) = (rows.div_ceil(share), inner.size.div_ceil(piece));
    let to = SharedMut::new(to);
    (0..tasks * pieces).into_par_iter().for_each(|task| {
        let (row, column) = (task / pieces * share, task % pieces * piece);
        let columns = piece.min(inner.size - column);
        // SAFETY: the furthest element of the view was found to be there; tasks have rows or columns of their own.
        unsafe { rows_of(&axes, row..rows.min(row + share), column, columns, &from[offset..], to) };
    });
}

/// Some rows, from some column on.
///
/// # Safety
/// All elements of the view are in `from`; nobody else touches these rows' columns meanwhile.
unsafe fn rows_of<T: Copy>(
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
                _ if rows.from == 1 && count > 1 => transpose(rows, inner, from, to),
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
unsafe fn transpose<T: Copy>(rows: Axis, columns: Axis, from: *const T, to: *mut T) {
    // SAFETY: the caller's promise; the tile is read as far as it was written.
    unsafe {
        let mut tile = [[from.read(); TILE]; TILE];
        let apart = rows.to;
        for i in (0..rows.size).step_by(TILE) {
            for j in (0..columns.size).step_by(TILE) {
                let (height, width) = (TILE.min(rows.size - i), TILE.min(columns.size - j));
                let (from, to) = (from.add(i + j * columns.from), to.add(i * rows.to + j));
                if height == TILE && width == TILE {
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

    #[test]
    fn axes_merge_and_move() {
        let axes = |sizes: &[usize], strides: &[usize]| {
            let axes = Axes::merged(sizes, strides).beside();
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
