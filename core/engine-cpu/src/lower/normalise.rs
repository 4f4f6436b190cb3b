//! layer_norm, softmax, batch_norm_training and l2_normalize, and their adjoints.

use fer_cpu_kernels::{batch_norm, l2_normalize, layer_norm, softmax};
use fer_graph::{Definition, Node, Value};

use super::Lowering;
use crate::step::{Access, BufferId};

/// Which written buffer holds the cotangent of each operand that one is wanted of.
type Wanted = Vec<Option<usize>>;

impl Lowering<'_> {
    /// Result buffers of an adjoint, by operand.
    fn wanted(&mut self, node: &Node) -> (Wanted, Vec<BufferId>) {
        let wrt = node.attributes.sizes("wrt");
        let mut at: Wanted = vec![None; node.operands.len()];
        let mut writes = vec![];
        for (&result, operand) in node.results.iter().zip(wrt) {
            at[operand] = Some(writes.len());
            writes.push(self.output(result));
        }
        (at, writes)
    }

    pub(super) fn layer_norm(&mut self, node: &Node, adjoint: bool) {
        let width = self.graph.shape(node.operands[1])[0];
        let rows = self.graph.ty(node.operands[0]).elements() / width;
        let (isa, size, epsilon) = (self.isa(), (rows, width), node.attributes.float("epsilon") as f32);
        let x = self.lines(node.operands[0]);
        let weight = self.dense(node.operands[1]);
        if !adjoint {
            let bias = self.dense(node.operands[2]);
            let y = self.output(node.results[0]);
            self.emit([x.buffer, weight, bias], [y], move |a| {
                let (from, rows) = x.rows();
                let data = &a.read(0)[from..];
                layer_norm::forward(isa, size, epsilon, data, rows, a.read(1), a.read(2), a.write_numbers(0));
            });
            return;
        }
        let g = self.lines(node.operands[3]);
        let mut reads = vec![x.buffer, weight, g.buffer];
        // What comes by the way around the norm is added to what comes through it.
        let first = node.results[0];
        let added = self.absorbing().and_then(|a| a.only_added(first)).filter(|_| node.attributes.ints("wrt")[0] == 0);
        let residual = match added.filter(|&(other, sum)| self.is_plain(other) && self.is_plain(sum)) {
            Some((other, sum)) => {
                let lines = self.lines(other);
                reads.push(lines.buffer);
                self.clusters.absorb(self.graph, sum);
                Some((lines, sum))
            }
            None => None,
        };
        let (wanted, mut writes) = self.wanted(node);
        if let Some((_, sum)) = &residual {
            writes[0] = self.output(*sum);
        }
        let residual = residual.map(|(lines, _)| lines);
        self.emit(reads, writes, move |a| {
            let ((x_from, x_rows), (g_from, g_rows)) = (x.rows(), g.rows());
            let (x, g) = (&a.read(0)[x_from..], a.numbers(2).from(g_from));
            let add = residual.as_ref().map(|lines| {
                let (from, rows) = lines.rows();
                (&a.read(3)[from..], rows)
            });
            let [dx, dw, db] = [0, 1, 2].map(|i| wanted[i].map(|at| a.write(at)));
            layer_norm::backward(isa, size, epsilon, x, x_rows, a.read(1), g, g_rows, add, dx, dw, db);
        });
    }

    /// Over the last axis, which `supports` has seen to.
    pub(super) fn softmax(&mut self, node: &Node, adjoint: bool) {
        let x = node.operands[0];
        let width = self.graph.shape(x).last().copied().unwrap_or(1);
        let (isa, size) = (self.isa(), (self.graph.ty(x).elements() / width, width));
        let logarithm = node.op.def.name == "log_softmax";
        let mut reads = vec![self.dense(x)];
        if adjoint {
            reads.push(self.dense(node.operands[1]));
        }
        let y = self.output(node.results[0]);
        self.emit(reads, [y], move |a| match (logarithm, adjoint) {
            (false, false) => softmax::softmax(isa, size, a.read(0), a.write(0)),
            (false, true) => softmax::softmax_grad(isa, size, a.read(0), a.read(1), a.write(0)),
            (true, false) => softmax::log_softmax(isa, size, a.read(0), a.write(0)),
            (true, true) => softmax::log_softmax_grad(isa, size, a.read(0), a.read(1), a.write(0)),
        });
    }

    fn planes(&self, x: Value) -> batch_norm::Shape {
        let shape = self.graph.shape(x);
        batch_norm::Shape { count: shape[0], channels: shape[1], plane: shape[2..].iter().product() }
    }

    /// The result, and the running statistics moved towards the batch's.
    pub(super) fn batch_norm(&mut self, node: &Node) {
        let shape = self.planes(node.operands[0]);
        let (epsilon, momentum) = (node.attributes.float("epsilon"), node.attributes.float("momentum"));
        let count = (shape.count * shape.plane) as f64;
        let unbiased = count / (count - 1.0);
        let isa = self.isa();
        let reads: Vec<BufferId> = node.operands.iter().map(|&o| self.dense(o)).collect();
        let mut writes: Vec<BufferId> = node.results.iter().map(|&r| self.output(r)).collect();
        let rectified = self.absorbing().and_then(|a| a.only_rectified(node.results[0]));
        if let Some((value, _)) = rectified {
            self.clusters.absorb(self.graph, value);
            writes[0] = self.output(value);
            // What is positive stays so, and nothing else becomes it: the adjoint may look at the result instead.
            self.set(node.results[0], writes[0]);
        }
        let slope = rectified.map(|(_, slope)| slope as f32);
        self.emit(reads, writes, move |a| {
            let [weight, bias, running_mean, running_var] = [1, 2, 3, 4].map(|i| a.read::<f32>(i));
            let (x, y, mean, variance) = (a.numbers(0), a.write_numbers(0), a.write(1), a.write(2));
            batch_norm::training(isa, shape, epsilon as f32, x, weight, bias, slope, y, mean, variance);
            mix(mean, running_mean, 1.0, momentum);
            mix(variance, running_var, unbiased, momentum);
        });
    }

    /// A rectifier behind the norm, and one before it, are gone back through on the way.
    pub(super) fn batch_norm_vjp(&mut self, node: &Node) {
        let (shape, isa) = (self.planes(node.operands[0]), self.isa());
        let epsilon = node.attributes.float("epsilon") as f32;
        let behind = match self.graph.definition(node.operands[5]) {
            Definition::Node(n, _) if self.merged.contains(&n) => Some(&self.graph.nodes[n]),
            _ => None,
        };
        let slope = behind.map(|n| n.attributes.float("negative_slope") as f32);
        let cotangent = behind.map_or(node.operands[5], |n| n.operands[1]);
        let [x, weight, bias] = [0, 1, 2].map(|i| node.operands[i]);
        let reads = [x, weight, bias, cotangent].map(|v| self.dense(v));
        let (wanted, mut writes) = self.wanted(node);
        let mut before = None;
        if let (Some(at), Some(first)) = (wanted[0], node.attributes.sizes("wrt").iter().position(|&o| o == 0))
            && let Some((result, slope)) = self.absorbing().and_then(|a| a.only_rectified_back(x, node.results[first]))
        {
            self.clusters.absorb(self.graph, result);
            writes[at] = self.output(result);
            before = Some(slope as f32);
        }
        self.emit(reads, writes, move |a: &Access<'_>| {
            let (x, weight, bias, g) = (a.numbers(0), a.read(1), a.read(2), a.numbers(3));
            let dx = wanted[0].map(|at| a.write_numbers(at));
            let [dw, db] = [1, 2].map(|i| wanted[i].map(|at| a.write(at)));
            batch_norm::backward(isa, shape, epsilon, x, weight, bias, g, slope, before, dx, dw, db);
        });
    }

    pub(super) fn l2_normalize(&mut self, node: &Node, adjoint: bool) {
        let shape = self.shape(node.operands[0]);
        let axis = node.attributes.int("axis") as usize;
        let sizes = [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()];
        let (isa, epsilon) = (self.isa(), node.attributes.float("epsilon") as f32);
        let mut reads = vec![self.dense(node.operands[0])];
        if adjoint {
            reads.push(self.dense(node.operands[1]));
        }
        let y = self.output(node.results[0]);
        self.emit(reads, [y], move |a| match adjoint {
            false => l2_normalize::l2_normalize(isa, sizes, epsilon, a.read(0), a.write(0)),
            true => l2_normalize::l2_normalize_grad(isa, sizes, epsilon, a.read(0), a.read(1), a.write(0)),
        });
    }
}

/// `new * factor * weight + old * (1 - weight)`, to where the new one stands.
fn mix(new: &mut [f32], old: &[f32], factor: f64, weight: f64) {
    for (new, &old) in new.iter_mut().zip(old) {
        *new = (f64::from(*new) * factor * weight + f64::from(old) * (1.0 - weight)) as f32;
    }
}
