//! Wishes for the matrices that are next. They lie beside the present one, a few lines in each of many rows, and the processor does
//! not foresee where.

use super::{Heads, HeadsMut};
use crate::shared::LINE_BYTES;

/// Columns up to which rows are wished for; of longer ones the processor finds the rest by itself.
const NARROW: usize = 128;

/// Rows of a matrix, a few of which are wished for at a time.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    at: *const u8,
    /// Bytes from row to row, and of the columns.
    stride: usize,
    columns: usize,
    rows: usize,
    /// Rows for each call.
    share: usize,
}

impl Ahead {
    /// Matrix `index` of `rows` by `columns`, if there is one, within so many calls.
    #[inline(always)]
    pub fn new(heads: &Heads<'_>, index: Option<usize>, size: (usize, usize), calls: usize) -> Ahead {
        Ahead::of_place((heads.data.address(0), heads.data.bytes(), heads.starts, heads.stride), index, size, calls)
    }

    /// The same of a matrix that will be written.
    #[inline(always)]
    pub fn of_result(heads: Option<&HeadsMut<'_>>, index: Option<usize>, size: (usize, usize), calls: usize) -> Ahead {
        match heads {
            Some(heads) => Ahead::of_place(heads.place(), index, size, calls),
            None => Ahead::of_place((std::ptr::null(), 0, &[], 0), None, size, calls),
        }
    }

    #[inline(always)]
    fn of_place(
        (data, bytes, starts, stride): (*const u8, usize, &[u32], usize),
        index: Option<usize>,
        (rows, columns): (usize, usize),
        calls: usize,
    ) -> Ahead {
        let start = index.filter(|_| columns <= NARROW).map(|index| starts[index] as usize);
        let rows = if start.is_some() { rows } else { 0 };
        let at = data.wrapping_add(start.unwrap_or(0) * bytes);
        Ahead { at, stride: stride * bytes, columns: columns * bytes, rows, share: rows.div_ceil(calls.max(1)) }
    }

    #[inline(always)]
    pub fn wish(&mut self) {
        let share = self.share.min(self.rows);
        for _ in 0..share {
            let mut at = 0;
            while at < self.columns {
                touch(self.at.wrapping_add(at));
                at += LINE_BYTES;
            }
            // Rows that begin within a line end within one more.
            touch(self.at.wrapping_add(self.columns).wrapping_sub(1));
            self.at = self.at.wrapping_add(self.stride);
        }
        self.rows -= share;
    }
}

/// Asks for a line. Reads nothing: any address will do.
#[inline(always)]
fn touch(at: *const u8) {
    crate::shared::prefetch(at.cast(), 1);
}
