//! Writes the kernel of an elementwise program: loads, operations on registers, stores, one thread for one or four elements, or a block
//! for a tile of them.

mod tile;

use std::{fmt, fmt::Write, sync::Arc};

use fer_graph::DType;
use fer_plan::{Starts, View};

use self::tile::Tile;
use crate::{Element, plan::BufferId};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Float,
    Int,
    Bool,
}

impl Type {
    pub(crate) fn of(dtype: DType) -> Type {
        match dtype {
            DType::Float | DType::Bf16 => Type::Float,
            DType::I32 | DType::U8 => Type::Int,
            DType::Bool => Type::Bool,
        }
    }

    fn c(self) -> &'static str {
        match self {
            Type::Float => "float",
            Type::Int => "int",
            Type::Bool => "bool",
        }
    }
}

/// A number that a program has computed, by its place among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register {
    pub index: usize,
    pub ty: Type,
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.index)
    }
}

/// Elements of a buffer that a program reads or writes, in the order of a view.
struct Side {
    buffer: BufferId,
    element: Element,
    view: View,
    index: Index,
    register: Register,
    /// Whether it is written only in a step that may update the store.
    held: bool,
}

/// How the place of element i is found.
enum Index {
    /// It is i.
    Dense,
    /// `(size, stride)` of axes, the outermost first, and where the first element stands.
    Strided(Vec<(usize, usize)>, usize),
    /// Runs of neighbours, each beginning where a table says.
    Table { run: usize, starts: Vec<u32> },
}

impl Index {
    fn of(view: &View, elements: usize, whole: bool) -> Index {
        if whole && view.is_dense(elements) {
            return Index::Dense;
        }
        match view.strides() {
            Some((parts, offset)) => Index::Strided(parts, offset),
            None => {
                let run = view.run();
                let starts = match view.rows(run).map(|rows| rows.starts) {
                    Some(Starts::At(starts)) => starts.to_vec(),
                    Some(Starts::Every { offset, stride, count }) => {
                        return Index::Strided(vec![(count, stride), (run, 1)], offset);
                    }
                    None => unreachable!("a view is made of its runs"),
                };
                Index::Table { run, starts }
            }
        }
    }

    /// Whether four elements from a multiple of four on stand beside each other at a multiple of four, or are one.
    fn by_four(&self) -> bool {
        match self {
            Index::Dense => true,
            Index::Strided(parts, offset) => match parts.last() {
                None => true,
                Some((size, 0)) => size % 4 == 0,
                Some((size, 1)) => {
                    size % 4 == 0
                        && offset % 4 == 0
                        && parts[..parts.len() - 1].iter().all(|(_, stride)| stride % 4 == 0)
                }
                Some(_) => false,
            },
            Index::Table { run, starts } => run % 4 == 0 && starts.iter().all(|s| s % 4 == 0),
        }
    }

    /// Whether the four are one.
    fn repeats(&self) -> bool {
        matches!(self, Index::Strided(parts, _) if parts.last().is_none_or(|(_, stride)| *stride == 0))
    }

    /// The place of element `at`, in C. What one thread computes for several sides is written the same way, and so computed once.
    fn place(&self, table: &str, wide: bool) -> String {
        let suffix = if wide { "ull" } else { "u" };
        match self {
            Index::Dense => "at".to_owned(),
            Index::Strided(parts, offset) => {
                let mut terms = vec![];
                let mut below = 1usize;
                for (i, &(size, stride)) in parts.iter().enumerate().rev() {
                    if stride > 0 {
                        let quotient = if below == 1 { "at".to_owned() } else { format!("at / {below}{suffix}") };
                        let digit = if i == 0 { quotient } else { format!("{quotient} % {size}{suffix}") };
                        terms.push(if stride == 1 { digit } else { format!("({digit}) * {stride}{suffix}") });
                    }
                    below *= size;
                }
                if *offset > 0 || terms.is_empty() {
                    terms.push(format!("{offset}{suffix}"));
                }
                terms.join(" + ")
            }
            Index::Table { run, .. } => format!("(u32){table}[at / {run}{suffix}] + at % {run}{suffix}"),
        }
    }
}

/// What a kernel computes for each of a number of elements.
pub(crate) struct Program {
    elements: usize,
    inputs: Vec<Side>,
    outputs: Vec<Side>,
    /// Statements, in order.
    body: Vec<String>,
    registers: usize,
}

