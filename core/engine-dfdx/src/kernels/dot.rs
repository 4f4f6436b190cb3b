//! dot_general as dfdx's matrix product, with operands brought into `[batch, rows, columns]`.

use fer_graph::ops::DotAxes;

use super::{Kernel, Site, movement::View, operands};
use crate::{
    buffer::Buffer,
    chunks::in_pieces,
    element::{Element, Product},
    value::{Value, map_elements},
};

/// Multiply-adds that are worth a task of their own.
const LARGE: usize = 1 << 20;

/// How one operand becomes a stack of matrices.
struct Layout {
    count: usize,
    /// Stored as `[batch, columns, rows]`.
    transposed: bool,
    /// The move that is needed first, when the axes are interleaved.
    view: Option<View>,
}

impl Layout {
    /// `rows` and `columns` are the axes that become the matrices' rows and columns.
    fn of(shape: &[usize], batch: &[usize], rows: &[usize], columns: &[usize]) -> Layout {
        let count = shape.iter().product();
        let order = |first: &[usize], second: &[usize]| -> Vec<usize> {
            batch.iter().chain(first).chain(second).copied().collect()
        };
        let as_is = |order: &[usize]| View::transposed(shape, order).is_whole(count);
        let straight = order(rows, columns);
        if as_is(&straight) {
            return Layout { count, transposed: false, view: None };
        }
        if as_is(&order(columns, rows)) {
            return Layout { count, transposed: true, view: None };
        }
        Layout { count, transposed: false, view: Some(View::transposed(shape, &straight)) }
    }

    fn bring<E: Element>(&self, x: Value<E>) -> Value<E> {
        match (&self.view, x) {
            (None, x) | (_, x @ Value::Splat(_)) => x,
            (Some(view), x) => map_elements!(x, self.count, |data| view.read(data)),
        }
    }
}

pub fn dot_general<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let axes = DotAxes::of(site.attributes());
    let (left, right) = (site.shape(0), site.shape(1));
    let lhs_free = DotAxes::free(left.len(), &axes.lhs_batch, &axes.lhs_contract);
    let rhs_free = DotAxes::free(right.len(), &axes.rhs_batch, &axes.rhs_contract);
    let size = |shape: &[usize], axes: &[usize]| -> usize { axes.iter().map(|&a| shape[a]).product() };
    let lhs = Layout::of(left, &axes.lhs_batch, &lhs_free, &axes.lhs_contract);
    let rhs = Layout::of(right, &axes.rhs_batch, &axes.rhs_contract, &rhs_free);
    let product = Product {
        batch: size(left, &axes.lhs_batch),
        m: size(left, &lhs_free),
        k: size(left, &axes.lhs_contract),
        n: size(right, &rhs_free),
        lhs_transposed: lhs.transposed,
        rhs_transposed: rhs.transposed,
    };
    let total = site.result().elements();
    Box::new(move |v| {
        let [x, y] = operands(v);
        let (x, y) = (lhs.bring(x).shared(lhs.count), rhs.bring(y).shared(rhs.count));
        let mut result = Buffer::scratch(total);
        matmul(&x, &y, product, &mut result);
        Value::dense(result)
    })
}

/// Many small products go to threads in groups of a fixed size; a large one is shared between threads by dfdx.
fn matmul<E: Element>(x: &[E], y: &[E], product: Product, result: &mut [E]) {
    let Product { batch, m, k, n, .. } = product;
    let group = if m * k * n < LARGE { LARGE.div_ceil(m * k * n).min(batch) } else { 1 };
    in_pieces(result, group * m * n, |at, piece| {
        let (first, count) = (at / (m * n), piece.len() / (m * n));
        let (x, y) = (&x[first * m * k..][..count * m * k], &y[first * k * n..][..count * k * n]);
        E::matmul(x, y, Product { batch: count, ..product }, piece);
    });
}
