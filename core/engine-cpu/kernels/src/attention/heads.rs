//! Where matrices stand.

use std::marker::PhantomData;

use super::pack::{Pointer, Source};
use crate::{
    numbers::{Numbers, Stored, round},
    shared::Scratch,
    simd::Simd,
};

/// Matrices that lie in one slice: matrix i begins at `starts[i]`, its rows are `stride` apart, its columns side by side.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    pub data: Numbers<'a>,
    pub starts: &'a [u32],
    pub stride: usize,
}

impl Heads<'_> {
    /// # Panics
    /// When there are not `count` matrices of `rows` by `columns`.
    pub(super) fn check(&self, count: usize, rows: usize, columns: usize, name: &str) {
        check(self.data.len(), self.starts, self.stride, (count, rows, columns), name);
    }

    /// Row `row` of matrix `index`.
    ///
    /// # Safety
    /// The matrix has been checked and has this row.
    #[inline(always)]
    pub(super) unsafe fn row(&self, index: usize, row: usize) -> Pointer {
        let at = self.starts[index] as usize + row * self.stride;
        debug_assert!(at <= self.data.len());
        // SAFETY: the caller's promise.
        unsafe {
            match self.data {
                Numbers::F32(data) => Pointer::F32(data.as_ptr().add(at)),
                Numbers::Bf16(data) => Pointer::Bf16(data.as_ptr().add(at)),
            }
        }
    }

    /// Rows (the first and how many) of matrix `index`.
    ///
    /// # Safety
    /// The matrix has been checked, with as many columns, and has these rows.
    #[inline(always)]
    pub(super) unsafe fn rows(&self, index: usize, rows: (usize, usize), columns: usize) -> Source {
        // SAFETY: the caller's promise.
        Source { data: unsafe { self.row(index, rows.0) }, stride: self.stride, rows: rows.1, columns }
    }
}

/// Matrices as of [`Heads`], to be written. Several such may lie in one buffer, interleaved: q, k and v of `[tokens, 3 d]`.
#[derive(Debug)]
pub struct HeadsMut<'a> {
    data: Memory,
    len: usize,
    starts: &'a [u32],
    stride: usize,
    _lent: PhantomData<&'a mut [f32]>,
}

#[derive(Clone, Copy, Debug)]
enum Memory {
    F32(*mut f32),
    Bf16(*mut u16),
}

// SAFETY: it stands for a mutable slice of numbers; threads write disjoint matrices of it, which `check` assures.
unsafe impl Send for HeadsMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for HeadsMut<'_> {}

impl<'a> HeadsMut<'a> {
    pub fn new(data: &'a mut [f32], starts: &'a [u32], stride: usize) -> HeadsMut<'a> {
        HeadsMut { data: Memory::F32(data.as_mut_ptr()), len: data.len(), starts, stride, _lent: PhantomData }
    }

    /// # Safety
    /// `data` is valid for `len` floats for as long as `'a`, and nobody else touches those of the matrices meanwhile.
    pub unsafe fn from_raw(data: *mut f32, len: usize, starts: &'a [u32], stride: usize) -> HeadsMut<'a> {
        HeadsMut { data: Memory::F32(data), len, starts, stride, _lent: PhantomData }
    }

    /// The same of bfloat16.
    ///
    /// # Safety
    /// As for [`HeadsMut::from_raw`].
    pub unsafe fn from_raw_bf16(data: *mut u16, len: usize, starts: &'a [u32], stride: usize) -> HeadsMut<'a> {
        HeadsMut { data: Memory::Bf16(data), len, starts, stride, _lent: PhantomData }
    }

    /// Where the matrices are: the slice, the bytes of its elements, their starts, the distance of rows.
    pub(super) fn place(&self) -> (*const u8, usize, &[u32], usize) {
        match self.data {
            Memory::F32(data) => (data.cast_const().cast(), 4, self.starts, self.stride),
            Memory::Bf16(data) => (data.cast_const().cast(), 2, self.starts, self.stride),
        }
    }

    /// Room for `rows` rows of `stride` where they cannot be written as they are.
    pub(super) fn room(&self, rows: usize, stride: usize) -> Scratch {
        Scratch::new(if matches!(self.data, Memory::Bf16(_)) { rows * stride } else { 0 })
    }

    /// Where rows from `row` on of matrix `index` may be written as `f32`, and their distance: where they go, or in `room`, `stride`
    /// apart. [`HeadsMut::done`] then brings them where they go.
    ///
    /// # Safety
    /// The matrix has been checked and has this row.
    #[inline(always)]
    pub(super) unsafe fn target(&self, index: usize, row: usize, room: &mut [f32], stride: usize) -> (*mut f32, usize) {
        match self.data {
            // SAFETY: the caller's promise.
            Memory::F32(data) => (unsafe { data.add(self.at(index, row)) }, self.stride),
            Memory::Bf16(_) => (room.as_mut_ptr(), stride),
        }
    }

    /// Rows (the first and how many) of `columns` were written where [`HeadsMut::target`] said.
    ///
    /// # Safety
    /// The matrix has been checked and has these rows; nobody else touches them.
    #[inline(always)]
    pub(super) unsafe fn done<S: Simd>(
        &self,
        s: S,
        index: usize,
        rows: (usize, usize),
        columns: usize,
        room: &[f32],
        stride: usize,
    ) {
        if let Memory::Bf16(data) = self.data {
            for i in 0..rows.1 {
                let from = &room[i * stride..][..columns];
                // SAFETY: the caller's promise.
                unsafe { round(s, from.as_ptr(), data.add(self.at(index, rows.0 + i)), columns) };
            }
        }
    }

    /// Writes the first `count` lanes to row `row` of a matrix, from `column` on.
    ///
    /// # Safety
    /// The matrix has been checked and has these columns of this row; nobody else touches them.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd>(
        &self,
        s: S,
        index: usize,
        (row, column): (usize, usize),
        x: S::F,
        count: usize,
    ) {
        let at = self.at(index, row) + column;
        // SAFETY: the caller's promise.
        unsafe {
            match self.data {
                Memory::F32(data) => f32::store_first(s, data.add(at), x, count),
                Memory::Bf16(data) => u16::store_first(s, data.add(at), x, count),
            }
        }
    }

    /// # Panics
    /// When there are not `count` matrices of `rows` by `columns` that share no element.
    pub(super) fn check(&self, count: usize, rows: usize, columns: usize, name: &str) {
        check(self.len, self.starts, self.stride, (count, rows, columns), name);
        let apart = are_in_order(self.starts, self.stride, rows, columns)
            || are_disjoint(self.len, self.starts, self.stride, rows, columns);
        assert!(apart, "{name}: matrices overlap");
    }

    /// Where row `row` of matrix `index` begins.
    #[inline(always)]
    fn at(&self, index: usize, row: usize) -> usize {
        let at = self.starts[index] as usize + row * self.stride;
        debug_assert!(at <= self.len);
        at
    }
}