/// A kernel's text.
pub(crate) struct Written {
    pub name: Arc<str>,
    pub text: String,
    /// How many threads it takes.
    pub threads: usize,
}

impl Program {
    pub(crate) fn new(elements: usize) -> Program {
        Program { elements, inputs: vec![], outputs: vec![], body: vec![], registers: 0 }
    }

    pub(crate) fn elements(&self) -> usize {
        self.elements
    }

    fn next(&mut self, ty: Type) -> Register {
        self.registers += 1;
        Register { index: self.registers - 1, ty }
    }

    /// A register that is computed from others.
    pub(crate) fn register(&mut self, ty: Type, text: String) -> Register {
        let register = self.next(ty);
        self.body.push(format!("{} {register} = {text};", ty.c()));
        register
    }

    pub(crate) fn float(&mut self, text: String) -> Register {
        self.register(Type::Float, text)
    }

    pub(crate) fn constant(&mut self, number: f64, ty: Type) -> Register {
        let text = match ty {
            // By its bits: no decimal is read back wrongly, and infinities and NaN are written like any other.
            Type::Float => format!("__uint_as_float(0x{:08x}u)", (number as f32).to_bits()),
            Type::Int => format!("(int){}ll", number as i32),
            Type::Bool => (number != 0.0).to_string(),
        };
        self.register(ty, text)
    }

    /// The elements of a buffer, in the order of the view.
    pub(crate) fn input(&mut self, buffer: BufferId, element: Element, view: View) -> Register {
        let ty = match element {
            Element::F32 | Element::Bf16 => Type::Float,
            Element::I32 | Element::U8 => Type::Int,
            Element::Bool => Type::Bool,
        };
        let known = self.inputs.iter().find(|s| s.buffer == buffer && s.view.sees_as(&view));
        if let Some(side) = known {
            return side.register;
        }
        let register = self.next(ty);
        let index = Index::of(&view, view.elements(), true);
        self.inputs.push(Side { buffer, element, view, index, register, held: false });
        register
    }

    pub(crate) fn output(&mut self, register: Register, buffer: BufferId, element: Element, view: View) {
        let index = Index::of(&view, view.elements(), true);
        self.outputs.push(Side { buffer, element, view, index, register, held: false });
    }

    pub(crate) fn inputs(&self) -> impl Iterator<Item = (BufferId, Element)> {
        self.inputs.iter().map(|s| (s.buffer, s.element))
    }

    pub(crate) fn outputs(&self) -> impl Iterator<Item = (BufferId, Element)> {
        self.outputs.iter().map(|s| (s.buffer, s.element))
    }

    /// Buffers that are written only in a step that may update the store: the kernel's last parameter says whether it may.
    pub(crate) fn hold(&mut self, stored: impl Fn(BufferId) -> bool) {
        self.outputs.iter_mut().for_each(|side| side.held = stored(side.buffer));
    }

    /// Whether there is any such buffer.
    pub(crate) fn holds(&self) -> bool {
        self.outputs.iter().any(|side| side.held)
    }

    /// How a buffer is read.
    pub(crate) fn reads(&self, buffer: BufferId) -> impl Iterator<Item = &View> {
        self.inputs.iter().filter(move |s| s.buffer == buffer).map(|s| &s.view)
    }

