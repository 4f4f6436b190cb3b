//! scaled_dot_product_attention and its adjoint, on matrices wherever they stand: heads within tokens, q, k and v side by side.

mod matrices;
mod runs;
mod tile;

use fer_graph::{Node, Value};
use fer_plan::View;

use self::{
    matrices::Matrices,
    runs::Runs,
    tile::{BIAS_ROW, Tile, WINDOW, backward_tiles, blocks, forward_tiles, has_room, is_window, sums_row},
};
use super::{Lowering, Place, call::Kernel, factor::Factor};
use crate::{Element, Precision, kernels::Family, plan::BufferId};

#[derive(Clone, Copy)]
struct Shape {
    count: usize,
    queries: usize,
    keys: usize,
    width: usize,
    value_width: usize,
}

/// What makes an attention and its adjoint ones of the same scores: its operands and its scale.
pub(super) type Key = (Vec<Value>, u64);

fn key(node: &Node) -> Key {
    let own = node.operands.len() - usize::from(node.op.adjoint);
    (node.operands[..own].to_vec(), node.attributes.float("scale").to_bits())
}

/// What both directions read.
struct Inputs {
    shape: Shape,
    scale: f32,
    /// q, k, v.
    factors: [Matrices; 3],
    bias: Option<Matrices>,
}

/// Rows and columns of a block in f32.
const EXACT: usize = 64;

