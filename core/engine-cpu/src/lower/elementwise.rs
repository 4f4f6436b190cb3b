//! Clusters of elementwise operations as programs over rows.

use std::sync::Arc;

use fer_cpu_kernels::elementwise::{
    self, Binary, Comparison, Element, Operand, Operation, Program, Register, Starts, Unary,
};
use fer_graph::{DType, Node, Value};
use fer_plan::{RowMap, Starts as MapStarts, View, root};

use super::{Lowering, Place};
use crate::step::{Access, BufferId, Home};

/// A cluster's operations, before it is known how its rows are cut.
pub(super) struct Draft {
    operations: Vec<Operation>,
    /// What each input of the program is: its place, and the number of elements seen through it.
    inputs: Vec<(BufferId, View)>,
    /// Registers that are written out, with the values that they become.
    outputs: Vec<(Register, Value)>,
    elements: usize,
}

/// Rows of a buffer, owned by a step.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    starts: LineStarts,
    step: usize,
}

#[derive(Clone, Debug)]
enum LineStarts {
    Every { offset: usize, stride: usize },
    At(Arc<[u32]>),
}

impl Lines {
    pub(super) fn of(map: RowMap) -> Lines {
        let starts = match map.starts {
            MapStarts::Every { offset, stride, .. } => LineStarts::Every { offset, stride },
            MapStarts::At(starts) => LineStarts::At(starts),
        };
        Lines { starts, step: map.step }
    }

    /// The same rows in another order.
    fn ordered(&self, order: &[u32]) -> Lines {
        let at = |row: u32| match &self.starts {
            LineStarts::Every { offset, stride } => (offset + row as usize * stride) as u32,
            LineStarts::At(starts) => starts[row as usize],
        };
        Lines { starts: LineStarts::At(order.iter().map(|&row| at(row)).collect()), step: self.step }
    }

    fn operand(&self, memory: (*mut u8, usize, Element)) -> Operand<'_> {
        let (data, len, element) = memory;
        let starts = match &self.starts {
            LineStarts::Every { offset, stride } => Starts::Every { offset: *offset, stride: *stride },
            LineStarts::At(starts) => Starts::At(starts),
        };
        Operand { data, len, element, starts, step: self.step }
    }
}

/// A program with its rows: what a step runs, or what a product runs on its rows as they come.
pub(super) struct Rows {
    pub program: Program,
    pub width: usize,
    pub count: usize,
    /// Buffers and rows of the inputs. The input that a product hands over has none.
    pub inputs: Vec<(BufferId, Option<Lines>)>,
    pub outputs: Vec<(BufferId, Lines)>,
}

impl Rows {
    /// Operands for the kernel; `read` and `written` say where the buffers begin in the step's lists.
    pub(super) fn operands<'a>(
        &'a self,
        access: &Access<'_>,
        read: usize,
        written: usize,
    ) -> (Vec<Operand<'a>>, Vec<Operand<'a>>) {
        let nothing = Operand {
            data: std::ptr::null_mut(),
            len: 0,
            element: Element::F32,
            starts: Starts::Every { offset: 0, stride: 0 },
            step: 1,
        };
        let mut at = read;
        let inputs = self
            .inputs
            .iter()
            .map(|(_, lines)| match lines {
                Some(lines) => {
                    at += 1;
                    lines.operand(access.read_raw(at - 1))
                }
                None => nothing,
            })
            .collect();
        let outputs = self
            .outputs
            .iter()
            .enumerate()
            .map(|(i, (_, lines))| lines.operand(access.write_raw(written + i)))
            .collect();
        (inputs, outputs)
    }

    /// Rows that a product hands over, and nothing is done with yet.
    pub(super) fn handed(count: usize, width: usize) -> Rows {
        let program = Program::new(vec![Operation::Input(0)], vec![]);
        Rows { program, width, count, inputs: vec![(usize::MAX, None)], outputs: vec![] }
    }

    /// Writes an input out, too, as it is, to dense rows.
    pub(super) fn keep(&mut self, input: usize, to: BufferId) {
        let mut operations = self.program.operations().to_vec();
        let found = operations.iter().position(|operation| *operation == Operation::Input(input));
        let register = found.unwrap_or_else(|| {
            operations.push(Operation::Input(input));
            operations.len() - 1
        });
        let outputs = self.program.outputs().iter().copied().chain([register]).collect();
        self.program = Program::new(operations, outputs);
        let starts = LineStarts::Every { offset: 0, stride: self.width };
        self.outputs.push((to, Lines { starts, step: 1 }));
    }

    pub(super) fn reads(&self) -> Vec<BufferId> {
        self.inputs.iter().filter(|(_, lines)| lines.is_some()).map(|(b, _)| *b).collect()
    }

    pub(super) fn writes(&self) -> Vec<BufferId> {
        self.outputs.iter().map(|(b, _)| *b).collect()
    }
}

