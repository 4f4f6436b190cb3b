//! layer_norm, softmax, log_softmax and l2_normalize, and their adjoints; batch_norm_training is in a file of its own.

mod batch_norm;

use fer_graph::{Node, Value};
use fer_plan::{Arranged, RowMap, Starts, arranged};

use super::{Lowering, Place, reduce::Columns};
use crate::{Element, kernels::Family, lower::call::Kernel, plan::BufferId};

/// Threads of a block that works on several rows: `BLOCK` in the kernels' source.
const BLOCK: usize = 128;

/// Threads that work on a row together, each on `groups` groups of `wide` neighbours; 0 where a row is too long for registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Team {
    threads: usize,
    groups: usize,
    wide: usize,
}

impl Team {
    /// The most groups that a thread keeps.
    const MOST: usize = 8;

    /// The team that leaves the fewest threads idle; of those alike the largest.
    fn of(width: usize, aligned: bool) -> Team {
        let wide = if aligned && width.is_multiple_of(4) { 4 } else { 1 };
        let all = width / wide;
        let least = all.next_power_of_two().min(8);
        let best = [32, 16, 8, 4, 2, 1]
            .into_iter()
            .filter(|&threads| threads >= least && threads * Team::MOST >= all)
            .min_by_key(|&threads| threads * all.div_ceil(threads));
        match best {
            Some(threads) => Team { threads, groups: all.div_ceil(threads), wide },
            None => {
                let groups = all.div_ceil(256);
                Team { threads: 256, groups: if groups > Team::MOST { 0 } else { groups }, wide }
            }
        }
    }

    /// Rows that a block works on at a time.
    fn rows(self) -> usize {
        BLOCK.div_ceil(self.threads)
    }

    fn block(self) -> usize {
        self.threads.max(BLOCK)
    }

    /// As the kernels take it.
    fn arguments(self) -> [String; 3] {
        [self.threads, self.groups, self.wide].map(|n| n.to_string())
    }
}

/// Where the rows of a value stand.
struct Rows {
    buffer: BufferId,
    starts: Starts,
    /// Whether every row begins at a multiple of four elements.
    aligned: bool,
    dense: bool,
}