    /// Tables of starts that the kernel is given, in order.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &[u32]> {
        self.inputs.iter().chain(&self.outputs).filter_map(|s| match &s.index {
            Index::Table { starts, .. } => Some(&starts[..]),
            _ => None,
        })
    }

    /// Inputs in whose memory an output may stand: both dense and of one element, so that a thread writes what it alone has read.
    pub(crate) fn in_place(&self) -> Vec<(BufferId, BufferId)> {
        let mut pairs = vec![];
        for output in self.outputs.iter().filter(|s| matches!(s.index, Index::Dense)) {
            for input in self.inputs.iter().filter(|s| matches!(s.index, Index::Dense)) {
                if input.element == output.element && input.buffer != output.buffer {
                    pairs.push((input.buffer, output.buffer));
                }
            }
        }
        pairs
    }

    pub(crate) fn kernel(&self) -> Written {
        let sides = || self.inputs.iter().chain(&self.outputs);
        let by_four = self.elements.is_multiple_of(4)
            && sides().all(|s| s.index.by_four() && !matches!(s.element, Element::I32 | Element::U8));
        let wide = self.elements >= 1 << 31;
        // The first input that stands transposed decides; others that stand the same way come in with it.
        let floats = |side: &&Side| side.register.ty == Type::Float;
        let tile =
            if by_four { None } else { self.inputs.iter().filter(floats).find_map(|side| Tile::of(&side.index)) };
        let is_staged = |side: &Side| tile.is_some() && floats(&side) && Tile::of(&side.index) == tile;
        let threads = tile.as_ref().map_or(self.elements / if by_four { 4 } else { 1 }, Tile::threads);
        let (mut head, mut loads, mut stores, mut tables) = (vec![], String::new(), String::new(), 0);
        for (i, side) in self.inputs.iter().enumerate() {
            head.push(format!("const {}* a{i}", side.element.c()));
        }
        let mut table = |side: &Side| {
            let name = format!("t{tables}");
            tables += usize::from(matches!(side.index, Index::Table { .. }));
            name
        };
        let mut staged = vec![];
        for (i, side) in self.inputs.iter().enumerate() {
            let place = side.index.place(&table(side), wide);
            let ty = side.register.ty.c();
            if is_staged(side) {
                staged.push((i, format!("fetch(a{i}[{place}])")));
                let _ = writeln!(loads, "    {ty} v{i} = {};", Tile::staged(i));
                continue;
            }
            let _ = match (by_four, side.index.repeats()) {
                (true, false) => writeln!(loads, "    {ty} v{i}[4];\n    fetch4(v{i}, a{i} + ({place}));"),
                (true, true) => writeln!(loads, "    {ty} v{i} = fetch(a{i}[{place}]);"),
                (false, _) => writeln!(loads, "    {ty} v{i} = fetch(a{i}[{place}]);"),
            };
        }
        for (i, side) in self.outputs.iter().enumerate() {
            let place = side.index.place(&table(side), wide);
            stores.push_str(if side.held { "    if (*stopped == 0)\n    " } else { "" });
            let _ = match by_four {
                true => writeln!(stores, "    put4(b{i} + ({place}), w{i});"),
                false => writeln!(stores, "    put(b{i} + ({place}), {});", side.register),
            };
        }
        head.extend((0..tables).map(|i| format!("const int* t{i}")));
        head.extend(self.outputs.iter().enumerate().map(|(i, side)| format!("{}* b{i}", side.element.c())));
        head.extend(self.holds().then(|| "const int* stopped".to_owned()));
        let count = if wide { "u64" } else { "u32" };
        let mut text = format!("({}) {{\n", head.join(", "));
        match &tile {
            Some(tile) => text += &(tile.head(count) + &tile.load(count, &staged) + &tile.each(count)),
            None => {
                let _ = writeln!(text, "    {count} at = ({count})blockIdx.x * 256 + threadIdx.x;");
                let _ = writeln!(text, "    if (at >= {threads}u{}) return;", if wide { "ll" } else { "" });
                text.push_str(if by_four { "    at *= 4;\n" } else { "" });
            }
        }
        text.push_str(&loads);
        let indent = if by_four { "        " } else { "    " };
        if by_four {
            for (i, side) in self.outputs.iter().enumerate() {
                let _ = writeln!(text, "    {} w{i}[4];", side.register.ty.c());
            }
            text.push_str("#pragma unroll\n    for (int e = 0; e < 4; e++) {\n");
        }
        for (i, side) in self.inputs.iter().enumerate() {
            let lane = if by_four && !side.index.repeats() { "[e]" } else { "" };
            let _ = writeln!(text, "{indent}{} {} = v{i}{lane};", side.register.ty.c(), side.register);
        }
        for statement in &self.body {
            let _ = writeln!(text, "{indent}{statement}");
        }
        if by_four {
            for (i, side) in self.outputs.iter().enumerate() {
                let _ = writeln!(text, "{indent}w{i}[e] = {};", side.register);
            }
            text.push_str("    }\n");
        }
        text.push_str(&stores);
        text.push_str(if tile.is_some() { "    }\n}\n" } else { "}\n" });
        let name: Arc<str> = format!("elementwise_{:016x}", hash(&text)).into();
        let text = format!("extern \"C\" __global__ void __launch_bounds__(256) {name}{text}");
        Written { name, text, threads }
    }
}

/// FNV-1a: the same text has the same name, on every machine.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