/// Rows of fewer elements cost more to find than to compute.
const NARROW: usize = 8;

impl Lowering<'_> {
    pub(super) fn cluster(&mut self, index: usize) {
        let nodes = self.clusters.clusters[index].nodes.clone();
        // A product may have taken it along, or a sum computes it by itself.
        let summed = |n: usize| self.squares.contains_key(&self.graph.nodes[n].results[0]);
        if nodes.is_empty() || matches!(nodes[..], [one] if summed(one)) {
            return;
        }
        self.name(&nodes);
        let draft = self.draft(&nodes, None);
        let rows = self.cut(draft, &nodes, None, None);
        self.emit_rows(rows);
        self.clusters.clusters[index].nodes.clear();
    }

    /// The label of several nodes.
    pub(super) fn name(&mut self, nodes: &[usize]) {
        let graph = self.graph;
        let list: Vec<String> = nodes.iter().map(|&n| graph.nodes[n].op.name()).collect();
        let last = &graph.nodes[nodes[nodes.len() - 1]];
        self.label.op = if let [one] = &list[..] { one.as_str().into() } else { "elementwise".into() };
        self.label.scope = last.scope.clone();
        self.label.flops = nodes.iter().map(|&n| graph.flops(&graph.nodes[n])).sum();
    }

    pub(super) fn emit_rows(&mut self, rows: Rows) {
        let isa = self.isa();
        let (reads, writes) = (rows.reads(), rows.writes());
        let mut in_place = vec![];
        for (i, (from, lines)) in rows.inputs.iter().enumerate() {
            let Some(lines) = lines else { continue };
            for ((to, target), &register) in rows.outputs.iter().zip(rows.program.outputs()) {
                if self.same_rows(*from, lines, *to, target) && rows.program.reads_until(i) <= register {
                    in_place.push((*from, *to));
                }
            }
        }
        self.emit_in_place(reads, writes, in_place, move |a| {
            let (inputs, outputs) = rows.operands(a, 0, 0);
            // SAFETY: the step's buffers are its own while it runs; an output shares memory with an input only where both have the
            // same rows.
            unsafe { elementwise::run(isa, &rows.program, rows.count, rows.width, &inputs, &outputs) };
        });
    }

    /// Whether both are dense floats of one type, read and written at the same places.
    fn same_rows(&self, from: BufferId, lines: &Lines, to: BufferId, target: &Lines) -> bool {
        let (a, b) = (&self.buffers[from], &self.buffers[to]);
        let every = |lines: &Lines| match lines.starts {
            LineStarts::Every { offset: 0, stride } if lines.step == 1 => Some(stride),
            _ => None,
        };
        matches!(a.element, Element::F32 | Element::Bf16)
            && a.element == b.element
            && a.elements == b.elements
            && every(lines).is_some()
            && every(lines) == every(target)
    }

    /// The cluster's operations. `given` are a product's result, which is handed over row by row and becomes an input without a place,
    /// and the value by which the cluster knows it.
    pub(super) fn draft(&mut self, nodes: &[usize], given: Option<Value>) -> Draft {
        let graph = self.graph;
        let elements = graph.ty(graph.nodes[nodes[0]].results[0]).elements();
        let mut draft = Draft { operations: vec![], inputs: vec![], outputs: vec![], elements };
        let mut known: Vec<(Value, Register)> = vec![];
        for &n in nodes {
            let node = &graph.nodes[n];
            let operands: Vec<Register> = node
                .operands
                .iter()
                .map(|&operand| {
                    let from = root(graph, operand);
                    let member = known.iter().find(|(v, _)| *v == from || *v == operand);
                    if let Some((_, register)) = member {
                        return *register;
                    }
                    let register = if given == Some(from) {
                        draft.inputs.push((usize::MAX, View::dense(&[elements])));
                        draft.push(Operation::Input(draft.inputs.len() - 1))
                    } else {
                        match self.place(operand) {
                            Place::Splat(number) => draft.push(Operation::Constant(number as f32)),
                            Place::At { buffer, view } => {
                                let view = view.reshape(&[elements]);
                                draft.inputs.push((buffer, view));
                                draft.push(Operation::Input(draft.inputs.len() - 1))
                            }
                        }
                    };
                    known.push((operand, register));
                    register
                })
                .collect();
            let mut register = draft.operation(node, &operands, |v| graph.ty(v).dtype);
            let result = node.results[0];
            if graph.ty(result).dtype == DType::Bf16 {
                register = draft.push(Operation::Unary(Unary::RoundToBf16, register));
            }
            known.push((result, register));
            let outside = self.uses.readers[result.index()].iter().any(|r| !nodes.contains(r));
            if outside || self.uses.leaves[result.index()] {
                draft.outputs.push((register, result));
            }
        }
        draft
    }

    /// Cuts a draft into rows that every input and output is made of. Where a product hands rows over, `width` is fixed, and `order`
    /// says which of the draft's rows each of them is, if not its own.
    pub(super) fn cut(&mut self, draft: Draft, nodes: &[usize], width: Option<usize>, order: Option<&[u32]>) -> Rows {
        let Draft { operations, inputs, outputs, elements } = draft;
        let targets: Vec<Option<(BufferId, View)>> =
            outputs.iter().map(|(_, v)| self.targets.get(v).map(|(b, view)| (*b, view.reshape(&[elements])))).collect();
        let width = width.unwrap_or_else(|| {
            let views = inputs.iter().map(|(_, v)| v).chain(targets.iter().flatten().map(|(_, v)| v));
            best_width(elements, &views.collect::<Vec<_>>())
        });
        let count = elements / width;
        let lines = |map: RowMap| match order {
            Some(order) => Lines::of(map).ordered(order),
            None => Lines::of(map),
        };
        let mut read: Vec<(BufferId, Option<Lines>)> = vec![];
        for (buffer, view) in inputs {
            if buffer == usize::MAX {
                read.push((buffer, None));
                continue;
            }
            let fits = view.rows(width).filter(|_| can_follow(&view, width, count));
            read.push(match fits {
                Some(map) => (buffer, Some(lines(map))),
                None => {
                    let element = self.buffers[buffer].element;
                    let copy = self.buffer(elements, element, Home::Arena);
                    let label = self.label.clone();
                    self.label.op = "copy".into();
                    self.label.flops = 0;
                    let dense = View::dense(&[elements]);
                    self.copy(buffer, &view, copy, &dense);
                    self.label = label;
                    (copy, dense.rows(width).map(lines))
                }
            });
        }
        let mut written = vec![];
        let mut registers = vec![];
        for ((register, value), target) in outputs.into_iter().zip(targets) {
            registers.push(register);
            let aimed = target.and_then(|(buffer, view)| Some((buffer, lines(view.rows(width)?))));
            if let Some(stored) = self.stored(nodes, value) {
                let dense = View::dense(&[elements]).rows(width).map(lines);
                let dense = dense.expect("the width divides the elements");
                let program = Program::new(operations.clone(), registers.clone());
                let reads = |(i, (buffer, own)): (usize, &(BufferId, Option<Lines>))| match own {
                    Some(own) if *buffer == stored => {
                        self.same_rows(stored, own, stored, &dense) && program.reads_until(i) <= register
                    }
                    _ => true,
                };
                if read.iter().enumerate().all(reads) {
                    self.set(value, stored);
                    written.push((stored, dense));
                    continue;
                }
            }
            written.push(match aimed {
                Some((buffer, lines)) => {
                    let (_, view) = self.targets[&value].clone();
                    self.places[value.index()] = Some(Place::At { buffer, view });
                    (buffer, lines)
                }
                None => {
                    let buffer = self.output(value);
                    let dense = View::dense(&[elements]).rows(width).map(lines);
                    (buffer, dense.expect("the width divides the elements"))
                }
            });
        }
        Rows { program: Program::new(operations, registers), width, count, inputs: read, outputs: written }
    }

    /// The store's memory that a value of these nodes will take the place of, if nobody reads the old value afterwards.
    fn stored(&mut self, nodes: &[usize], value: Value) -> Option<BufferId> {
        let graph = self.graph;
        let leaving = graph.outputs.iter().chain(&graph.updates).filter(|(_, v)| *v == value).count();
        let (name, _) = graph.updates.iter().find(|(_, v)| *v == value)?;
        let old = graph.argument(name)?.value;
        let slot = self.clusters.slots[nodes[0]];
        let earlier = |&r: &usize| nodes.contains(&r) || self.clusters.slots[r] < slot;
        let last = leaving == 1 && !self.uses.leaves[old.index()] && self.uses.readers[old.index()].iter().all(earlier);
        match self.place(old) {
            Place::At { buffer, view } if last && graph.ty(old).dtype == DType::Float => {
                (self.buffers[buffer].home != Home::Arena && view.is_dense(self.buffers[buffer].elements))
                    .then_some(buffer)
            }
            _ => None,
        }
    }

    pub(super) fn round_to_bf16(&mut self, from: BufferId, to: BufferId) {
        let count = self.buffers[from].elements;
        let operations = vec![Operation::Input(0), Operation::Unary(Unary::RoundToBf16, 0)];
        let lines = || View::dense(&[count]).rows(count).map(Lines::of);
        self.emit_rows(Rows {
            program: Program::new(operations, vec![1]),
            width: count,
            count: 1,
            inputs: vec![(from, lines())],
            outputs: vec![(to, lines().expect("one row"))],
        });
    }

    /// Copies floats row by row, if both views are made of rows that are worth it.
    pub(super) fn copy_rows(&mut self, from: BufferId, view: &View, to: BufferId, target: &View) -> bool {
        let elements = view.elements();
        let (source, sink) = (view.reshape(&[elements]), target.reshape(&[elements]));
        let width = best_width(elements, &[&source, &sink]);
        let (Some(read), Some(written)) = (source.rows(width), sink.rows(width)) else { return false };
        if width < NARROW && elements > 4096 || written.step == 0 {
            return false;
        }
        self.emit_rows(Rows {
            program: Program::new(vec![Operation::Input(0)], vec![0]),
            width,
            count: elements / width,
            inputs: vec![(from, Some(Lines::of(read)))],
            outputs: vec![(to, Lines::of(written))],
        });
        true
    }
}