impl Lowering<'_> {
    pub(super) fn attention(&mut self, node: &Node) {
        let inputs = self.attention_inputs(node);
        let shape = inputs.shape;
        let out = self.result_matrices(node.results[0], shape.count);
        if shape.count * shape.queries == 0 {
            return;
        }
        let (bias, element) = (self.bias_c(&inputs), self.c(out.buffer));
        let Some(factor) = self.on_tensor_cores(&inputs, &[&out]) else {
            let [q, k, v] = self.factors_c(&inputs);
            let grid = [shape.count * shape.queries.div_ceil(EXACT), shape.value_width.div_ceil(EXACT), 1];
            let kernel =
                self.kernel(Family::Attention, "EXACT_ATTENTION_FORWARD", &[q, k, v, bias, element]).grid(grid, 256);
            let kernel = self.give_inputs(kernel, &inputs, &[&out]);
            let kernel = self.give(kernel, Some(&out), true);
            self.launch(kernel);
            return;
        };
        let states =
            self.is_differentiated(node, shape).then(|| self.scratch(2 * shape.count * shape.queries, Element::F32));
        if let Some(states) = states {
            self.states.insert(key(node), (states, node.results[0]));
        }
        let tile = Tile::of(shape, factor, forward_tiles);
        let (blocks, warps) = blocks(shape.queries, shape.keys);
        let one = shape.keys <= WINDOW;
        let runs = inputs.bias.as_ref().filter(|_| one && blocks == 1).map(|b| Runs::of(&b.starts, 1));
        let biases = if inputs.bias.is_some() { (16 * warps).min(shape.queries) * BIAS_ROW } else { 0 };
        let [depth, parts] = tile.arguments();
        let [one, keep] = [one, states.is_some()].map(|holds| if holds { "true" } else { "false" });
        let most = if warps <= 4 { "4" } else { "7" };
        let kernel = self
            .kernel(
                Family::Attention,
                "ATTENTION_FORWARD",
                &[factor.c(), bias, element, &depth, &parts, one, most, keep],
            )
            .grid([runs.as_ref().map_or(shape.count * blocks, Runs::count), 1, 1], 32 * warps)
            .shared(4 * (tile.forward() + biases));
        let kernel = self.give_inputs(kernel, &inputs, &[&out]);
        let kernel = self.give(kernel, Some(&out), true);
        let kernel = self.give_runs(kernel, runs.as_ref()).write_if(states);
        self.launch(kernel);
    }

    /// Whether the gradients of the same attention follow, in passes that each want the logarithms of the rows' sums.
    fn is_differentiated(&self, node: &Node, shape: Shape) -> bool {
        let graph = self.graph;
        let same = |&n: &usize| {
            let other = &graph.nodes[n];
            other.op.adjoint && other.op.def.name == node.op.def.name && key(other) == key(node)
        };
        !is_window(shape) && self.uses.readers[node.operands[0].index()].iter().any(same)
    }

    pub(super) fn attention_vjp(&mut self, node: &Node) {
        let inputs = self.attention_inputs(node);
        let shape = inputs.shape;
        let given = self.matrices(node.operands[node.operands.len() - 1], shape.count);
        let mut results: [Option<Matrices>; 3] = [None, None, None];
        let mut bias = None;
        for (&result, operand) in node.results.iter().zip(node.attributes.sizes("wrt")) {
            match operand {
                3 => {
                    let buffer = self.output(result);
                    let view = View::dense(self.graph.shape(result));
                    bias = Some(self.bias_matrices(buffer, &view, node).expect("a dense bias broadcasts"));
                }
                _ => results[operand] = Some(self.result_matrices(result, shape.count)),
            }
        }
        if shape.count * shape.queries == 0 {
            return;
        }
        let mut all: Vec<&Matrices> = vec![&given];
        all.extend(results.iter().flatten());
        let tensor = self.on_tensor_cores(&inputs, &all);
        let tiles = shape.queries.div_ceil(EXACT) * shape.keys.div_ceil(EXACT);
        let runs = bias.as_ref().map(|bias| Runs::of(&bias.starts, tiles));
        let area = shape.queries * shape.keys;
        let sums = runs.as_ref().map(|runs| self.scratch(runs.count() * area, Element::F32));
        let summed = runs.as_ref().zip(sums);
        if let Some(factor) = tensor.filter(|_| is_window(shape)) {
            self.window_gradients(&inputs, factor, &given, &results, summed);
        } else {
            let known = self.states.get(&key(node)).copied().filter(|_| tensor.is_some());
            let known = known.map(|(states, result)| (states, self.matrices(result, shape.count)));
            let known = known.filter(|(_, result)| self.on_tensor_cores(&inputs, &[result]).is_some());
            let states = match &known {
                Some((states, _)) => *states,
                None => self.scratch(2 * shape.count * shape.queries, Element::F32),
            };
            if let Some(factor) = tensor {
                self.long_gradients(&inputs, factor, &given, known.as_ref().map(|k| &k.1), &results, states);
            } else {
                self.exact_gradients(&inputs, &given, &results, states, summed.filter(|_| tiles == 1));
            }
            if let Some((runs, sums)) = summed.filter(|_| tensor.is_some() || tiles > 1) {
                self.bias_sums(&inputs, &given, states, runs, sums);
            }
        }
        if let (Some(bias), Some(runs), Some(sums)) = (bias, runs, sums) {
            let (members, groups) = (self.table(&runs.members), self.table(&runs.groups));
            let blocks = runs.starts.len() * area.div_ceil(32);
            let element = self.c(bias.buffer);
            let kernel = self
                .kernel(Family::Attention, "ATTENTION_ADD_RUNS", &[element])
                .grid([blocks, 1, 1], 256)
                .read(sums)
                .read(members)
                .read(groups);
            let sum = Matrices { starts: runs.starts, ..bias };
            let kernel = self.give(kernel, Some(&sum), true).int(shape.keys).int(area);
            self.launch(kernel);
        }
    }

    /// All gradients of small windows, which are read once.
    fn window_gradients(
        &mut self,
        inputs: &Inputs,
        factor: Factor,
        given: &Matrices,
        results: &[Option<Matrices>; 3],
        runs: Option<(&Runs, BufferId)>,
    ) {
        let shape = inputs.shape;
        let tile = Tile::of(shape, factor, backward_tiles);
        let biases = if inputs.bias.is_some() { shape.queries * BIAS_ROW } else { 0 };
        let sums = if runs.is_some() { shape.queries * sums_row(shape.keys) } else { 0 };
        let words = 2 * WINDOW + tile.query_pass().max(tile.key_pass()) + biases + sums;
        let [dq, dk, dv] = results.each_ref().map(|m| self.c_of(m.as_ref()));
        let (bias, element) = (self.bias_c(inputs), self.c(given.buffer));
        let blocks = runs.map_or(shape.count, |(runs, _)| runs.count());
        let threads = 32 * shape.queries.max(shape.keys).div_ceil(16);
        let [depth, parts] = tile.arguments();
        let arguments = [factor.c(), bias, element, dq, dk, dv, &depth, &parts];
        let kernel = self
            .kernel(Family::Attention, "ATTENTION_WINDOW_BACKWARD", &arguments)
            .grid([blocks, 1, 1], threads)
            .shared(4 * words);
        let kernel = self.give_inputs(kernel, inputs, &[given]);
        let mut kernel = self.give(kernel, Some(given), false);
        for result in results {
            kernel = self.give(kernel, result.as_ref(), true);
        }
        let kernel = self.give_runs(kernel, runs.map(|(runs, _)| runs)).write_if(runs.map(|(_, sums)| sums));
        self.launch(kernel);
    }

    /// The gradients on tensor cores, over blocks of queries and then over blocks of keys. With the result, the states have the logarithms
    /// of its sums.
    fn long_gradients(
        &mut self,
        inputs: &Inputs,
        factor: Factor,
        given: &Matrices,
        result: Option<&Matrices>,
        results: &[Option<Matrices>; 3],
        states: BufferId,
    ) {
        let shape = inputs.shape;
        let (tile, biased) = (Tile::of(shape, factor, backward_tiles), usize::from(inputs.bias.is_some()));
        let [depth, parts] = tile.arguments();
        let [dq, dk, dv] = results.each_ref().map(|m| self.c_of(m.as_ref()));
        let (bias, element) = (self.bias_c(inputs), self.c(given.buffer));
        let out = result.map_or("None", |m| self.c(m.buffer));
        let (blocks_down, warps) = blocks(shape.queries, shape.keys);
        let biases = biased * (16 * warps).min(shape.queries) * BIAS_ROW;
        let kernel = self
            .kernel(
                Family::Attention,
                "ATTENTION_QUERY_GRADIENT",
                &[factor.c(), bias, element, out, dq, &depth, &parts],
            )
            .grid([shape.count * blocks_down, 1, 1], 32 * warps)
            .shared(4 * (tile.query_pass() + biases));
        let kernel = self.give_inputs(kernel, inputs, &[given]);
        let kernel = self.give(kernel, Some(given), false);
        let kernel = self.give(kernel, result, false);
        let kernel = self.give(kernel, results[0].as_ref(), true);
        let kernel = if result.is_some() { kernel.update(states) } else { kernel.write(states) };
        self.launch(kernel);
        if results[1].is_none() && results[2].is_none() {
            return;
        }
        let (blocks_across, warps) = blocks(shape.keys, shape.queries);
        let biases = biased * 32 * (16 * warps + 8);
        let kernel = self
            .kernel(Family::Attention, "ATTENTION_KEY_GRADIENT", &[factor.c(), bias, element, dk, dv, &depth])
            .grid([shape.count * blocks_across, 1, 1], 32 * warps)
            .shared(4 * (tile.key_pass() + biases));
        let kernel = self.give_inputs(kernel, inputs, &[given]);
        let kernel = self.give(kernel, Some(given), false);
        let kernel = self.give(kernel, results[1].as_ref(), true);
        let kernel = self.give(kernel, results[2].as_ref(), true).read(states);
        self.launch(kernel);
    }

    /// The same in f32.
    fn exact_gradients(
        &mut self,
        inputs: &Inputs,
        given: &Matrices,
        results: &[Option<Matrices>; 3],
        states: BufferId,
        runs: Option<(&Runs, BufferId)>,
    ) {
        let shape = inputs.shape;
        let [q, k, v] = self.factors_c(inputs);
        let [dq, dk, dv] = results.each_ref().map(|m| self.c_of(m.as_ref()));
        let (bias, element) = (self.bias_c(inputs), self.c(given.buffer));
        let all: Vec<&Matrices> = std::iter::once(given).chain(results.iter().flatten()).collect();
        // Without a wanted dq the first column of blocks leaves the states.
        let columns = if results[0].is_some() { shape.width.div_ceil(EXACT) } else { 1 };
        let rows = runs.map_or(shape.count * shape.queries.div_ceil(EXACT), |(runs, _)| runs.count());
        let kernel = self
            .kernel(Family::Attention, "EXACT_ATTENTION_QUERY_GRADIENT", &[q, k, v, bias, element, dq])
            .grid([rows, columns, 1], 256);
        let kernel = self.give_inputs(kernel, inputs, &all);
        let kernel = self.give(kernel, Some(given), false);
        let kernel = self.give(kernel, results[0].as_ref(), true).write(states);
        let kernel = self.give_runs(kernel, runs.map(|(runs, _)| runs)).write_if(runs.map(|(_, sums)| sums));
        self.launch(kernel);
        if results[1].is_none() && results[2].is_none() {
            return;
        }
        let columns = shape.width.max(shape.value_width).div_ceil(EXACT);
        let kernel = self
            .kernel(Family::Attention, "EXACT_ATTENTION_KEY_GRADIENT", &[q, k, v, bias, element, dk, dv])
            .grid([shape.count * shape.keys.div_ceil(EXACT), columns, 1], 256);
        let kernel = self.give_inputs(kernel, inputs, &all);
        let kernel = self.give(kernel, Some(given), false);
        let kernel = self.give(kernel, results[1].as_ref(), true);
        let kernel = self.give(kernel, results[2].as_ref(), true).read(states);
        self.launch(kernel);
    }

    /// The sums of the scores' cotangents over runs, where windows are too large to leave them.
    fn bias_sums(&mut self, inputs: &Inputs, given: &Matrices, states: BufferId, runs: &Runs, sums: BufferId) {
        let shape = inputs.shape;
        let [q, k, v] = self.factors_c(inputs);
        let (bias, element) = (self.bias_c(inputs), self.c(given.buffer));
        let tiles = shape.queries.div_ceil(EXACT) * shape.keys.div_ceil(EXACT);
        let kernel = self
            .kernel(Family::Attention, "ATTENTION_BIAS_GRADIENT", &[q, k, v, bias, element])
            .grid([runs.count() * tiles, 1, 1], 256);
        let kernel = self.give_inputs(kernel, inputs, &[given]);
        let kernel = self.give(kernel, Some(given), false).read(states);
        let kernel = self.give_runs(kernel, Some(runs)).write(sums);
        self.launch(kernel);
    }

    /// What factors are rounded to by the kernels that multiply on tensor cores, where they take these: bf16 as it is, and in `Tf32` f32;
    /// everything at multiples of eight elements, and within a matrix they count in 32 bits.
    fn on_tensor_cores(&self, inputs: &Inputs, others: &[&Matrices]) -> Option<Factor> {
        let Shape { queries, keys, width, value_width, .. } = inputs.shape;
        let factor = match self.options.precision {
            Precision::Tf32 if inputs.factors.iter().all(|m| self.element(m.buffer) == Element::F32) => Factor::Tf32,
            _ => Factor::Bf16,
        };
        let all = || inputs.factors.iter().chain(others.iter().copied());
        let takes = inputs.factors.iter().all(|m| self.element(m.buffer) == factor.stored())
            && has_room(inputs.shape, factor)
            && [width, value_width].iter().all(|w| w.is_multiple_of(8))
            && all().all(|m| m.aligned(8))
            && all().chain(&inputs.bias).all(|m| queries.max(keys).saturating_mul(m.stride) < 1 << 31);
        takes.then_some(factor)
    }

    /// q, k, v, bias, sizes and scale, as all kernels take them.
    fn give_inputs(&mut self, mut kernel: Kernel, inputs: &Inputs, others: &[&Matrices]) -> Kernel {
        for m in &inputs.factors {
            kernel = self.give(kernel, Some(m), false);
        }
        kernel = self.give(kernel, inputs.bias.as_ref(), false);
        let Shape { queries, keys, width, value_width, .. } = inputs.shape;
        let aligned = inputs.factors.iter().chain(others.iter().copied()).all(|m| m.aligned(4));
        let sizes = [queries, keys, width, value_width, usize::from(aligned)];
        kernel.words(sizes.map(|n| u32::try_from(n).expect("matrices' sizes fit 31 bits")).into()).float(inputs.scale)
    }

    /// Matrices as kernels take them: a pointer, a table and a stride; null where there are none.
    fn give(&mut self, kernel: Kernel, matrices: Option<&Matrices>, written: bool) -> Kernel {
        let Some(m) = matrices else { return kernel.null().null().int(0) };
        let bytes = m.offset * self.element(m.buffer).bytes();
        let kernel = if written { kernel.write_at(m.buffer, bytes) } else { kernel.read_at(m.buffer, bytes) };
        kernel.read(self.table(&m.starts)).int(m.stride)
    }

    /// The order of matrices and where runs begin.
    fn give_runs(&mut self, kernel: Kernel, runs: Option<&Runs>) -> Kernel {
        let Some(runs) = runs else { return kernel.null().null() };
        kernel.read(self.table(&runs.order)).read(self.table(&runs.runs))
    }

    fn c_of(&self, matrices: Option<&Matrices>) -> &'static str {
        matrices.map_or("float", |m| self.c(m.buffer))
    }

    fn bias_c(&self, inputs: &Inputs) -> &'static str {
        inputs.bias.as_ref().map_or("None", |m| self.c(m.buffer))
    }

    fn factors_c(&self, inputs: &Inputs) -> [&'static str; 3] {
        inputs.factors.each_ref().map(|m| self.c(m.buffer))
    }

    fn attention_inputs(&mut self, node: &Node) -> Inputs {
        let sizes = |i: usize| {
            let shape = self.graph.shape(node.operands[i]);
            (shape[shape.len() - 2], shape[shape.len() - 1], shape[..shape.len() - 2].iter().product::<usize>())
        };
        let ((queries, width, count), (keys, value_width, _)) = (sizes(0), sizes(2));
        let shape = Shape { count, queries, keys, width, value_width };
        let factors = [0, 1, 2].map(|i| self.matrices(node.operands[i], count));
        let biased = node.operands.len() - usize::from(node.op.adjoint) > 3;
        let bias = biased.then(|| {
            let bias = node.operands[3];
            let seen = match self.place(bias) {
                Place::At { buffer, view } => self.bias_matrices(buffer, &view, node),
                Place::Splat(_) => None,
            };
            seen.unwrap_or_else(|| {
                let (buffer, view) = (self.dense(bias), View::dense(self.graph.shape(bias)));
                self.bias_matrices(buffer, &view, node).expect("a dense bias broadcasts")
            })
        });
        Inputs { shape, scale: node.attributes.float("scale") as f32, factors, bias }
    }
}
