//! Writes a graph as text.

use std::fmt::{self, Display, Write};

use super::scan::is_plain;
use crate::{
    Argument, Attribute, Attributes, Definition, Graph, Init, Node, Op, Role, TensorType, Value,
    assemble::default_decay,
    attributes::number,
    custom::Definitions,
    numbering::{canonical_numbers, ordered_arguments},
};

/// How much of a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintOptions {
    /// Write every number of every constant and initial value. Without it long lists are left out, and the text says in its
    /// first line that it does not parse back.
    pub full_constants: bool,
    /// Tell the cost of expensive nodes in a comment.
    pub flops: bool,
}

impl PrintOptions {
    /// Everything, and nothing but the graph: for files.
    pub const EXACT: PrintOptions = PrintOptions { full_constants: true, flops: false };
    /// For reading.
    pub const READABLE: PrintOptions = PrintOptions { full_constants: false, flops: true };
}

/// The longest list that is written out where `full_constants` is off.
const SHORT: usize = 16;
/// Nodes below this many operations have no comment.
const WORTH_TELLING: u64 = 1_000_000;

/// The text of a verified graph.
pub fn print(graph: &Graph, options: PrintOptions) -> String {
    let mut text = String::new();
    let defined = Definitions::used(graph);
    let bodies: Vec<(Op, &Graph)> = defined.ops().filter_map(|op| Some((op, &op.body()?.graph))).collect();
    if !options.full_constants && bodies.iter().map(|(_, g)| *g).chain([graph]).any(has_long_constants) {
        text.push_str("# Long constants are left out: this text does not parse back.\n");
    }
    let printer = |graph| Printer { graph, options, numbers: canonical_numbers(graph), defined: &defined };
    for (op, body) in bodies {
        // Writing to a string cannot fail.
        let _ = write!(text, "op {} version {}", op.def.name, op.def.version);
        let _ = printer(body).graph(&mut text);
    }
    let _ = write!(text, "graph {}", Name(&graph.name));
    let _ = printer(graph).graph(&mut text);
    text
}

fn has_long_constants(graph: &Graph) -> bool {
    let long = |values: &[f64]| values.len() > SHORT;
    graph.arguments.iter().any(|a| matches!(&a.init, Some(Init::Values(v)) if long(v)))
        || graph
            .nodes
            .iter()
            .flat_map(|n| n.attributes.iter())
            .any(|(_, value)| matches!(value, Attribute::Floats(v) if long(v)))
}

struct Printer<'g> {
    graph: &'g Graph,
    options: PrintOptions,
    numbers: Vec<Value>,
    defined: &'g Definitions,
}

impl Printer<'_> {
    fn graph(&self, out: &mut String) -> fmt::Result {
        out.push('(');
        for (i, input) in self.graph.by_role(Role::Input).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(out, "{comma}{}: {}", Name(&input.name), self.type_and_flags(input))?;
        }
        out.push_str(") {\n");
        for argument in ordered_arguments(self.graph).filter(|a| a.role != Role::Input) {
            writeln!(out, "  {} {}: {}", argument.role.name(), Name(&argument.name), self.type_and_flags(argument))?;
        }
        let mut scope = "";
        let mut indent = "  ";
        for node in &self.graph.nodes {
            if *node.scope != *scope {
                scope = &node.scope;
                indent = "    ";
                writeln!(out, "  scope {}", Name(scope))?;
            }
            out.push_str(indent);
            self.node(out, node)?;
        }
        for (word, list) in [("output", &self.graph.outputs), ("update", &self.graph.updates)] {
            for (name, value) in list {
                writeln!(out, "  {word} {} = {}", Name(name), self.reference(*value))?;
            }
        }
        for (name, value) in &self.graph.names {
            writeln!(out, "  name {} = {}", Name(name), self.reference(*value))?;
        }
        out.push_str("}\n");
        Ok(())
    }

    /// `f[1,50,16] = zeros frozen layer(0) tokens(1, 7, 7)`.
    fn type_and_flags(&self, argument: &Argument) -> String {
        let ty = self.graph.ty(argument.value);
        let mut text = ty.to_string();
        if let Some(init) = &argument.init {
            text.push_str(" = ");
            text.push_str(init.name());
            let numbers = init.numbers();
            if !numbers.is_empty() || matches!(init, Init::Values(_)) {
                text.push_str(&format!("({})", self.numbers(&numbers)));
            }
        }
        if argument.decay != default_decay(ty) {
            text.push_str(if argument.decay { " decay" } else { " no_decay" });
        }
        if argument.frozen {
            text.push_str(" frozen");
        }
        if let Some(layer) = argument.layer {
            text.push_str(&format!(" layer({layer})"));
        }
        if let Some(positions) = argument.positions {
            text.push_str(&format!(" {}({})", positions.name(), join(positions.sizes().iter())));
        }
        text
    }

    fn node(&self, out: &mut String, node: &Node) -> fmt::Result {
        let references = |values: &[Value]| join(values.iter().map(|&v| self.reference(v)));
        let defined = if node.results.is_empty() { "_".to_owned() } else { references(&node.results) };
        write!(out, "{defined} = {}({})", self.defined.name_of(node.op), references(&node.operands))?;
        if !node.attributes.is_empty() {
            write!(out, " {}", self.attributes(&node.attributes))?;
        }
        let types: Vec<&TensorType> = node.results.iter().map(|&v| self.graph.ty(v)).collect();
        if types.is_empty() {
            out.push_str(" : _");
        } else {
            write!(out, " : {}", join(types.iter()))?;
        }
        let flops = if self.options.flops { self.graph.flops(node) } else { 0 };
        if flops >= WORTH_TELLING {
            write!(out, "   # {}", cost(flops))?;
        }
        out.push('\n');
        Ok(())
    }

    fn attributes(&self, attributes: &Attributes) -> String {
        let fields = attributes.iter().map(|(name, value)| match value {
            Attribute::Floats(values) => format!("{name}: [{}]", self.numbers(values)),
            value => format!("{name}: {value}"),
        });
        format!("{{{}}}", join(fields))
    }

    fn numbers(&self, values: &[f64]) -> String {
        if !self.options.full_constants && values.len() > SHORT {
            return format!("... {} numbers", values.len());
        }
        join(values.iter().map(|&v| number(v)))
    }

    fn reference(&self, value: Value) -> String {
        let arguments = self.graph.arguments.len();
        match self.graph.definition(value) {
            Definition::Argument(i) => Name(&self.graph.arguments[i].name).to_string(),
            Definition::Node(..) => format!("%{}", self.numbers[value.index()].index() - arguments),
        }
    }
}

/// A name, in quotes where it is not plain.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}

fn join(items: impl Iterator<Item = impl Display>) -> String {
    let mut text = String::new();
    for (i, item) in items.enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}{item}");
    }
    text
}

/// `2.8 GFLOP`.
fn cost(flops: u64) -> String {
    let (unit, size) = [("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)]
        .into_iter()
        .find(|(_, size)| flops as f64 >= *size)
        .unwrap_or(("MFLOP", 1e6));
    format!("{:.1} {unit}", flops as f64 / size)
}
