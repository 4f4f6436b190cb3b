//! Views, joins and copies.

use fer_cpu_kernels::{copy, elementwise::Element, random};
use fer_graph::{Node, Value};
use fer_plan::{Joining, View, joined, targets};

use super::{Lowering, Place, shared};
use crate::step::{BufferId, Home};

impl Lowering<'_> {
    /// Where the result of a view stands: where its operand does.
    pub(super) fn seen(&mut self, index: usize) -> Place {
        let (graph, node) = (self.graph, &self.graph.nodes[index]);
        if node.op.is("concatenate") {
            let target = self.targets.get(&node.results[0]).cloned();
            // What is copied for the join is not the work of the node that asks for it.
            let label = self.label.clone();
            self.label.op = "concatenate".into();
            self.label.flops = 0;
            let place = joined(self, graph, node, target);
            self.label = label;
            return place;
        }
        let operand = node.operands[0];
        self.place(operand).seen(graph, node, || self.dense(operand))
    }

    /// Decides which values are written where they will be joined.
    pub(super) fn join(&mut self) {
        if !self.options.is_off("concatenate") {
            self.targets = targets(self.graph, |value| self.room(value));
        }
    }

    /// Copies elements from one view to another of the same shape.
    pub(super) fn copy(&mut self, from: BufferId, view: &View, to: BufferId, target: &View) {
        let element = self.buffers[from].element;
        let whole = target.is_dense(self.buffers[to].elements);
        if let (Some((parts, offset)), true) = (view.strides(), whole) {
            let (sizes, strides): (Vec<usize>, Vec<usize>) = parts.into_iter().unzip();
            self.emit([from], [to], move |a| match element {
                Element::F32 => copy::permute(a.read::<f32>(0), a.write(0), &sizes, &strides, offset),
                Element::Bf16 => copy::permute(a.read::<u16>(0), a.write(0), &sizes, &strides, offset),
                Element::I32 => copy::permute(a.read::<i32>(0), a.write(0), &sizes, &strides, offset),
                Element::U8 | Element::Bool => copy::permute(a.read::<u8>(0), a.write(0), &sizes, &strides, offset),
            });
            return;
        }
        if matches!(element, Element::F32 | Element::Bf16) && self.copy_rows(from, view, to, target) {
            return;
        }
        if let (Some((parts, offset)), Some((places, start))) = (view.strides(), target.strides())
            && let Some(steps) = Steps::common(&parts, &places)
        {
            let Steps { sizes, from: strides, to: targets } = steps;
            self.emit([from], [to], move |a| match element {
                Element::F32 => {
                    copy::transfer(a.read::<f32>(0), &strides, offset, a.write(0), &targets, start, &sizes);
                }
                Element::Bf16 => {
                    copy::transfer(a.read::<u16>(0), &strides, offset, a.write(0), &targets, start, &sizes);
                }
                Element::I32 => {
                    copy::transfer(a.read::<i32>(0), &strides, offset, a.write(0), &targets, start, &sizes);
                }
                Element::U8 | Element::Bool => {
                    copy::transfer(a.read::<u8>(0), &strides, offset, a.write(0), &targets, start, &sizes);
                }
            });
            return;
        }
        let table = |view: &View| shared(&view.offsets().into_iter().map(|o| o as u32).collect::<Vec<_>>());
        let (sources, targets) = (table(view), (!whole).then(|| table(target)));
        self.emit([from], [to], move |a| {
            let pairs =
                sources.iter().enumerate().map(|(i, &s)| (s as usize, targets.as_ref().map_or(i, |t| t[i] as usize)));
            match element {
                Element::F32 => pairs.for_each(copy_one(a.read::<f32>(0), a.write(0))),
                Element::Bf16 => pairs.for_each(copy_one(a.read::<u16>(0), a.write(0))),
                Element::I32 => pairs.for_each(copy_one(a.read::<i32>(0), a.write(0))),
                Element::U8 | Element::Bool => pairs.for_each(copy_one(a.read::<u8>(0), a.write(0))),
            }
        });
    }

    pub(super) fn pad(&mut self, node: &Node) {
        let from = self.dense(node.operands[0]);
        let (shape, result) = (self.shape(node.operands[0]), self.shape(node.results[0]));
        let (low, interior) = (node.attributes.sizes("low"), node.attributes.sizes("interior"));
        let value = node.attributes.float("value");
        let to = self.output(node.results[0]);
        let element = self.buffers[to].element;
        self.emit([from], [to], move |a| match element {
            Element::F32 | Element::Bf16 => {
                copy::pad(a.read::<f32>(0), &shape, &low, &interior, value as f32, a.write(0), &result)
            }
            Element::I32 => copy::pad(a.read::<i32>(0), &shape, &low, &interior, value as i32, a.write(0), &result),
            Element::U8 => copy::pad(a.read::<u8>(0), &shape, &low, &interior, value as u8, a.write(0), &result),
            Element::Bool => {
                copy::pad(a.read::<u8>(0), &shape, &low, &interior, u8::from(value != 0.0), a.write(0), &result);
            }
        });
    }

    pub(super) fn rng_uniform(&mut self, node: &Node) {
        let key = self.dense(node.operands[0]);
        let stream = node.attributes.int("stream") as u32;
        let to = self.output(node.results[0]);
        self.emit([key], [to], move |a| {
            let key = a.read::<i32>(0);
            random::uniform([key[0], key[1], key[2]], stream, a.write(0));
        });
    }
}

impl Joining for Lowering<'_> {
    fn place(&mut self, value: Value) -> Place {
        self.place(value)
    }

    fn dense(&mut self, value: Value) -> BufferId {
        self.dense(value)
    }

    fn room(&mut self, join: Value) -> BufferId {
        self.buffer(self.graph.ty(join).elements(), self.elements[join.index()], Home::Arena)
    }

    fn copy(&mut self, from: BufferId, view: &View, to: BufferId, target: &View) {
        self.copy(from, view, to, target);
    }
}

/// The axes that two views of the same elements have in common.
struct Steps {
    sizes: Vec<usize>,
    from: Vec<usize>,
    to: Vec<usize>,
}

impl Steps {
    /// Axes `(size, stride)` of two views, cut where either is; `None` where the cuts do not fit each other, or the elements of the
    /// second lie nowhere beside each other.
    fn common(first: &[(usize, usize)], second: &[(usize, usize)]) -> Option<Steps> {
        let mut steps = Steps { sizes: vec![], from: vec![], to: vec![] };
        let (mut first, mut second) = (first.to_vec(), second.to_vec());
        while let (Some(a), Some(b)) = (first.last().copied(), second.last().copied()) {
            let size = a.0.min(b.0);
            if size == 0 || a.0 % size != 0 || b.0 % size != 0 {
                return None;
            }
            steps.sizes.push(size);
            steps.from.push(a.1);
            steps.to.push(b.1);
            for (all, (whole, stride)) in [(&mut first, a), (&mut second, b)] {
                all.pop();
                if whole > size {
                    all.push((whole / size, stride * size));
                }
            }
        }
        let beside = steps.sizes.iter().zip(&steps.to).any(|(&size, &to)| to == 1 && size > 1);
        let whole = first.iter().chain(&second).all(|(size, _)| *size == 1);
        for all in [&mut steps.sizes, &mut steps.from, &mut steps.to] {
            all.reverse();
        }
        (beside && whole).then_some(steps)
    }
}

fn copy_one<'a, T: Copy>(from: &'a [T], to: &'a mut [T]) -> impl FnMut((usize, usize)) + 'a {
    move |(source, target)| to[target] = from[source]
}
