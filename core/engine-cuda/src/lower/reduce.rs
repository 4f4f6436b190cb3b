//! Sums and maxima over axes.

mod squares;

use fer_graph::Node;

use super::Lowering;
use crate::{Element, kernels::Family, plan::BufferId};

/// How a block of 256 threads is laid over a matrix whose columns are worked on: so many groups of `wide` neighbouring columns, the rest
/// of the threads being rows; and how many blocks the columns take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub wide: usize,
    pub columns: usize,
    pub tiles: usize,
}

impl Columns {
    pub(super) fn of(rows: usize, columns: usize) -> Columns {
        let wide = if columns.is_multiple_of(4) { 4 } else { 1 };
        let groups = columns / wide;
        // A thread has four rows or more where there are as many.
        let deep = (rows / 4).clamp(1, 8).next_power_of_two();
        let tiles = groups.div_ceil(256 / deep);
        Columns { wide, columns: groups.div_ceil(tiles), tiles }
    }

    /// Threads for each column.
    fn rows(self) -> usize {
        256 / self.columns
    }
}

/// How many parts an axis is cut into, and the length of one, when `results` of them are wanted, by blocks that fold `a_round` at a time
/// and four times as many without waiting: where that is too few blocks, parts of one such round keep a card busy, unless there are so few
/// that another launch costs more; and no thread has a very long sum.
fn parts(length: usize, results: usize, a_round: usize) -> (usize, usize) {
    const LONGEST: usize = 256;
    let rounds = length.div_ceil(4 * a_round);
    let enough = if results >= 256 || rounds <= 4 { 1 } else { rounds.min(1024_usize.div_ceil(results)) };
    let parts = enough.max(length.div_ceil(LONGEST * a_round));
    let share = length.div_ceil(parts).next_multiple_of(4);
    (length.div_ceil(share), share)
}

/// A fold, as the kernels call it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fold {
    Sum,
    Squares,
    Greatest,
}

impl Fold {
    fn c(self) -> &'static str {
        match self {
            Fold::Sum => "Sum",
            Fold::Squares => "Squares",
            Fold::Greatest => "Greatest",
        }
    }

    /// What folds the results of parts.
    fn next(self) -> Fold {
        if self == Fold::Squares { Fold::Sum } else { self }
    }
}

impl Lowering<'_> {
    /// Neighbouring axes at once, from the innermost group outwards.
    pub(super) fn reduce(&mut self, node: &Node) {
        if self.sum_of_squares(node) {
            return;
        }
        let fold = if node.op.is("reduce_sum") { Fold::Sum } else { Fold::Greatest };
        let mut shape = self.shape(node.operands[0]);
        let mut from = self.dense(node.operands[0]);
        let mut axes = node.attributes.sizes("axes");
        while let Some(last) = axes.pop() {
            let mut first = last;
            while axes.last().is_some_and(|&a| a + 1 == first) {
                first -= 1;
                axes.pop();
            }
            let product = |list: &[usize]| list.iter().product::<usize>();
            let sizes = [product(&shape[..first]), product(&shape[first..=last]), product(&shape[last + 1..])];
            shape.drain(first..=last);
            let to = match axes.is_empty() {
                true => self.output(node.results[0]),
                false => self.scratch(product(&shape), Element::F32),
            };
            self.fold(fold, sizes, from, to);
            from = to;
        }
    }

    /// Sums of `[outer, reduced, inner]` to `[outer, inner]`.
    pub(super) fn sum_axis(&mut self, from: BufferId, sizes: [usize; 3], to: BufferId) {
        self.fold(Fold::Sum, sizes, from, to);
    }

    /// `[outer, reduced, inner]` to `[outer, inner]`.
    fn fold(&mut self, fold: Fold, [outer, reduced, inner]: [usize; 3], from: BufferId, to: BufferId) {
        let rows = RowTeam::of(outer, reduced);
        let columns = Columns::of(reduced, inner);
        let (parts, share) = match inner {
            1 if rows.threads < 256 => (1, reduced),
            1 => parts(reduced, outer, 256 * rows.wide),
            _ => parts(reduced, outer * columns.tiles, columns.rows()),
        };
        let own = if parts == 1 { to } else { self.scratch(outer * parts * inner, Element::F32) };
        let (x, y) = (self.c(from), self.c(own));
        let kernel = if inner == 1 {
            let [threads, wide] = [rows.threads, rows.wide].map(|n| n.to_string());
            self.kernel(Family::Reduce, "REDUCE_ROWS", &[fold.c(), x, y, &threads, &wide])
                .grid([(outer * parts).div_ceil(256 / rows.threads), 1, 1], 256)
                .read(from)
                .write(own)
                .long(outer)
                .long(reduced)
                .int(parts)
                .int(share)
        } else {
            let wide = columns.wide.to_string();
            self.kernel(Family::Reduce, "REDUCE_COLUMNS", &[fold.c(), x, y, &wide])
                .grid([outer * parts * columns.tiles, 1, 1], 256)
                .read(from)
                .write(own)
                .int(reduced)
                .int(inner)
                .int(columns.columns)
                .int(columns.tiles)
                .int(parts)
                .int(share)
        };
        self.launch(kernel);
        if parts > 1 {
            self.fold(fold.next(), [outer, parts, inner], own, to);
        }
    }
}

/// Threads that fold a row together, and how many neighbours each takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowTeam {
    threads: usize,
    wide: usize,
}

impl RowTeam {
    fn of(rows: usize, width: usize) -> RowTeam {
        // The only row begins where its buffer does; its end may be cut.
        let wide = if width.is_multiple_of(4) || (rows == 1 && width > 4) { 4 } else { 1 };
        let groups = width.div_ceil(wide);
        let threads = match groups {
            0..=8 => groups.next_power_of_two(),
            9..=256 => (groups / 4).next_power_of_two().clamp(8, 32),
            _ => 256,
        };
        RowTeam { threads, wide }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_cut_so_that_sums_stay_short() {
        for (length, results, a_round) in
            [(28_000_000, 1, 1024), (200_704, 1, 10), (5, 1, 1024), (100_000, 64, 8), (1, 1, 1)]
        {
            let (parts, share) = parts(length, results, a_round);
            assert!((parts - 1) * share < length && length <= parts * share, "{length}");
            assert!(share <= 260 * a_round, "{length}: {share} numbers for {a_round} at a time");
        }
        assert_eq!(parts(28_000_000, 1, 1024).0, 1024);
        assert_eq!(parts(16_000, 1, 1024).0, 1);
    }

    #[test]
    fn blocks_cover_columns() {
        for (rows, columns) in [(200_704, 96), (3, 100_000), (64, 768), (2, 3), (1000, 7), (9, 260), (50, 1023)] {
            let cut = Columns::of(rows, columns);
            assert!(cut.columns <= 256 && cut.columns * cut.tiles * cut.wide >= columns, "{rows} {columns}");
            assert!((cut.tiles - 1) * cut.columns * cut.wide < columns, "{rows} {columns}");
        }
    }
}
