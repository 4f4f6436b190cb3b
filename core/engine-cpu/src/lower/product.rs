//! linear and dot_general as matrix products; what follows a layer's product is done on its rows as they come.

use std::{ops::Range, sync::Arc};

use fer_cpu_kernels::{
    elementwise,
    numbers::Numbers,
    product::{self, Along, Side, Size},
    reduce,
    shared::SharedMut,
};
use fer_graph::{Node, Value, ops::DotAxes};
use fer_plan::{RowMap, Starts, View};

use super::{Lowering, Place, epilogue::Epilogue};
use crate::step::BufferId;

/// One side of a product, owned by a step: rows in a buffer.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub buffer: BufferId,
    rows: MatrixRows,
    along: Along,
}

#[derive(Clone, Debug)]
enum MatrixRows {
    Every { offset: usize, stride: usize },
    At(Arc<[u32]>),
}

impl Matrix {
    pub(super) fn of(buffer: BufferId, map: RowMap, along: Along) -> Option<Matrix> {
        // A row that repeats one number has no place to be read from end to end.
        if map.step != 1 && map.width > 1 {
            return None;
        }
        let rows = match map.starts {
            Starts::Every { offset, stride, .. } => MatrixRows::Every { offset, stride },
            Starts::At(starts) => MatrixRows::At(starts),
        };
        Some(Matrix { buffer, rows, along })
    }

    /// The same rows, seen from the other side: what was kept is summed over.
    pub(super) fn turned(&self) -> Matrix {
        let along = if self.along == Along::Kept { Along::Contracted } else { Along::Kept };
        Matrix { along, ..self.clone() }
    }

    /// Of dense rows.
    pub(super) fn dense(buffer: BufferId, width: usize, along: Along) -> Matrix {
        Matrix { buffer, rows: MatrixRows::Every { offset: 0, stride: width }, along }
    }

    /// The i-th of several matrices of `count` rows.
    pub(super) fn side<'a>(&'a self, data: Numbers<'a>, i: usize, count: usize) -> Side<'a> {
        let (data, rows) = match &self.rows {
            MatrixRows::Every { offset, stride } => {
                (data.from(offset + i * count * stride), product::Rows::Every(*stride))
            }
            MatrixRows::At(starts) => (data, product::Rows::At(&starts[i * count..(i + 1) * count])),
        };
        Side { data, rows, along: self.along }
    }

    /// Its rows, for kernels that go through them one by one, and the element of the buffer that they count from.
    pub(super) fn rows(&self) -> (usize, product::Rows<'_>) {
        match &self.rows {
            MatrixRows::Every { offset, stride } => (*offset, product::Rows::Every(*stride)),
            MatrixRows::At(starts) => (0, product::Rows::At(starts)),
        }
    }
}

