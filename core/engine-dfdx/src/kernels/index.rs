//! gather and scatter_add: whole runs of elements at clamped indices of one axis.

use super::{Kernel, Site, operands};
use crate::{
    buffer::Buffer,
    chunks::in_rows,
    element::{Element, Item},
    value::{Value, map_elements},
};

fn clamped(index: i32, size: usize) -> usize {
    usize::try_from(index).unwrap_or(0).min(size - 1)
}

pub fn gather<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let axis = site.attributes().int("axis") as usize;
    let (count, size) = (site.ty(0).elements(), site.shape(0)[axis]);
    let inner: usize = site.shape(0)[axis + 1..].iter().product();
    Box::new(move |v| {
        let [x, indices] = operands(v);
        match x {
            Value::Splat(_) => x,
            x => map_elements!(x, count, |data| pick(data, indices.integers(), size, inner)),
        }
    })
}

fn pick<T: Item>(x: &[T], indices: &[i32], size: usize, inner: usize) -> Buffer<T> {
    let mut target = Buffer::scratch(x.len() / size * indices.len());
    in_rows(&mut target, inner, |at, piece| {
        for (i, run) in piece.chunks_exact_mut(inner).enumerate() {
            let (block, which) = ((at / inner + i) / indices.len(), (at / inner + i) % indices.len());
            let start = (block * size + clamped(indices[which], size)) * inner;
            run.copy_from_slice(&x[start..start + inner]);
        }
    });
    target
}

/// Updates are added in their order, so that the bits are the same each time.
pub fn scatter_add<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let axis = site.attributes().int("axis") as usize;
    let shape = site.result().shape.clone();
    let (count, total) = (site.ty(1).elements(), site.result().elements());
    let size = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    Box::new(move |v| {
        let [indices, updates] = operands(v);
        let indices = indices.integers();
        let updates = updates.shared(count);
        let mut target = Buffer::filled(total, E::default());
        let blocks = target.chunks_exact_mut(size * inner);
        for (block, updates) in blocks.zip(updates.chunks_exact(indices.len() * inner)) {
            for (&index, run) in indices.iter().zip(updates.chunks_exact(inner)) {
                let start = clamped(index, size) * inner;
                block[start..start + inner].iter_mut().zip(run).for_each(|(t, u)| *t += *u);
            }
        }
        Value::dense(target)
    })
}
