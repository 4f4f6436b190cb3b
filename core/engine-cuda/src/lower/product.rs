//! linear and dot_general as matrix products of the device's library.

use fer_graph::{DType, Node, Value, ops::DotAxes};
use fer_plan::{RowMap, Starts, View};

use super::{Lowering, Place};
use crate::{
    Element, Precision,
    device::{Command, MatMul, Math, Matrix},
    plan::BufferId,
};

/// Rows of a buffer, evenly spaced.
#[derive(Clone, Copy, Debug)]
struct Rows {
    buffer: BufferId,
    /// Elements before the first row.
    offset: usize,
    stride: usize,
}

impl Rows {
    fn of(buffer: BufferId, map: &RowMap) -> Option<Rows> {
        match map.starts {
            Starts::Every { offset, stride, .. } if map.step == 1 || map.width == 1 => {
                // One row is as far from the next as it is long.
                Some(Rows { buffer, offset, stride: if stride == 0 { map.width } else { stride } })
                    .filter(|_| stride >= map.width || map.starts.len() == 1)
            }
            _ => None,
        }
    }
}

impl Lowering<'_> {
    /// What the factors of a product are stored as.
    fn factor(&self, value: Value) -> Element {
        let rounded = self.options.precision == Precision::Bf16 || self.graph.ty(value).dtype == DType::Bf16;
        if rounded { Element::Bf16 } else { Element::F32 }
    }

    /// How factors are multiplied: what is bfloat16 already has nothing to round.
    pub(super) fn math(&self, factor: Element) -> Math {
        match self.options.precision {
            Precision::Tf32 if factor == Element::F32 => Math::Tf32,
            _ => Math::Exact,
        }
    }

    /// A value as rows of its last axis, as a factor.
    fn factor_rows(&mut self, value: Value, width: usize) -> Rows {
        let element = self.factor(value);
        if let Place::At { buffer, view } = self.place(value)
            && self.element(buffer) == element
            && let Some(rows) = view.rows(width).and_then(|map| Rows::of(buffer, &map))
        {
            return rows;
        }
        Rows { buffer: self.dense_as(value, element), offset: 0, stride: width }
    }

    fn matrix(&self, rows: Rows, transposed: bool, batch_stride: usize) -> Matrix<BufferId> {
        let element = self.element(rows.buffer);
        let offset = rows.offset * element.bytes();
        Matrix { place: rows.buffer, offset, element, transposed, stride: rows.stride, batch_stride }
    }

    fn dense_matrix(&self, buffer: BufferId, width: usize) -> Matrix<BufferId> {
        self.matrix(Rows { buffer, offset: 0, stride: width }, false, 0)
    }

    pub(super) fn linear(&mut self, node: &Node) {
        let (x, weight, value) = (node.operands[0], node.operands[1], node.results[0]);
        let [n, k] = [self.graph.shape(weight)[0], self.graph.shape(weight)[1]];
        let m = self.graph.ty(value).elements() / n;
        let a = self.factor_rows(x, k);
        let b = self.factor_rows(weight, k);
        let c = self.output(value);
        let bias = node.operands.get(2).map(|&bias| self.dense_as(bias, self.element(c)));
        self.multiply(MatMul {
            m,
            n,
            k,
            batch: 1,
            a: self.matrix(a, false, 0),
            b: self.matrix(b, true, 0),
            c: self.dense_matrix(c, n),
            bias,
            row_sums: None,
            math: self.math(self.element(a.buffer)),
        });
    }

    /// `dx = g W`, `dW = g^T x`, `db` = the columns' sums of g.
    pub(super) fn linear_vjp(&mut self, node: &Node) {
        let (x, weight) = (node.operands[0], node.operands[1]);
        let cotangent = node.operands[node.operands.len() - 1];
        let [n, k] = [self.graph.shape(weight)[0], self.graph.shape(weight)[1]];
        let m = self.graph.ty(cotangent).elements() / n;
        let wrt = node.attributes.sizes("wrt");
        let result = |operand: usize| wrt.iter().position(|&w| w == operand).map(|i| node.results[i]);
        let g = self.factor_rows(cotangent, n);
        let math = self.math(self.element(g.buffer));
        if let Some(dx) = result(0) {
            self.label.op = "linear_vjp x".into();
            self.label.flops = 2 * (m * n * k) as u64;
            let b = self.factor_rows(weight, k);
            let c = self.output(dx);
            self.multiply(MatMul {
                m,
                n: k,
                k: n,
                batch: 1,
                a: self.matrix(g, false, 0),
                b: self.matrix(b, false, 0),
                c: self.dense_matrix(c, k),
                bias: None,
                row_sums: None,
                math,
            });
        }
        if let Some(dw) = result(1) {
            self.label.op = "linear_vjp weight".into();
            self.label.flops = 2 * (m * n * k) as u64;
            let x = self.factor_rows(x, k);
            let c = self.output_as(dw, Element::F32);
            let row_sums = result(2).map(|db| self.output_as(db, Element::F32));
            self.multiply(MatMul {
                m: n,
                n: k,
                k: m,
                batch: 1,
                a: self.matrix(g, true, 0),
                b: self.matrix(x, false, 0),
                c: self.dense_matrix(c, k),
                bias: None,
                row_sums,
                math,
            });
        } else if let Some(db) = result(2) {
            self.label.op = "linear_vjp bias".into();
            self.label.flops = (m * n) as u64;
            let from = self.dense(cotangent);
            let to = self.output_as(db, Element::F32);
            self.sum_axis(from, [1, m, n], to);
        }
    }

    fn multiply(&mut self, product: MatMul<BufferId>) {
        let mut reads = vec![product.a.place, product.b.place];
        reads.extend(product.bias);
        let mut writes = vec![product.c.place];
        writes.extend(product.row_sums);
        self.emit(Command::MatMul(product), reads, writes, vec![]);
    }

    pub(super) fn dot_general(&mut self, node: &Node) {
        let axes = DotAxes::of(&node.attributes);
        let (lhs, rhs) = (node.operands[0], node.operands[1]);
        let (batch, m, k) = self.extents(lhs, &axes.lhs_batch, &axes.lhs_contract);
        let (_, n, _) = self.extents(rhs, &axes.rhs_batch, &axes.rhs_contract);
        let a = self.side(lhs, &axes.lhs_batch, &axes.lhs_contract);
        // The right one stands with its contracted axes first.
        let mut b = self.side(rhs, &axes.rhs_batch, &axes.rhs_contract);
        b.transposed = !b.transposed;
        let c = self.output(node.results[0]);
        let mut to = self.dense_matrix(c, n);
        to.batch_stride = m * n;
        let math = self.math(a.element);
        self.multiply(MatMul { m, n, k, batch, a, b, c: to, bias: None, row_sums: None, math });
    }

    /// Sizes of the batch, free and contracted axes together.
    fn extents(&self, value: Value, batch: &[usize], contract: &[usize]) -> (usize, usize, usize) {
        let shape = self.graph.shape(value);
        let product = |axes: &[usize]| axes.iter().map(|&a| shape[a]).product::<usize>();
        (product(batch), product(&DotAxes::free(shape.len(), batch, contract)), product(contract))
    }

    /// An operand as matrices whose rows are its free axes, one for each index of the batch axes; transposed where it stands so.
    fn side(&mut self, value: Value, batch: &[usize], contract: &[usize]) -> Matrix<BufferId> {
        let shape = self.shape(value);
        let free = DotAxes::free(shape.len(), batch, contract);
        let (_, kept, contracted) = self.extents(value, batch, contract);
        let kept_first: Vec<usize> = [batch, &free, contract].concat();
        let contracted_first: Vec<usize> = [batch, contract, &free].concat();
        let element = self.factor(value);
        let seen = |buffer: BufferId, view: &View| {
            let rows = |order: &[usize], width: usize| {
                let map = view.transpose(order)?.rows(width)?;
                Rows::of(buffer, &map)
            };
            let first = rows(&kept_first, contracted).map(|rows| (rows, false));
            first.or_else(|| rows(&contracted_first, kept).map(|rows| (rows, true)))
        };
        let placed = match self.place(value) {
            Place::At { buffer, view } if self.element(buffer) == element => seen(buffer, &view),
            _ => None,
        };
        let found = placed.or_else(|| seen(self.dense_as(value, element), &View::dense(&shape)));
        if let Some((rows, transposed)) = found {
            let height = if transposed { contracted } else { kept };
            return self.matrix(rows, transposed, height * rows.stride);
        }
        let buffer = self.dense_as(value, element);
        let order = View::dense(&shape).transpose(&kept_first).expect("a dense value can be seen in any order");
        let sorted = self.scratch(order.elements(), element);
        self.copy(buffer, &order, sorted, &View::dense(order.shape()));
        let rows = Rows { buffer: sorted, offset: 0, stride: contracted };
        self.matrix(rows, false, kept * contracted)
    }
}