impl Lowering<'_> {
    /// A value as rows of its last axis.
    pub(super) fn lines(&mut self, value: Value) -> Matrix {
        let width = self.graph.shape(value).last().copied().unwrap_or(1);
        if let Place::At { buffer, view } = self.place(value)
            && let Some(matrix) = view.rows(width).and_then(|map| Matrix::of(buffer, map, Along::Kept))
        {
            return matrix;
        }
        Matrix::dense(self.dense(value), width, Along::Kept)
    }

    pub(super) fn linear(&mut self, index: usize) {
        let node = &self.graph.nodes[index];
        let (x, weight, value) = (node.operands[0], node.operands[1], node.results[0]);
        let [n, k] = [self.graph.shape(weight)[0], self.graph.shape(weight)[1]];
        let size = Size { m: self.graph.ty(value).elements() / n, n, k };
        let a = self.lines(x);
        let b = Matrix::dense(self.dense(weight), k, Along::Kept);
        let bias = node.operands.get(2).map(|&bias| self.dense(bias));
        self.multiply(index, value, size, a, b, bias);
    }

    /// The product of a layer, with the elementwise operations that follow it.
    fn multiply(&mut self, index: usize, value: Value, size: Size, a: Matrix, b: Matrix, bias: Option<BufferId>) {
        let (isa, factors) = (self.isa(), self.options.factors);
        let mut reads = vec![a.buffer, b.buffer];
        reads.extend(bias);
        let given = reads.len();
        let label = self.label.clone();
        let taken = self.epilogue(index, value, size.n);
        self.label = label;
        let Some(Epilogue { mut rows, mut keeps }) = taken.or_else(|| self.rounding(value, size.n)) else {
            let c = self.output(value);
            self.emit(reads, [c], move |access| {
                let (left, right) = (access.numbers(0), access.numbers(1));
                let bias = bias.map(|_| access.read(2));
                let (a, b) = (a.side(left, 0, size.m), b.side(right, 0, size.n));
                product::multiply(isa, factors, size, a, b, bias, false, access.write(0));
            });
            return;
        };
        let handed = rows.inputs.iter().position(|(_, lines)| lines.is_none()).unwrap_or(0);
        if keeps && !self.is_plain(value) {
            // It is rounded on its way to memory, as the other results are.
            let buffer = self.output(value);
            rows.keep(handed, buffer);
            keeps = false;
        }
        reads.extend(rows.reads());
        let mut writes = rows.writes();
        if keeps {
            writes.push(self.output(value));
        }
        let kept = writes.len() - 1;
        self.emit(reads, writes, move |access| {
            let (left, right) = (access.numbers(0), access.numbers(1));
            let bias = bias.map(|_| access.read(2));
            let (a, b) = (a.side(left, 0, size.m), b.side(right, 0, size.n));
            let (inputs, outputs) = rows.operands(access, given, 0);
            let c = keeps.then(|| SharedMut::new(access.write(kept)));
            let finish = |range: Range<usize>, product: &mut [f32]| {
                // SAFETY: the step's buffers are its own while it runs, blocks of rows are disjoint, and so are the places they go to.
                unsafe {
                    elementwise::run_rows(isa, &rows.program, range, rows.width, &inputs, &outputs, (handed, product));
                }
            };
            product::multiply_then(isa, factors, size, a, b, bias, c, &finish);
        });
    }

    /// `dx = g W`, `dW = g^T x`, `db` = the columns' sums of g.
    pub(super) fn linear_vjp(&mut self, index: usize) {
        let node = &self.graph.nodes[index];
        let (x, weight) = (node.operands[0], node.operands[1]);
        let cotangent = node.operands[node.operands.len() - 1];
        let [n, k] = [self.graph.shape(weight)[0], self.graph.shape(weight)[1]];
        let m = self.graph.ty(cotangent).elements() / n;
        let g = self.lines(cotangent);
        let (isa, factors) = (self.isa(), self.options.factors);
        let wrt = node.attributes.sizes("wrt");
        for (result, operand) in node.results.clone().into_iter().zip(wrt) {
            self.label.op = format!("linear_vjp {}", ["x", "weight", "bias"][operand]).into();
            self.label.flops = [2 * k as u64, 2 * k as u64, 1][operand] * (m * n) as u64;
            match operand {
                0 => {
                    let size = Size { m, n: k, k: n };
                    let b = Matrix::dense(self.dense(weight), k, Along::Contracted);
                    self.multiply(index, result, size, g.clone(), b, None);
                }
                1 => {
                    let size = Size { m: n, n: k, k: m };
                    let a = Matrix { along: Along::Contracted, ..g.clone() };
                    let b = Matrix { along: Along::Contracted, ..self.lines(x) };
                    let c = self.output(result);
                    self.emit([a.buffer, b.buffer], [c], move |access| {
                        let (left, right) = (access.numbers(0), access.numbers(1));
                        let (a, b) = (a.side(left, 0, size.k), b.side(right, 0, size.k));
                        product::multiply(isa, factors, size, a, b, None, false, access.write(0));
                    });
                }
                _ => {
                    let (g, to) = (g.clone(), self.output(result));
                    self.emit([g.buffer], [to], move |access| {
                        let (from, rows) = g.rows();
                        reduce::column_sums(isa, (m, n), access.numbers(0).from(from), rows, access.write(0));
                    });
                }
            }
        }
    }

    pub(super) fn dot_general(&mut self, node: &Node) {
        let axes = DotAxes::of(&node.attributes);
        let (lhs, rhs) = (node.operands[0], node.operands[1]);
        let (batch, m, k) = self.extents(lhs, &axes.lhs_batch, &axes.lhs_contract);
        let (_, n, _) = self.extents(rhs, &axes.rhs_batch, &axes.rhs_contract);
        let a = self.side(lhs, &axes.lhs_batch, &axes.lhs_contract);
        let b = self.side(rhs, &axes.rhs_batch, &axes.rhs_contract);
        let c = self.output(node.results[0]);
        let (isa, factors, size) = (self.isa(), self.options.factors, Size { m, n, k });
        let rows = |matrix: &Matrix, kept: usize| if matrix.along == Along::Kept { kept } else { k };
        let (a_rows, b_rows) = (rows(&a, m), rows(&b, n));
        // Few large products share the threads inside, many small ones take a thread each.
        let one_by_one = batch <= 4 && size.flops() > 1 << 22;
        self.emit([a.buffer, b.buffer], [c], move |access| {
            let (left, right, c) = (access.numbers(0), access.numbers(1), access.write::<f32>(0));
            let sides = |i: usize| (a.side(left, i, a_rows), b.side(right, i, b_rows));
            if batch == 1 || one_by_one {
                for (i, c) in c.chunks_mut(m * n).enumerate() {
                    let (a, b) = sides(i);
                    product::multiply(isa, factors, size, a, b, None, false, c);
                }
            } else {
                product::multiply_many(isa, factors, size, batch, sides, c);
            }
        });
    }

    /// Sizes of the batch, free and contracted axes together.
    fn extents(&self, value: Value, batch: &[usize], contract: &[usize]) -> (usize, usize, usize) {
        let shape = self.graph.shape(value);
        let product = |axes: &[usize]| axes.iter().map(|&a| shape[a]).product::<usize>();
        (product(batch), product(&DotAxes::free(shape.len(), batch, contract)), product(contract))
    }

    /// An operand as matrices, one for each index of the batch axes, in whichever direction its rows run.
    fn side(&mut self, value: Value, batch: &[usize], contract: &[usize]) -> Matrix {
        let shape = self.shape(value);
        let free = DotAxes::free(shape.len(), batch, contract);
        let (_, kept, contracted) = self.extents(value, batch, contract);
        let kept_first: Vec<usize> = [batch, &free, contract].concat();
        let contracted_first: Vec<usize> = [batch, contract, &free].concat();
        let seen = |view: &View| {
            let rows = |order: &[usize], width: usize| view.transpose(order).and_then(|v| v.rows(width));
            let first = rows(&kept_first, contracted).map(|map| (map, Along::Kept));
            first.or_else(|| rows(&contracted_first, kept).map(|map| (map, Along::Contracted)))
        };
        if let Place::At { buffer, view } = self.place(value)
            && let Some((map, along)) = seen(&view)
            && let Some(matrix) = Matrix::of(buffer, map, along)
        {
            return matrix;
        }
        let buffer = self.dense(value);
        let view = View::dense(&shape);
        if let Some((map, along)) = seen(&view)
            && let Some(matrix) = Matrix::of(buffer, map, along)
        {
            return matrix;
        }
        let element = self.buffers[buffer].element;
        let sorted = self.buffer(view.elements(), element, crate::step::Home::Arena);
        let order = view.transpose(&kept_first).expect("a dense value can be seen in any order");
        let target = View::dense(order.shape());
        self.copy(buffer, &order, sorted, &target);
        Matrix::dense(sorted, contracted, Along::Kept)
    }
}
