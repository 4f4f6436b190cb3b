//! Primitives that only move elements. Transpose, broadcast and slice are one thing: reading through strides.

use std::sync::Arc;

use super::{Kernel, Site, operands};
use crate::{
    buffer::Buffer,
    chunks::in_rows,
    element::{Element, Item},
    value::{Value, map_elements},
};

/// The row-major distance between neighbours along each axis.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// How a result is read out of a source: element `i` stands at `offset + sum(i[a] * strides[a])`.
#[derive(Clone, Debug)]
pub struct View {
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
}

impl View {
    /// Drops axes of size 1 and merges axes that one stride covers.
    pub fn new(shape: &[usize], strides: &[usize], offset: usize) -> View {
        let mut view = View { shape: vec![], strides: vec![], offset };
        for (&size, &stride) in shape.iter().zip(strides).filter(|(size, _)| **size != 1) {
            match (view.shape.last_mut(), view.strides.last_mut()) {
                (Some(last), Some(outer)) if *outer == stride * size => {
                    *last *= size;
                    *outer = stride;
                }
                _ => {
                    view.shape.push(size);
                    view.strides.push(stride);
                }
            }
        }
        view
    }

    /// The axes of `shape` in another order.
    pub fn transposed(shape: &[usize], permutation: &[usize]) -> View {
        let from = strides(shape);
        let sizes: Vec<usize> = permutation.iter().map(|&a| shape[a]).collect();
        let steps: Vec<usize> = permutation.iter().map(|&a| from[a]).collect();
        View::new(&sizes, &steps, 0)
    }

    /// Whether the elements are read in the order in which they stand.
    pub fn is_whole(&self, source: usize) -> bool {
        self.offset == 0
            && match (self.shape.as_slice(), self.strides.as_slice()) {
                ([], _) => source == 1,
                ([size], [1]) => *size == source,
                _ => false,
            }
    }

    /// The viewed elements in row-major order.
    pub fn read<T: Item>(&self, source: &[T]) -> Buffer<T> {
        let (Some((&row, outer)), Some((&step, outer_steps))) = (self.shape.split_last(), self.strides.split_last())
        else {
            return Buffer::filled(1, source[self.offset]);
        };
        let mut target = Buffer::scratch(outer.iter().product::<usize>() * row);
        in_rows(&mut target, row, |at, piece| {
            let mut walk = Walk::new(outer, outer_steps, at / row);
            for line in piece.chunks_exact_mut(row) {
                let start = self.offset + walk.next();
                match step {
                    0 => line.fill(source[start]),
                    1 => line.copy_from_slice(&source[start..start + row]),
                    _ => line.iter_mut().zip(source[start..].iter().step_by(step)).for_each(|(t, s)| *t = *s),
                }
            }
        });
        target
    }
}

/// Offsets of the indices of some axes, in row-major order, starting anywhere.
struct Walk<'a> {
    shape: &'a [usize],
    strides: &'a [usize],
    index: Vec<usize>,
    offset: usize,
}

impl<'a> Walk<'a> {
    fn new(shape: &'a [usize], strides: &'a [usize], first: usize) -> Walk<'a> {
        let mut index = vec![0; shape.len()];
        let mut rest = first;
        for axis in (0..shape.len()).rev() {
            index[axis] = rest % shape[axis];
            rest /= shape[axis];
        }
        let offset = index.iter().zip(strides).map(|(i, s)| i * s).sum();
        Walk { shape, strides, index, offset }
    }

    /// The current offset; moves on.
    fn next(&mut self) -> usize {
        let here = self.offset;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.offset -= self.shape[axis] * self.strides[axis];
            self.index[axis] = 0;
        }
        here
    }
}

pub fn reshape<E: Element>(_: &Site<'_>) -> Kernel<E> {
    Box::new(|v| {
        let [x] = operands(v);
        x
    })
}

fn viewed<E: Element>(site: &Site<'_>, view: View) -> Kernel<E> {
    let count = site.ty(0).elements();
    if view.is_whole(count) {
        return reshape(site);
    }
    Box::new(move |v| {
        let [x] = operands(v);
        match x {
            Value::Splat(_) => x,
            x => map_elements!(x, count, |data| view.read(data)),
        }
    })
}

pub fn transpose<E: Element>(site: &Site<'_>) -> Kernel<E> {
    viewed(site, View::transposed(site.shape(0), &site.attributes().sizes("permutation")))
}

