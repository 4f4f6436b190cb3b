//! Wishes for what will be packed next.

use super::Side;
use crate::shared::prefetch;

/// Wishes for the rows of a side that will be packed next, spread over the work before.
#[derive(Clone, Copy, Debug)]
pub struct Ahead<'a> {
    side: Side<'a>,
    next: usize,
    end: usize,
    column: usize,
    columns: usize,
    /// Rows for each call.
    share: usize,
}

impl<'a> Ahead<'a> {
    /// Rows `from..end`, `columns` from `column` on, within so many calls.
    #[inline(always)]
    pub fn new(side: Side<'a>, rows: (usize, usize), columns: (usize, usize), calls: usize) -> Ahead<'a> {
        let (next, end) = rows;
        Ahead { side, next, end, column: columns.0, columns: columns.1, share: (end - next).div_ceil(calls.max(1)) }
    }

    #[inline(always)]
    pub fn step(&mut self) {
        let end = self.end.min(self.next + self.share);
        for row in self.next..end {
            let start = self.side.rows.start(row) + self.column;
            prefetch(self.side.data.as_ptr().wrapping_add(start), self.columns);
        }
        self.next = end;
    }
}
