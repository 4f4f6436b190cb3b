//! scaled_dot_product_attention and its adjoint, on matrices wherever they stand: heads within tokens, q, k and v side by side.

use std::sync::Arc;

use fer_cpu_kernels::{
    attention::{self, BiasGradient, Gradients, Heads, HeadsMut, Shape},
    elementwise::Element,
    numbers::Numbers,
};
use fer_graph::{Node, Value};
use fer_plan::{MatrixMap, View};

use super::{Lowering, Place};
use crate::step::{Access, BufferId, Home};

/// Matrices in a buffer, owned by a step.
#[derive(Clone)]
struct Matrices {
    buffer: BufferId,
    starts: Arc<[u32]>,
    stride: usize,
}

impl Matrices {
    /// Those of a view of a buffer, if the kernels can count as far as where they begin.
    fn at(buffer: BufferId, map: MatrixMap) -> Option<Matrices> {
        let starts: Option<Arc<[u32]>> = map.starts.into_iter().map(|start| u32::try_from(start).ok()).collect();
        Some(Matrices { buffer, starts: starts?, stride: map.stride })
    }

    fn heads<'a>(&'a self, data: Numbers<'a>) -> Heads<'a> {
        Heads { data, starts: &self.starts, stride: self.stride }
    }

    fn heads_mut(&self, access: &Access<'_>, i: usize) -> HeadsMut<'_> {
        let (data, len, element) = access.write_raw(i);
        // SAFETY: the buffer is the step's to write, and no two results have a place in common.
        unsafe {
            match element {
                Element::Bf16 => HeadsMut::from_raw_bf16(data.cast(), len, &self.starts, self.stride),
                _ => HeadsMut::from_raw(data.cast(), len, &self.starts, self.stride),
            }
        }
    }
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, node: &Node) {
        let (shape, scale) = (self.attention_shape(node), node.attributes.float("scale") as f32);
        let inputs = self.attention_inputs(node);
        let out = self.result_matrices(node.results[0], shape.count);
        let (isa, factors) = (self.isa(), self.options.factors);
        let reads: Vec<BufferId> = inputs.iter().map(|m| m.buffer).collect();
        self.emit(reads, [out.buffer], move |a| {
            let bias = inputs.get(3).map(|m| m.heads(a.numbers(3)));
            let [q, k, v] = [0, 1, 2].map(|i| inputs[i].heads(a.numbers(i)));
            attention::forward(isa, factors, shape, scale, q, k, v, bias, out.heads_mut(a, 0));
        });
    }

    pub(super) fn attention_vjp(&mut self, node: &Node) {
        let (shape, scale) = (self.attention_shape(node), node.attributes.float("scale") as f32);
        let forward = node.operands.len() - 1;
        let mut inputs = self.attention_inputs(node);
        let cotangent = self.matrices(node.operands[forward], shape.count);
        let (isa, factors) = (self.isa(), self.options.factors);
        let mut results: [Option<(usize, Matrices)>; 4] = [None, None, None, None];
        let mut writes = vec![];
        for (&result, operand) in node.results.iter().zip(node.attributes.sizes("wrt")) {
            let matrices = match operand {
                3 => {
                    let buffer = self.output(result);
                    let view = View::dense(self.graph.shape(result));
                    self.bias_matrices(buffer, &view, node).expect("a dense bias broadcasts")
                }
                _ => self.result_matrices(result, shape.count),
            };
            results[operand] = Some((writes.len(), matrices.clone()));
            writes.push(matrices.buffer);
        }
        let mut reads: Vec<BufferId> = inputs.iter().map(|m| m.buffer).collect();
        reads.push(cotangent.buffer);
        inputs.push(cotangent);
        self.emit(reads, writes, move |a| {
            let bias = (forward > 3).then(|| inputs[3].heads(a.numbers(3)));
            let [q, k, v] = [0, 1, 2].map(|i| inputs[i].heads(a.numbers(i)));
            let given = inputs[forward].heads(a.numbers(forward));
            let [dq, dk, dv] = [0, 1, 2].map(|i| results[i].as_ref().map(|(at, m)| m.heads_mut(a, *at)));
            let bias_gradient = results[3].as_ref().map(|(at, m)| BiasGradient {
                data: a.write(*at),
                starts: &m.starts,
                stride: m.stride,
            });
            let gradients = Gradients { q: dq, k: dk, v: dv, bias: bias_gradient };
            attention::backward(isa, factors, shape, scale, q, k, v, bias, given, gradients);
        });
    }

    fn attention_shape(&self, node: &Node) -> Shape {
        let sizes = |i: usize| {
            let shape = self.graph.shape(node.operands[i]);
            (shape[shape.len() - 2], shape[shape.len() - 1], shape[..shape.len() - 2].iter().product::<usize>())
        };
        let ((queries, width, count), (keys, value_width, _)) = (sizes(0), sizes(2));
        Shape { count, queries, keys, width, value_width }
    }

    /// q, k, v and, where there is one, the bias.
    fn attention_inputs(&mut self, node: &Node) -> Vec<Matrices> {
        let count = self.attention_shape(node).count;
        let mut inputs: Vec<Matrices> = node.operands[..3].iter().map(|&v| self.matrices(v, count)).collect();
        let cotangents = usize::from(node.op.adjoint);
        if node.operands.len() - cotangents > 3 {
            let bias = node.operands[3];
            let seen = match self.place(bias) {
                Place::At { buffer, view } => self.bias_matrices(buffer, &view, node),
                Place::Splat(_) => None,
            };
            inputs.push(match seen {
                Some(matrices) => matrices,
                None => {
                    let (buffer, view) = (self.dense(bias), View::dense(self.graph.shape(bias)));
                    self.bias_matrices(buffer, &view, node).expect("a dense bias broadcasts")
                }
            });
        }
        inputs
    }

    /// Where the matrices of a value stand, copied if they are not such.
    fn matrices(&mut self, value: Value, count: usize) -> Matrices {
        if let Place::At { buffer, view } = self.place(value)
            && let Some(matrices) = seen(buffer, &view, count)
        {
            return matrices;
        }
        let view = View::dense(self.graph.shape(value));
        seen(self.dense(value), &view, count).expect("dense matrices stand one behind the other")
    }

    /// A bias broadcast to the scores.
    fn bias_matrices(&self, buffer: BufferId, view: &View, node: &Node) -> Option<Matrices> {
        Matrices::at(buffer, MatrixMap::of_bias(self.graph, node, view)?)
    }

    /// Where a result is written: where it will be joined with others, or with the heads of each row side by side, since that is how
    /// the next layer wants them.
    fn result_matrices(&mut self, value: Value, count: usize) -> Matrices {
        if let Some((buffer, view)) = self.targets.get(&value).cloned()
            && let Some(matrices) = seen(buffer, &view, count)
        {
            self.places[value.index()] = Some(Place::At { buffer, view });
            return matrices;
        }
        let shape = self.shape(value);
        let buffer = self.buffer(shape.iter().product(), self.elements[value.index()], Home::Arena);
        let view = View::heads_within_rows(&shape);
        let matrices = seen(buffer, &view, count).expect("rows of one matrix are equally far apart");
        self.places[value.index()] = Some(Place::At { buffer, view });
        matrices
    }
}

/// The matrices of a view, if the kernels can walk through them.
fn seen(buffer: BufferId, view: &View, count: usize) -> Option<Matrices> {
    Matrices::at(buffer, view.matrices(count)?)
}