impl Draft {
    fn push(&mut self, operation: Operation) -> Register {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// Whether every output can be handed out in rows of this width, and every input read.
    pub(super) fn fits(&self, lowering: &Lowering<'_>, width: usize) -> bool {
        let count = self.elements / width;
        self.inputs.iter().all(|(b, v)| *b == usize::MAX || (v.rows(width).is_some() && can_follow(v, width, count)))
            && self.outputs.iter().all(|(_, v)| {
                lowering.targets.get(v).is_none_or(|(_, view)| view.reshape(&[self.elements]).rows(width).is_some())
            })
    }

    /// The operations of a node.
    fn operation(&mut self, node: &Node, operands: &[Register], dtype: impl Fn(Value) -> DType) -> Register {
        let unary = |op| Operation::Unary(op, operands[0]);
        let binary = |op| Operation::Binary(op, operands[0], operands[1]);
        let operation = match (node.op.def.name, node.op.adjoint) {
            ("negate", _) => unary(Unary::Negate),
            ("exponential", _) => unary(Unary::Exponential),
            ("log", _) => unary(Unary::Log),
            ("sqrt", _) => unary(Unary::Sqrt),
            ("tanh", _) => unary(Unary::Tanh),
            ("erf", _) => unary(Unary::Erf),
            ("floor", _) => unary(Unary::Floor),
            ("gelu", false) => unary(Unary::Gelu),
            ("gelu", true) => {
                let slope = self.push(unary(Unary::GeluSlope));
                Operation::Binary(Binary::Multiply, slope, operands[1])
            }
            ("leaky_relu", adjoint) => {
                return self.leaky_relu(node.attributes.float("negative_slope"), adjoint, operands);
            }
            ("add", _) => binary(Binary::Add),
            ("subtract", _) => binary(Binary::Subtract),
            ("multiply", _) => binary(Binary::Multiply),
            ("divide", _) => binary(Binary::Divide),
            ("maximum", _) => binary(Binary::Maximum),
            ("power", _) => binary(Binary::Power),
            ("select", _) => Operation::Select(operands[0], operands[1], operands[2]),
            ("compare", _) => {
                let (op, a, b) = match node.attributes.text("direction") {
                    "EQ" => (Comparison::Equal, 0, 1),
                    "NE" => (Comparison::NotEqual, 0, 1),
                    "LT" => (Comparison::Less, 0, 1),
                    "LE" => (Comparison::LessOrEqual, 0, 1),
                    "GT" => (Comparison::Less, 1, 0),
                    _ => (Comparison::LessOrEqual, 1, 0),
                };
                Operation::Compare(op, operands[a], operands[b])
            }
            // To a float: the register holds the number already. To a bool: whether it is not 0.
            _ => {
                if dtype(node.results[0]) != DType::Bool {
                    return operands[0];
                }
                let zero = self.push(Operation::Constant(0.0));
                Operation::Compare(Comparison::NotEqual, operands[0], zero)
            }
        };
        self.push(operation)
    }

    /// `x` (or its cotangent) where `x > 0`, elsewhere that times the slope.
    fn leaky_relu(&mut self, slope: f64, adjoint: bool, operands: &[Register]) -> Register {
        let passed = operands[usize::from(adjoint)];
        let zero = self.push(Operation::Constant(0.0));
        let positive = self.push(Operation::Compare(Comparison::Less, zero, operands[0]));
        let below = if slope == 0.0 {
            zero
        } else {
            let factor = self.push(Operation::Constant(slope as f32));
            self.push(Operation::Binary(Binary::Multiply, passed, factor))
        };
        self.push(Operation::Select(positive, passed, below))
    }
}

/// Whether to follow a view costs less than to copy it.
fn can_follow(view: &View, width: usize, count: usize) -> bool {
    width >= NARROW || count * width <= 4096 || view.strides().is_some_and(|(parts, _)| parts.len() <= 1)
}

/// The widest rows that most of the views are made of.
fn best_width(elements: usize, views: &[&View]) -> usize {
    let mut widths = vec![elements];
    for view in views {
        match view.strides() {
            Some((parts, _)) => {
                let mut width = 1;
                for (size, _) in parts.iter().rev() {
                    width *= size;
                    widths.push(width);
                }
            }
            None => widths.push(view.run()),
        }
    }
    widths.retain(|w| *w > 0 && elements.is_multiple_of(*w));
    widths.sort_unstable_by(|a, b| b.cmp(a));
    widths.dedup();
    let misses = |width: usize| {
        let count = elements / width;
        let fails = |v: &&&View| v.rows(width).is_none() || !can_follow(v, width, count);
        views.iter().filter(fails).count()
    };
    widths.into_iter().min_by_key(|&w| misses(w)).unwrap_or(elements)
}