/// An axis that repeats is read with stride 0.
pub fn broadcast_in_dim<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let (from, to) = (site.shape(0), &site.result().shape);
    let own = strides(from);
    let mut steps = vec![0; to.len()];
    for (i, axis) in site.attributes().sizes("broadcast_dimensions").into_iter().enumerate() {
        steps[axis] = if from[i] == 1 { 0 } else { own[i] };
    }
    viewed(site, View::new(to, &steps, 0))
}

pub fn slice<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let own = strides(site.shape(0));
    let start = site.attributes().sizes("start");
    let steps: Vec<usize> = site.attributes().sizes("strides").iter().zip(&own).map(|(a, b)| a * b).collect();
    let offset = start.iter().zip(&own).map(|(a, b)| a * b).sum();
    viewed(site, View::new(&site.result().shape, &steps, offset))
}

pub fn pad<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let from = site.shape(0).to_vec();
    let (count, total) = (site.ty(0).elements(), site.result().elements());
    let own = strides(&site.result().shape);
    let steps: Vec<usize> =
        site.attributes().sizes("interior").iter().zip(&own).map(|(between, s)| (between + 1) * s).collect();
    let offset: usize = site.attributes().sizes("low").iter().zip(&own).map(|(low, s)| low * s).sum();
    let filler = site.attributes().float("value");
    Box::new(move |v| {
        let [x] = operands(v);
        match x {
            Value::Splat(x) if x.get().to_bits() == E::of(filler).get().to_bits() => Value::Splat(x),
            x => map_elements!(x, count, |data| spread(data, &from, &steps, offset, total, filler)),
        }
    })
}

/// `total` fillers with the source's elements laid over them, by the target's strides.
fn spread<T: Item>(
    source: &[T],
    shape: &[usize],
    steps: &[usize],
    offset: usize,
    total: usize,
    filler: f64,
) -> Buffer<T> {
    let mut target = Buffer::filled(total, T::of(filler));
    let (Some((&row, outer)), Some((&step, outer_steps))) = (shape.split_last(), steps.split_last()) else {
        target[offset] = source[0];
        return target;
    };
    let mut walk = Walk::new(outer, outer_steps, 0);
    for line in source.chunks_exact(row) {
        let start = offset + walk.next();
        if step == 1 {
            target[start..start + row].copy_from_slice(line);
        } else {
            target[start..].iter_mut().step_by(step).zip(line).for_each(|(t, s)| *t = *s);
        }
    }
    target
}

pub fn concatenate<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let axis = site.attributes().int("axis") as usize;
    let outer: usize = site.shape(0)[..axis].iter().product();
    let inner: usize = site.shape(0)[axis + 1..].iter().product();
    let runs: Vec<usize> = (0..site.node.operands.len()).map(|i| site.shape(i)[axis] * inner).collect();
    let total = site.result().elements();
    Box::new(move |parts| match &parts[0] {
        Value::I32(_) => Value::I32(Arc::new(join(&parts, Value::integers, &runs, total))),
        Value::U8(_) => Value::U8(Arc::new(join(&parts, Value::bytes, &runs, total))),
        Value::Bool(_) => Value::Bool(Arc::new(join(&parts, Value::flags, &runs, total))),
        Value::Splat(_) | Value::Dense(_) => {
            let floats: Vec<Arc<Buffer<E>>> =
                parts.into_iter().zip(&runs).map(|(part, run)| part.shared(run * outer)).collect();
            let slices: Vec<&[E]> = floats.iter().map(|part| &part[..]).collect();
            Value::dense(interleave(&slices, &runs, total))
        }
    })
}

fn join<E: Element, T: Item>(
    parts: &[Value<E>],
    elements: fn(&Value<E>) -> &[T],
    runs: &[usize],
    total: usize,
) -> Buffer<T> {
    interleave(&parts.iter().map(elements).collect::<Vec<_>>(), runs, total)
}

/// One run of each part in turn, until the parts are used up.
fn interleave<T: Item>(parts: &[&[T]], runs: &[usize], total: usize) -> Buffer<T> {
    let mut target = Buffer::scratch(total);
    let row: usize = runs.iter().sum();
    in_rows(&mut target, row, |at, piece| {
        for (o, line) in piece.chunks_exact_mut(row).enumerate() {
            let mut rest = line;
            for (part, &run) in parts.iter().zip(runs) {
                let (here, after) = rest.split_at_mut(run);
                let from = (at / row + o) * run;
                here.copy_from_slice(&part[from..from + run]);
                rest = after;
            }
        }
    });
    target
}
