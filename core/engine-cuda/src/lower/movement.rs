//! Views, joins, padding and random numbers.

use fer_graph::{Definition, Node, Value};
use fer_plan::{View, follow, is_view};

use super::{Lowering, Place};
use crate::{
    kernels::Family,
    plan::{BufferId, Home},
};

impl Lowering<'_> {
    /// Where the result of a view stands: where its operand does.
    pub(super) fn seen(&mut self, index: usize) -> Place {
        let node = &self.graph.nodes[index];
        let shape = self.shape(node.results[0]);
        if node.op.is("concatenate") {
            return self.joined(index);
        }
        let (buffer, view) = match self.place(node.operands[0]) {
            Place::Splat(number) => return Place::Splat(number),
            Place::At { buffer, view } => (buffer, view),
        };
        match follow(node, &view, &shape) {
            Some(view) => Place::At { buffer, view },
            // Too many pieces to follow: a copy is cheaper.
            None => {
                let buffer = self.dense(node.operands[0]);
                let view = View::dense(&self.shape(node.operands[0]));
                let view = follow(node, &view, &shape).expect("a dense value can be seen in any way");
                Place::At { buffer, view }
            }
        }
    }

    /// Where joined values stand: in the memory of the one value that all are parts of, or in one that they are written to.
    fn joined(&mut self, index: usize) -> Place {
        let node = &self.graph.nodes[index];
        let value = node.results[0];
        let axis = node.attributes.int("axis") as usize;
        if let Some((buffer, view)) = self.targets.get(&value).cloned() {
            self.write_parts(index, buffer, &view);
            return Place::At { buffer, view };
        }
        let places: Vec<Place> = node.operands.iter().map(|&o| self.place(o)).collect();
        let one = match &places[0] {
            Place::At { buffer, .. } => Some(*buffer),
            Place::Splat(_) => None,
        };
        let views: Option<Vec<View>> = places
            .into_iter()
            .map(|place| match place {
                Place::At { buffer, view } if Some(buffer) == one => Some(view),
                _ => None,
            })
            .collect();
        if let (Some(buffer), Some(views)) = (one, views)
            && let Some(view) = View::concatenate(&views, axis)
        {
            return Place::At { buffer, view };
        }
        let ty = self.graph.ty(value);
        let view = View::dense(&ty.shape);
        let buffer = self.buffer(ty.elements(), self.stored[value.index()], Home::Arena);
        self.write_parts(index, buffer, &view);
        Place::At { buffer, view }
    }

    /// Copies those parts of a join that were not written to their place already.
    fn write_parts(&mut self, index: usize, buffer: BufferId, view: &View) {
        let node = &self.graph.nodes[index];
        let label = self.label.clone();
        self.label.op = "concatenate".into();
        for (part, operand) in self.parts(node, view).into_iter().zip(node.operands.clone()) {
            let there = match self.place(operand) {
                Place::At { buffer: from, view } => from == buffer && view.sees_as(&part),
                Place::Splat(_) => false,
            };
            if !there {
                let (from, view) = match self.place(operand) {
                    Place::At { buffer, view } => (buffer, view),
                    Place::Splat(_) => (self.dense(operand), View::dense(&self.shape(operand))),
                };
                self.copy(from, &view, buffer, &part);
            }
        }
        self.label = label;
    }

    /// The parts of a join within its view.
    fn parts(&self, node: &Node, view: &View) -> Vec<View> {
        let axis = node.attributes.int("axis") as usize;
        let shape = view.shape().to_vec();
        let mut at = 0;
        let mut parts = vec![];
        for &operand in &node.operands {
            let (mut start, mut limit) = (vec![0; shape.len()], shape.clone());
            start[axis] = at;
            at += self.graph.shape(operand)[axis];
            limit[axis] = at;
            parts.push(view.slice(&start, &limit, &vec![1; shape.len()]).expect("a part of a dense value can be said"));
        }
        parts
    }

    /// Decides which values are written where they will be joined: those that nobody else reads.
    pub(super) fn join(&mut self) {
        if self.options.is_off("concatenate") {
            return;
        }
        for index in (0..self.graph.nodes.len()).rev() {
            let node = &self.graph.nodes[index];
            if !node.op.is("concatenate") {
                continue;
            }
            let sources: Vec<Value> = node.operands.iter().flat_map(|&o| fer_plan::sources(self.graph, o)).collect();
            if sources.iter().all(|s| *s == sources[0]) {
                continue;
            }
            let value = node.results[0];
            let ty = self.graph.ty(value);
            let (buffer, view) = match self.targets.get(&value) {
                Some(outer) => outer.clone(),
                None => (self.buffer(ty.elements(), self.stored[value.index()], Home::Arena), View::dense(&ty.shape)),
            };
            for (part, &operand) in self.parts(node, &view).into_iter().zip(&node.operands) {
                self.aim(operand, index, buffer, part);
            }
            self.targets.insert(value, (buffer, view));
        }
    }

    /// Lets a value be written through `view`, if only the join `index` sees it.
    fn aim(&mut self, mut value: Value, index: usize, buffer: BufferId, mut view: View) {
        loop {
            if self.sees(value) != 1 || self.targets.contains_key(&value) {
                return;
            }
            let Definition::Node(n, _) = self.graph.definition(value) else { return };
            let node = &self.graph.nodes[n];
            if n == index || !is_view(node) {
                break;
            }
            let shape = self.graph.shape(node.operands[0]);
            view = match node.op.def.name {
                "reshape" => view.reshape(shape),
                "stop_gradient" => view,
                "transpose" => {
                    let permutation = node.attributes.sizes("permutation");
                    let mut inverse = vec![0; permutation.len()];
                    for (i, &a) in permutation.iter().enumerate() {
                        inverse[a] = i;
                    }
                    match view.transpose(&inverse) {
                        Some(view) => view,
                        None => return,
                    }
                }
                _ => return,
            };
            value = node.operands[0];
        }
        self.targets.insert(value, (buffer, view));
    }

    /// How many nodes have the value as an operand, outputs and updates counted.
    fn sees(&self, value: Value) -> usize {
        let nodes = self.graph.nodes.iter().flat_map(|n| &n.operands).filter(|&&o| o == value).count();
        let leaving = self.graph.outputs.iter().chain(&self.graph.updates).filter(|(_, v)| *v == value).count();
        nodes + leaving
    }

    pub(super) fn pad(&mut self, node: &Node) {
        let from = self.dense(node.operands[0]);
        let (shape, result) = (self.shape(node.operands[0]), self.shape(node.results[0]));
        let (low, interior) = (node.attributes.sizes("low"), node.attributes.sizes("interior"));
        let value = node.attributes.float("value");
        let element = self.element(from);
        let to = self.output_as(node.results[0], element);
        // Eight axes, the outer ones of size 1.
        let words = |list: Vec<usize>, missing: u32| {
            let filled = vec![missing; 8 - list.len()];
            filled.into_iter().chain(list.into_iter().map(|n| n as u32)).collect::<Vec<u32>>()
        };
        let steps = interior.iter().map(|i| i + 1).collect();
        let axes = [words(result.clone(), 1), words(shape, 1), words(low, 0), words(steps, 1)].concat();
        let count: usize = result.iter().product();
        let kernel = self.kernel(Family::Move, "PAD", &[element.c()]).each(count, 256);
        self.launch(kernel.read(from).write(to).words(axes).float(value as f32).long(count));
    }

    pub(super) fn rng_uniform(&mut self, node: &Node) {
        let key = self.dense(node.operands[0]);
        let stream = node.attributes.int("stream") as i32;
        let to = self.output(node.results[0]);
        let count = self.buffers[to].elements;
        let kernel = self.kernel(Family::Move, "RNG_UNIFORM", &[self.c(to)]).each(count.div_ceil(4), 256);
        self.launch(kernel.read(key).write(to).signed(stream).long(count));
    }
}