impl Lowering<'_> {
    /// A value as rows of its last axis, where it stands if it can be read there.
    fn norm_rows(&mut self, value: Value, width: usize) -> Rows {
        if let Place::At { buffer, view } = self.place(value)
            && let Some(RowMap { step: 1, starts, .. }) = view.rows(width)
        {
            let dense = view.is_dense(self.buffers[buffer].elements);
            let aligned = match &starts {
                Starts::Every { offset, stride, .. } => offset % 4 == 0 && stride % 4 == 0,
                Starts::At(starts) => starts.iter().all(|s| s % 4 == 0),
            };
            return Rows { buffer, starts, aligned, dense };
        }
        let buffer = self.dense(value);
        let starts = Starts::Every { offset: 0, stride: width, count: self.graph.ty(value).elements() / width };
        Rows { buffer, starts, aligned: width.is_multiple_of(4), dense: true }
    }

    /// The rows as a kernel takes them: a pointer, and the three parts of `RowStarts`.
    fn give_rows(&mut self, kernel: Kernel, rows: &Rows) -> Kernel {
        let (table, first, stride) = match &rows.starts {
            Starts::Every { offset, stride, .. } => (None, *offset, *stride),
            Starts::At(starts) => (Some(self.table(starts)), 0, 0),
        };
        kernel.read(rows.buffer).read_if(table).long(first).long(stride)
    }

    /// A kernel of the family for rows, by the elements of what it reads and writes.
    fn row_kernel(&mut self, name: &str, buffers: &[BufferId], team: Team, more: &[&str]) -> Kernel {
        let numbers = team.arguments();
        let mut arguments: Vec<&str> = buffers.iter().map(|&b| self.c(b)).collect();
        arguments.extend(numbers.iter().map(String::as_str));
        arguments.extend(more);
        self.kernel(Family::Normalise, name, &arguments)
    }

    /// The written buffer may be the one that is read where both are of one element.
    fn over(&self, kernel: Kernel, from: BufferId, to: BufferId) -> Kernel {
        if self.element(from) == self.element(to) { kernel.in_place(from, to) } else { kernel }
    }

    /// Rows of a value's last axis, and how many numbers are in each.
    fn row_sizes(&self, value: Value) -> (usize, usize) {
        let width = self.graph.shape(value).last().copied().unwrap_or(1);
        (self.graph.ty(value).elements() / width, width)
    }

    /// The results of an adjoint by operand; those of parameters are f32.
    fn wanted<const N: usize>(&mut self, node: &Node) -> [Option<BufferId>; N] {
        let mut wanted = [None; N];
        for (&result, operand) in node.results.iter().zip(node.attributes.sizes("wrt")) {
            let element = if operand == 0 { self.stored[result.index()] } else { Element::F32 };
            wanted[operand] = Some(self.output_as(result, element));
        }
        wanted
    }

    /// Where all that read a norm's result read its rows in another order, as windows of tokens, they are computed in that order: the rows
    /// that go into it are, and what is read stands densely.
    fn arrange(&mut self, value: Value, x: &mut Rows) -> Option<BufferId> {
        if self.options.is_off("absorb") || self.targets.contains_key(&value) {
            return None;
        }
        let Arranged { value: read, rows } = arranged(self.graph, &self.uses, value)?;
        let start = |row: usize| match &x.starts {
            Starts::Every { offset, stride, .. } => u32::try_from(offset + row * stride).ok(),
            Starts::At(starts) => Some(starts[row]),
        };
        x.starts = Starts::At(rows.into_iter().map(start).collect::<Option<_>>()?);
        // Rows are not written where they are read.
        x.dense = false;
        Some(self.output_as(read, self.stored[value.index()]))
    }

    pub(super) fn layer_norm(&mut self, node: &Node) {
        let [x, weight, bias] = [0, 1, 2].map(|i| node.operands[i]);
        let (rows, width) = self.row_sizes(x);
        let mut x = self.norm_rows(x, width);
        let [weight, bias] = [weight, bias].map(|v| self.dense_as(v, Element::F32));
        let y = self.arrange(node.results[0], &mut x).unwrap_or_else(|| self.output(node.results[0]));
        let team = Team::of(width, x.aligned);
        let kernel = self
            .row_kernel("LAYER_NORM_FORWARD", &[x.buffer, y], team, &[])
            .grid([rows.div_ceil(team.rows()), 1, 1], team.block());
        let kernel = self
            .give_rows(kernel, &x)
            .read(weight)
            .read(bias)
            .write(y)
            .long(rows)
            .int(width)
            .float(node.attributes.float("epsilon") as f32);
        let kernel = if x.dense { self.over(kernel, x.buffer, y) } else { kernel };
        self.launch(kernel);
    }

    pub(super) fn layer_norm_vjp(&mut self, node: &Node) {
        let (rows, width) = self.row_sizes(node.operands[0]);
        let x = self.norm_rows(node.operands[0], width);
        let g = self.norm_rows(node.operands[3], width);
        let weight = self.dense_as(node.operands[1], Element::F32);
        let [mut dx, of_weight, of_bias] = self.wanted(node);
        // What comes by the way around the norm is added to what comes through it.
        let around = match node.attributes.sizes("wrt")[0] {
            0 => self.absorbing().and_then(|a| a.only_added(node.results[0])),
            _ => None,
        };
        let around = around.filter(|(_, sum)| !self.targets.contains_key(sum));
        let add = around.map(|(other, sum)| {
            self.clusters.absorb(self.graph, sum);
            dx = Some(self.output(sum));
            self.norm_rows(other, width)
        });
        let team = Team::of(width, x.aligned && g.aligned && add.as_ref().is_none_or(|add| add.aligned));
        let sums_wanted = of_weight.is_some() || of_bias.is_some();
        // Each block sums over rows of its own, enough for its sums to be little beside them; and there are no more blocks than keep a card
        // busy.
        let most = if sums_wanted { 1024 } else { usize::MAX };
        let blocks = rows.div_ceil(if sums_wanted { 32.max(4 * team.rows()) } else { team.rows() }).min(most);
        let share = rows.div_ceil(blocks).next_multiple_of(team.rows());
        let blocks = rows.div_ceil(share);
        let sums = sums_wanted.then(|| self.scratch(blocks * 2 * width, Element::F32));
        let like = [add.as_ref().map_or(weight, |add| add.buffer), dx.unwrap_or(weight)];
        let mut kernel = self
            .row_kernel("LAYER_NORM_BACKWARD", &[x.buffer, g.buffer, like[0], like[1]], team, &[])
            .grid([blocks, 1, 1], team.block());
        kernel = self.give_rows(kernel, &x);
        kernel = self.give_rows(kernel, &g);
        kernel = match &add {
            Some(add) => self.give_rows(kernel, add),
            None => kernel.null().null().long(0).long(0),
        };
        let mut kernel = kernel
            .read(weight)
            .write_if(dx)
            .write_if(sums)
            .long(rows)
            .long(share)
            .int(width)
            .float(node.attributes.float("epsilon") as f32);
        if let Some(dx) = dx {
            for rows in [&x, &g].into_iter().chain(&add).filter(|rows| rows.dense) {
                kernel = self.over(kernel, rows.buffer, dx);
            }
        }
        self.launch(kernel);
        if let Some(sums) = sums {
            let kernel = self
                .kernel(Family::Normalise, "LAYER_NORM_JOIN", &[])
                .grid([(2 * width).div_ceil(32), 1, 1], 1024)
                .read(sums)
                .write_if(of_weight)
                .write_if(of_bias)
                .int(blocks)
                .int(width);
            self.launch(kernel);
        }
    }

    /// Over the last axis, which `supports` has seen to.
    pub(super) fn softmax(&mut self, node: &Node, adjoint: bool) {
        let (rows, width) = self.row_sizes(node.operands[0]);
        let logarithm = node.op.def.name == "log_softmax";
        let reads: Vec<BufferId> = node.operands.iter().map(|&v| self.dense(v)).collect();
        let name = match (adjoint, logarithm) {
            (true, _) => "SOFTMAX_BACKWARD",
            (false, true) => "LOG_SOFTMAX_FORWARD",
            (false, false) => "SOFTMAX_FORWARD",
        };
        let more: &[&str] = if adjoint { &[if logarithm { "true" } else { "false" }] } else { &[] };
        let kernel = self.over_rows(name, node, (rows, width), &reads, more);
        self.launch(kernel);
    }

    /// A kernel that goes from dense rows to dense rows: pointers, then how many rows of which width.
    fn over_rows(
        &mut self,
        name: &str,
        node: &Node,
        (rows, width): (usize, usize),
        reads: &[BufferId],
        more: &[&str],
    ) -> Kernel {
        let team = Team::of(width, true);
        let y = self.output(node.results[0]);
        let buffers: Vec<BufferId> = reads.iter().copied().chain([y]).collect();
        let mut kernel =
            self.row_kernel(name, &buffers, team, more).grid([rows.div_ceil(team.rows()), 1, 1], team.block());
        for &from in reads {
            kernel = self.over(kernel.read(from), from, y);
        }
        kernel.write(y).long(rows).int(width)
    }

    pub(super) fn l2_normalize(&mut self, node: &Node, adjoint: bool) {
        let shape = self.shape(node.operands[0]);
        let axis = node.attributes.int("axis") as usize;
        let [outer, size, inner]: [usize; 3] =
            [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()];
        let least = node.attributes.float("epsilon").powi(2) as f32;
        let reads: Vec<BufferId> = node.operands.iter().map(|&v| self.dense(v)).collect();
        if inner == 1 {
            let name = if adjoint { "L2_NORMALIZE_ROWS_BACKWARD" } else { "L2_NORMALIZE_ROWS" };
            let kernel = self.over_rows(name, node, (outer, size), &reads, &[]).float(least);
            self.launch(kernel);
            return;
        }
        let y = self.output(node.results[0]);
        let x = reads[0];
        let g = reads.get(1).copied();
        let cut = Columns::of(size, inner);
        let wide = cut.wide.to_string();
        let arguments = [self.c(x), self.c(g.unwrap_or(x)), self.c(y), &wide];
        let kernel = self
            .kernel(Family::Normalise, "L2_NORMALIZE_COLUMNS", &arguments)
            .grid([outer * cut.tiles, 1, 1], 256)
            .read(x)
            .read_if(g)
            .write(y)
            .int(size)
            .int(inner)
            .int(cut.columns)
            .int(cut.tiles)
            .float(least);
        let kernel = reads.iter().fold(kernel, |kernel, &from| self.over(kernel, from, y));
        self.launch(kernel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_hold_a_row_and_idle_little() {
        let team = |width, aligned| {
            let Team { threads, groups, wide } = Team::of(width, aligned);
            (threads, groups, wide)
        };
        // Widths of Swin, of ViT and of attention over 197 tokens; logits of eight classes and of seven.
        assert_eq!(team(96, true), (8, 3, 4));
        assert_eq!(team(192, true), (16, 3, 4));
        assert_eq!(team(384, true), (32, 3, 4));
        assert_eq!(team(768, true), (32, 6, 4));
        assert_eq!(team(768, false), (256, 3, 1));
        assert_eq!(team(2048, true), (256, 2, 4));
        assert_eq!(team(197, true), (32, 7, 1));
        assert_eq!(team(8, true), (2, 1, 4));
        assert_eq!(team(7, true), (8, 1, 1));
        for width in (1..3000).chain([8192, 8196, 100_001]) {
            for aligned in [false, true] {
                let (threads, groups, wide) = team(width, aligned);
                assert!(threads.is_power_of_two() && width % wide == 0, "{width}");
                assert!(groups == 0 || threads * groups * wide >= width, "{width}");
            }
        }
        assert_eq!(team(8192, true).1, 8);
        assert_eq!(team(8196, true).1, 0);
    }
}
