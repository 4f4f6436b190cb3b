//! Rows of a table by their indices, and the adjoint: rows added where they were taken from.

use rayon::prelude::*;

use crate::{
    shared::SharedMut,
    simd::{Isa, Kernel, Simd},
};

/// Elements of a task, about.
const TASK: usize = 1 << 14;
/// Columns that one task adds up.
const COLUMNS: usize = 128;

/// The row of an index: the nearest that there is.
#[inline(always)]
fn clamped(index: i32, axis: usize) -> usize {
    usize::try_from(index).unwrap_or(0).min(axis - 1)
}

/// `to[o, i] = x[o, indices[i]]`: x `[outer, axis, inner]`, to `[outer, indices, inner]`; indices are clamped into the axis.
///
/// # Panics
/// When a slice has another size, or there is nothing to choose from.
pub fn gather<T: Copy + Send + Sync>(x: &[T], [outer, axis, inner]: [usize; 3], indices: &[i32], to: &mut [T]) {
    assert_eq!(x.len(), outer * axis * inner, "the table has another size");
    assert_eq!(to.len(), outer * indices.len() * inner, "the result has another size");
    if to.is_empty() {
        return;
    }
    assert!(axis > 0, "no row to choose from");
    let share = (TASK / inner).max(1);
    to.par_chunks_mut(share * inner).enumerate().for_each(|(task, to)| {
        for (i, to) in to.chunks_exact_mut(inner).enumerate() {
            let row = task * share + i;
            let at = (row / indices.len() * axis + clamped(indices[row % indices.len()], axis)) * inner;
            match to {
                [to] => *to = x[at],
                to => to.copy_from_slice(&x[at..at + inner]),
            }
        }
    });
}

/// The adjoint of [`gather`]: to `[outer, axis, inner]` is zeros, with updates `[outer, indices, inner]` added in the indices' order.
///
/// # Panics
/// When a slice has another size, or there is nowhere to add to.
pub fn scatter_add(isa: Isa, updates: &[f32], [outer, axis, inner]: [usize; 3], indices: &[i32], to: &mut [f32]) {
    assert_eq!(updates.len(), outer * indices.len() * inner, "the updates have another size");
    assert_eq!(to.len(), outer * axis * inner, "the result has another size");
    assert!(axis > 0 || updates.is_empty(), "no row to add to");
    if to.is_empty() {
        return;
    }
    let pieces = inner.div_ceil(COLUMNS);
    let to = SharedMut::new(to);
    (0..outer * pieces).into_par_iter().for_each(|task| {
        let (block, column) = (task / pieces, task % pieces * COLUMNS);
        let columns = COLUMNS.min(inner - column);
        let updates = &updates[block * indices.len() * inner..][..indices.len() * inner];
        isa.run(Add { updates, axis, inner, column, columns, indices, to, start: block * axis * inner });
    });
}

/// The columns of one block that one task adds up.
struct Add<'a> {
    updates: &'a [f32],
    axis: usize,
    inner: usize,
    column: usize,
    columns: usize,
    indices: &'a [i32],
    to: SharedMut<'a, f32>,
    start: usize,
}

impl Kernel for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Add { updates, axis, inner, column, columns, indices, to, start } = self;
        // SAFETY: these columns of these rows belong to this task.
        let row = |row: usize| unsafe { to.part(start + row * inner + column, columns) };
        (0..axis).for_each(|i| row(i).fill(0.0));
        for (i, &index) in indices.iter().enumerate() {
            let from = &updates[i * inner + column..][..columns];
            let to = row(clamped(index, axis));
            let (from, to) = (from.as_ptr(), to.as_mut_ptr());
            let mut at = 0;
            // SAFETY: both have `columns` numbers.
            unsafe {
                while at + S::LANES <= columns {
                    s.store(to.add(at), s.add(s.load(to.add(at)), s.load(from.add(at))));
                    at += S::LANES;
                }
                while at < columns {
                    *to.add(at) += *from.add(at);
                    at += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Numbers, assert_near, same_for_any_threads};

    fn indices(numbers: &mut Numbers, count: usize, axis: usize) -> Vec<i32> {
        // Some beyond both ends.
        let mut all: Vec<i32> = (0..count).map(|_| numbers.below(axis + 4) as i32 - 2).collect();
        all.iter_mut().take(1).for_each(|i| *i = i32::MIN);
        all.iter_mut().skip(1).take(1).for_each(|i| *i = i32::MAX);
        all
    }

    #[test]
    fn both_keep_to_the_indices() {
        let mut numbers = Numbers::new(1);
        for round in 0..200 {
            let [outer, axis, count] = [4, 9, 40].map(|end| 1 + numbers.below(end));
            let inner = 1 + numbers.below([1, 3, 20, 400][round % 4]);
            let indices = indices(&mut numbers, count, axis);
            let row = |i: usize| indices[i].clamp(0, axis as i32 - 1) as usize;
            let x = numbers.floats(outer * axis * inner);
            let mut to = vec![f32::NAN; outer * count * inner];
            gather(&x, [outer, axis, inner], &indices, &mut to);
            let updates = numbers.floats(to.len());
            let mut sums = vec![0.0; x.len()];
            for (at, &found) in to.iter().enumerate() {
                let (o, i, c) = (at / inner / count, at / inner % count, at % inner);
                let from = (o * axis + row(i)) * inner + c;
                assert_eq!(found, x[from]);
                sums[from] += f64::from(updates[at]);
            }
            for isa in Isa::available() {
                let mut found = vec![f32::NAN; x.len()];
                scatter_add(isa, &updates, [outer, axis, inner], &indices, &mut found);
                assert_near(&found, &sums, 1e-5, &format!("{isa} {:?}", [outer, axis, inner]));
            }
        }
    }

    #[test]
    fn long_tables_and_none() {
        let bytes: Vec<u8> = (0..=255).collect();
        let indices: Vec<i32> = (0..50_000).map(|i| i * 7 % 256).collect();
        let mut to = vec![0; indices.len()];
        gather(&bytes, [1, 256, 1], &indices, &mut to);
        assert!(to.iter().zip(&indices).all(|(&x, &i)| i32::from(x) == i));
        gather::<f32>(&[], [0, 3, 2], &[1], &mut []);
        gather(&[1.0], [1, 1, 1], &[], &mut []);
        let mut to = [f32::NAN; 6];
        scatter_add(Isa::Portable, &[], [2, 3, 1], &[], &mut to);
        assert_eq!(to, [0.0; 6]);
    }

    #[test]
    fn threads_change_no_bit() {
        let mut numbers = Numbers::new(2);
        for shape in [[1, 20, 1000], [9, 5, 30]] {
            let [outer, axis, inner] = shape;
            let (indices, updates) = (indices(&mut numbers, 300, axis), numbers.floats(outer * 300 * inner));
            for isa in Isa::available() {
                same_for_any_threads("scatter_add", || {
                    let mut to = vec![f32::NAN; outer * axis * inner];
                    scatter_add(isa, &updates, shape, &indices, &mut to);
                    to
                });
            }
        }
    }
}
