//! Clusters of elementwise operations as kernels written for the plan.

use fer_graph::{DType, Node, Value};
use fer_plan::{View, root};

use super::{Lowering, Place};
use crate::{
    Element,
    kernels::Family,
    plan::{BufferId, Home},
    write::{Program, Register, Type},
};

impl Lowering<'_> {
    pub(super) fn cluster(&mut self, index: usize) {
        let mut nodes = self.clusters.clusters[index].nodes.clone();
        // Whoever sums a square computes it on the way.
        nodes.retain(|&n| !self.squares.contains_key(&self.graph.nodes[n].results[0]));
        if !nodes.is_empty() {
            self.name(&nodes);
            self.together(&nodes);
        }
    }

    /// A node with an integer among its operands or results.
    pub(super) fn elementwise_node(&mut self, index: usize) {
        self.together(&[index]);
    }

    /// The label of several nodes.
    fn name(&mut self, nodes: &[usize]) {
        let graph = self.graph;
        let last = &graph.nodes[nodes[nodes.len() - 1]];
        self.label.op = match nodes {
            [one] => graph.nodes[*one].op.name().into(),
            _ => "elementwise".into(),
        };
        self.label.scope = last.scope.clone();
        self.label.flops = nodes.iter().map(|&n| graph.flops(&graph.nodes[n])).sum();
    }

    fn together(&mut self, nodes: &[usize]) {
        let graph = self.graph;
        let elements = graph.ty(graph.nodes[nodes[0]].results[0]).elements();
        let mut program = Program::new(elements);
        let mut known: Vec<(Value, Register)> = vec![];
        let mut outputs = vec![];
        for &n in nodes {
            let node = &graph.nodes[n];
            let operands: Vec<Register> = node
                .operands
                .iter()
                .map(|&operand| {
                    let from = root(graph, operand);
                    if let Some((_, register)) = known.iter().find(|(v, _)| *v == from || *v == operand) {
                        return *register;
                    }
                    let register = match self.place(operand) {
                        Place::Splat(number) => program.constant(number, Type::of(graph.ty(operand).dtype)),
                        Place::At { buffer, view } => program.input(buffer, self.element(buffer), view),
                    };
                    known.push((operand, register));
                    register
                })
                .collect();
            let mut register = operation(&mut program, node, &operands, graph.ty(node.results[0]).dtype);
            let result = node.results[0];
            if graph.ty(result).dtype == DType::Bf16 {
                register = program.float(format!("widen(round_bf16({register}))"));
            }
            known.push((result, register));
            let outside = self.uses.readers[result.index()].iter().any(|r| !nodes.contains(r));
            if outside || self.uses.leaves[result.index()] {
                outputs.push((register, result));
            }
        }
        for (register, value) in outputs {
            let (buffer, view) = self.destination(nodes, value, &program);
            program.output(register, buffer, self.element(buffer), view);
        }
        self.write(program);
    }

    /// Where a value of these nodes is written.
    fn destination(&mut self, nodes: &[usize], value: Value, program: &Program) -> (BufferId, View) {
        if let Some(buffer) = self.renewed(nodes, value)
            // Whoever reads the old value here reads each number where the new one goes.
            && program.reads(buffer).all(|view| view.is_dense(program.elements()))
        {
            self.set(value, buffer);
        } else if let Some((buffer, view)) = self.targets.get(&value).cloned() {
            self.places[value.index()] = Some(Place::At { buffer, view });
        } else {
            self.output(value);
        }
        match self.places[value.index()].clone() {
            Some(Place::At { buffer, view }) => (buffer, view),
            _ => unreachable!("it was placed just now"),
        }
    }

    /// The store's memory that a value of these nodes will take the place of, if nobody reads the old value afterwards.
    fn renewed(&mut self, nodes: &[usize], value: Value) -> Option<BufferId> {
        let graph = self.graph;
        let leaving = graph.outputs.iter().chain(&graph.updates).filter(|(_, v)| *v == value).count();
        let (name, _) = graph.updates.iter().find(|(_, v)| *v == value)?;
        let old = graph.argument(name)?.value;
        let slot = self.clusters.slots[nodes[0]];
        let earlier = |&r: &usize| nodes.contains(&r) || self.clusters.slots[r] < slot;
        let last = leaving == 1 && !self.uses.leaves[old.index()] && self.uses.readers[old.index()].iter().all(earlier);
        match self.place(old) {
            Place::At { buffer, view } if last && graph.ty(old).dtype == DType::Float => {
                let stored = matches!(self.buffers[buffer].home, Home::Argument(_));
                (stored && view.is_dense(self.buffers[buffer].elements)).then_some(buffer)
            }
            _ => None,
        }
    }

    /// Launches a program.
    pub(super) fn write(&mut self, mut program: Program) {
        program.hold(|buffer| self.is_stored(buffer));
        let stopped = program.holds().then(|| self.stopped());
        let tables: Vec<BufferId> = program.tables().map(|t| self.table(t)).collect();
        let written = program.kernel();
        self.instances.written(Family::Elementwise, written.name.clone(), written.text);
        let mut kernel = super::call::Kernel::named(written.name).each(written.threads, 256);
        for (input, _) in program.inputs() {
            kernel = kernel.read(input);
        }
        for table in tables {
            kernel = kernel.read(table);
        }
        for (output, _) in program.outputs() {
            kernel = kernel.write(output);
        }
        if let Some(stopped) = stopped {
            kernel = kernel.read(stopped);
        }
        for (from, to) in program.in_place() {
            kernel = kernel.in_place(from, to);
        }
        self.launch(kernel);
    }

    /// A dense buffer's numbers as another element.
    pub(crate) fn converted(&mut self, from: BufferId, element: Element) -> BufferId {
        let count = self.buffers[from].elements;
        let to = self.buffer(count, element, Home::Arena);
        let (own, flops) =
            (std::mem::replace(&mut self.label.op, "convert".into()), std::mem::take(&mut self.label.flops));
        self.copy(from, &View::dense(&[count]), to, &View::dense(&[count]));
        (self.label.op, self.label.flops) = (own, flops);
        to
    }

    /// Copies elements from one view to another of the same number, converting them where the buffers' elements differ.
    pub(crate) fn copy(&mut self, from: BufferId, view: &View, to: BufferId, target: &View) {
        let mut program = Program::new(view.elements());
        let register = program.input(from, self.element(from), view.clone());
        program.output(register, to, self.element(to), target.clone());
        self.write(program);
    }
}

