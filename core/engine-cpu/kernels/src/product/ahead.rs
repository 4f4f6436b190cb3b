//! Wishes for what will be packed next, spread over the work before.

use super::Side;
use crate::{
    shared::{LINE_BYTES, prefetch},
    tile::Wishes,
};

/// Lines of a side's rows that are still to be wished for.
#[derive(Clone, Copy, Debug)]
pub struct Ahead<'a> {
    side: Side<'a>,
    /// Rows after the one that is gone through, and their end.
    rows: (usize, usize),
    /// First and number.
    columns: (usize, usize),
    at: *const u8,
    /// Bytes that are left of the row.
    left: usize,
}

impl<'a> Ahead<'a> {
    /// Rows and columns, each first and number.
    #[inline(always)]
    pub fn new(side: Side<'a>, rows: (usize, usize), columns: (usize, usize)) -> Ahead<'a> {
        let rows = (rows.0, if columns.1 > 0 { rows.0 + rows.1 } else { rows.0 });
        Ahead { side, rows, columns, at: side.data.address(0), left: 0 }
    }
}

/// One side after the other.
impl<const N: usize> Wishes for [Ahead<'_>; N] {
    #[inline(always)]
    fn line(&mut self) {
        for one in self {
            if one.left == 0 {
                if one.rows.0 == one.rows.1 {
                    continue;
                }
                one.at = one.side.data.address(one.side.rows.start(one.rows.0) + one.columns.0);
                one.left = one.columns.1 * one.side.data.bytes();
                one.rows.0 += 1;
            }
            prefetch(one.at.cast(), 1);
            one.at = one.at.wrapping_add(LINE_BYTES);
            one.left = one.left.saturating_sub(LINE_BYTES);
            return;
        }
    }
}