/// # Panics
/// When there are not as many matrices, or one does not lie within `len` floats.
fn check(len: usize, starts: &[u32], stride: usize, size: (usize, usize, usize), name: &str) {
    let (count, rows, columns) = size;
    assert_eq!(starts.len(), count, "{name}: another number of matrices");
    let Some(&last) = starts.iter().max() else { return };
    let last = last as usize;
    let end = match rows {
        0 => Some(last),
        _ => stride.checked_mul(rows - 1).and_then(|e| e.checked_add(columns)).and_then(|e| e.checked_add(last)),
    };
    assert!(
        end.is_some_and(|end| end <= len),
        "{name}: a matrix of {rows} rows of {columns}, {stride} apart, does not lie within {len} elements"
    );
}

/// Whether each matrix lies behind the one before: on the right of it in the same rows, or below it. That is how results are laid out
/// nearly always, and it is quickly seen.
fn are_in_order(starts: &[u32], stride: usize, rows: usize, columns: usize) -> bool {
    if rows == 0 || columns == 0 {
        return true;
    }
    // Of a single row, any number will do that is not below its length.
    let stride = if rows == 1 { columns } else { stride };
    if columns > stride {
        return false;
    }
    // The first place where a row may begin that none before has reached, and where rows begin in what is under way.
    let (mut free, mut top, mut right) = (0, 0, 0);
    for &start in starts {
        let start = start as usize;
        if start >= free {
            (top, right) = (start, columns);
        } else if start >= top + right && start + columns <= top + stride {
            right = start + columns - top;
        } else {
            return false;
        }
        // Rows below `top` belong to this band of matrices up to the end of its last one.
        free = top + (rows - 1) * stride + right;
    }
    true
}

/// Whether no element belongs to two matrices.
fn are_disjoint(len: usize, starts: &[u32], stride: usize, rows: usize, columns: usize) -> bool {
    let mut taken = vec![0u64; len.div_ceil(64)];
    for &start in starts {
        for row in 0..rows {
            let (mut at, end) = (start as usize + row * stride, start as usize + row * stride + columns);
            while at < end {
                let bits = (64 - at % 64).min(end - at);
                let mask = (u64::MAX >> (64 - bits)) << (at % 64);
                let word = &mut taken[at / 64];
                if *word & mask != 0 {
                    return false;
                }
                *word |= mask;
                at += bits;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quick look says yes only where the thorough one does, and it does say yes to usual layouts.
    #[test]
    fn overlaps_are_seen() {
        let both = |starts: &[u32], stride, rows, columns| {
            let len = *starts.iter().max().unwrap() as usize + rows * stride + columns;
            let (quick, thorough) =
                (are_in_order(starts, stride, rows, columns), are_disjoint(len, starts, stride, rows, columns));
            assert!(thorough || !quick, "{starts:?} {stride} {rows} {columns}");
            (quick, thorough)
        };
        // Side by side in windows of 4 rows of 6; one after the other; single rows.
        assert_eq!(both(&[0, 2, 4, 24, 26, 28], 6, 4, 2), (true, true));
        assert_eq!(both(&[0, 24, 48], 6, 4, 6), (true, true));
        assert_eq!(both(&[1, 7, 9], 100, 1, 2), (true, true));
        // Another order of the same.
        assert_eq!(both(&[0, 24, 2, 26], 6, 4, 2), (false, true));
        assert_eq!(both(&[0, 0], 6, 4, 2), (false, false));
        assert_eq!(both(&[0, 1], 6, 4, 2), (false, false));
        assert_eq!(both(&[0, 18], 6, 4, 2), (false, false));
        assert_eq!(both(&[0, 23], 6, 4, 6), (false, false));
        for stride in 1..7 {
            for rows in 1..4 {
                for columns in 1..5 {
                    for a in 0..9 {
                        for b in 0..12 {
                            both(&[0, a, b], stride, rows, columns);
                        }
                    }
                }
            }
        }
    }
}