/// A node's operation on registers.
fn operation(program: &mut Program, node: &Node, operands: &[Register], result: DType) -> Register {
    let x = operands[0];
    let call = |name: &str| format!("{name}({x})");
    let binary = |sign: &str| format!("{x} {sign} {}", operands[1]);
    let integers = x.ty == Type::Int;
    let text = match (node.op.def.name, node.op.adjoint) {
        ("negate", _) => format!("-{x}"),
        ("exponential", _) => call("expf"),
        ("log", _) => call("logf"),
        ("sqrt", _) => call("sqrtf"),
        ("tanh", _) => call("tanhf"),
        ("erf", _) => call("erff"),
        ("floor", _) => call("floorf"),
        ("gelu", false) => call("gelu"),
        ("gelu", true) => format!("gelu_slope({x}) * {}", operands[1]),
        ("leaky_relu", adjoint) => {
            let slope = program.constant(node.attributes.float("negative_slope"), Type::Float);
            let value = if adjoint { operands[1] } else { x };
            // Slope 0 has its own form: 0 * inf would be NaN.
            match node.attributes.float("negative_slope") == 0.0 {
                true => format!("{x} > 0.0f ? {value} : 0.0f"),
                false => format!("{x} > 0.0f ? {value} : {slope} * {value}"),
            }
        }
        ("add", _) if integers => format!("(int)((u32){x} + (u32){})", operands[1]),
        ("subtract", _) if integers => format!("(int)((u32){x} - (u32){})", operands[1]),
        ("multiply", _) if integers => format!("(int)((u32){x} * (u32){})", operands[1]),
        ("divide", _) if integers => format!("divide_int({x}, {})", operands[1]),
        ("maximum", _) if integers => format!("{x} > {y} ? {x} : {y}", y = operands[1]),
        ("power", _) if integers => format!("power_int({x}, {})", operands[1]),
        ("add", _) => binary("+"),
        ("subtract", _) => binary("-"),
        ("multiply", _) => binary("*"),
        ("divide", _) => binary("/"),
        ("maximum", _) => format!("larger({x}, {})", operands[1]),
        ("power", _) => format!("powf({x}, {})", operands[1]),
        ("select", _) => {
            let text = format!("{x} ? {} : {}", operands[1], operands[2]);
            return program.register(operands[1].ty, text);
        }
        ("compare", _) => {
            let sign = match node.attributes.text("direction") {
                "EQ" => "==",
                "NE" => "!=",
                "LT" => "<",
                "LE" => "<=",
                "GT" => ">",
                _ => ">=",
            };
            return program.register(Type::Bool, binary(sign));
        }
        _ => return convert(program, x, result),
    };
    program.register(x.ty, text)
}

fn convert(program: &mut Program, x: Register, to: DType) -> Register {
    match (x.ty, to) {
        (Type::Bool, DType::Bool) | (Type::Float, DType::Float | DType::Bf16) => x,
        (_, DType::Bool) => program.register(Type::Bool, format!("{x} != 0")),
        (_, DType::Float | DType::Bf16) => program.float(format!("(float){x}")),
        (Type::Float, DType::I32) => program.register(Type::Int, format!("to_int({x})")),
        (Type::Float, DType::U8) => program.register(Type::Int, format!("to_u8((float){x})")),
        (Type::Int, DType::U8) => program.register(Type::Int, format!("{x} < 0 ? 0 : {x} > 255 ? 255 : {x}")),
        (_, DType::I32 | DType::U8) => program.register(Type::Int, format!("(int){x}")),
    }
}
