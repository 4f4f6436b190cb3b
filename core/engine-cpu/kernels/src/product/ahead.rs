//! Wishes for what will be packed next, spread over the work before.

use super::Side;
use crate::{
    shared::{LINE, prefetch},
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
    at: *const f32,
    /// Floats that are left of the row.
    left: usize,
}

impl<'a> Ahead<'a> {
    /// Rows and columns, each first and number.
    #[inline(always)]
    pub fn new(side: Side<'a>, rows: (usize, usize), columns: (usize, usize)) -> Ahead<'a> {
        let rows = (rows.0, if columns.1 > 0 { rows.0 + rows.1 } else { rows.0 });
        Ahead { side, rows, columns, at: side.data.as_ptr(), left: 0 }
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
                one.at = one.side.data.as_ptr().wrapping_add(one.side.rows.start(one.rows.0) + one.columns.0);
                one.left = one.columns.1;
                one.rows.0 += 1;
            }
            prefetch(one.at, 1);
            one.at = one.at.wrapping_add(LINE);
            one.left = one.left.saturating_sub(LINE);
            return;
        }
    }
}
