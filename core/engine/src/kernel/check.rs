//! Compares a kernel with what its op means, on random numbers of the node's own shapes.

use std::fmt;

use fer_graph::{Builder, Graph, Node, Result as GraphResult, Value, verify};

use super::{
    CustomKernel, KernelPlan, Refused,
    layout::{Layout, index},
};
use crate::{Engine, EngineError, Feeds, Tensor, uniform};

/// How far a kernel's number may be from the meaning's, as a share of the result's largest magnitude: 2^-14. A float has 24 bits; ten
/// are what sums of a million terms lose at most when they are taken in another order.
pub const TOLERANCE: f64 = 1.0 / 16384.0;

/// Elements of memory before and behind each output that a kernel must leave alone.
const GUARD: usize = 4096;

/// What stands in memory that nobody has written: a NaN with a mark.
const UNTOUCHED: f32 = f32::from_bits(0x7fc5_a5a5);

/// A kernel that does not do what its op means.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelFault {
    pub library: String,
    /// `focal.terms`, `focal.terms_vjp`.
    pub op: String,
    /// The types of the operands it was tried on.
    pub operands: String,
    pub wrong: Wrong,
}

/// What is wrong with a kernel. Outputs and inputs count from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Wrong {
    /// It answered a number that is not 0.
    Refused(i32),
    /// It wrote so many elements before the first (negative) or after the last of an output's memory.
    OutOfBounds { output: usize, by: isize },
    /// It wrote between the elements of a strided output.
    Strides { output: usize },
    /// It did not write an element.
    Unwritten { output: usize, index: Vec<usize> },
    /// It wrote to what it should read.
    Input { input: usize },
    /// The worst element of a result.
    Differs { output: usize, index: Vec<usize>, expected: f64, found: f64, allowed: f64, layout: &'static str },
    /// The same inputs gave other bits.
    Unsteady { output: usize, index: Vec<usize> },
    /// The op's own meaning gives nothing finite on any of the numbers tried.
    NothingToCompare { output: usize },
    /// The op's own meaning cannot be computed.
    Meaning(String),
    /// Its source text does not compile: the compiler's log.
    Source(String),
    /// It cannot be started, or it fails, in the device's words.
    Device(String),
}

/// The lines of a compiler's log that are told, and the characters of each.
const MOST_LINES: usize = 24;
const LONGEST_LINE: usize = 200;

/// The beginning of a compiler's log. It quotes the source, which may hold anything.
fn beginning(log: &str) -> String {
    let plain = |c: char| if c.is_control() && c != '\t' { '?' } else { c };
    let line = |line: &str| format!("\n    {}", line.chars().take(LONGEST_LINE).map(plain).collect::<String>());
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut text: String = lines.iter().take(MOST_LINES).map(|l| line(l)).collect();
    if lines.len() > MOST_LINES {
        text += &format!("\n    and {} more lines", lines.len() - MOST_LINES);
    }
    text
}

impl fmt::Display for KernelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelFault { library, op, operands, wrong } = self;
        write!(f, "the kernel for {op} in {library} cannot be used: ")?;
        if let Wrong::Source(log) = wrong {
            return write!(f, "for operands ({operands}) its source does not compile{}", beginning(log));
        }
        write!(f, "on random numbers ({operands}) ")?;
        match wrong {
            Wrong::Refused(code) => write!(f, "it answers error {code}"),
            Wrong::OutOfBounds { output, by } if *by < 0 => {
                write!(f, "it writes {} elements before the beginning of result {output}", -by)
            }
            Wrong::OutOfBounds { output, by } => write!(f, "it writes {by} elements past the end of result {output}"),
            Wrong::Strides { output } => {
                write!(f, "it writes between the elements of result {output}: mind the strides")
            }
            Wrong::Unwritten { output, index } => write!(f, "it does not write element {index:?} of result {output}"),
            Wrong::Input { input } => write!(f, "it writes to operand {input}"),
            Wrong::Differs { output, index, expected, found, allowed, layout } => write!(
                f,
                "element {index:?} of result {output} is {found:e}, the op means {expected:e}; they may differ by {allowed:.1e} \
                 ({layout} operands)"
            ),
            Wrong::Unsteady { output, index } => {
                write!(f, "element {index:?} of result {output} is another number when it is called again")
            }
            Wrong::NothingToCompare { output } => {
                write!(f, "result {output} of the op's own meaning is never finite, so nothing can be compared")
            }
            Wrong::Meaning(error) => write!(f, "the op's own meaning cannot be computed: {error}"),
            Wrong::Source(log) => f.write_str(log),
            Wrong::Device(error) => write!(f, "it fails on the device: {error}"),
        }
    }
}

impl std::error::Error for KernelFault {}

/// What stands between the elements of an operand: another NaN, so that what is computed from it does not look untouched.
const GAP: f32 = f32::from_bits(0x7fc3_3c3c);

/// What the numbers of a round are like; ops differ in what they make sense of.
#[derive(Clone, Copy)]
enum Numbers {
    /// From -2 to 2.
    Signed,
    /// From 0.05 to 1.05.
    Positive,
    /// From 0 to 1, and the last axis sums to 1.
    Shares,
}

/// Memory that holds a tensor, as a kernel is called on it. What is written has more before and behind it.
#[derive(Clone, Debug)]
pub struct Memory {
    pub numbers: Vec<f32>,
    /// Where in it the tensor's first element is.
    pub first: usize,
    layout: Layout,
}

/// Calls a kernel on what it reads and on what it writes.
type Call<'a> = dyn FnMut(&mut [Memory], &mut [Memory]) -> Result<(), Wrong> + 'a;

/// Holds the kernel for a node to the meaning of its op, which `reference` computes: the same numbers to [`TOLERANCE`] on dense, strided
/// and repeated operands, every element written and nothing else, the same bits again.
///
/// # Errors
/// What is wrong first; of numbers the worst element.
pub fn compare(
    kernel: &CustomKernel,
    graph: &Graph,
    node: &Node,
    reference: &dyn Engine,
) -> Result<(), Box<KernelFault>> {
    let mut call = |inputs: &mut [Memory], outputs: &mut [Memory]| {
        let layouts = |all: &[Memory]| all.iter().map(|m| m.layout.clone()).collect();
        let plan = KernelPlan::new(kernel, node, layouts(inputs), layouts(outputs));
        let first = |m: &mut Memory| m.numbers.as_mut_ptr().wrapping_add(m.first);
        let from: Vec<*const f32> = inputs.iter_mut().map(|m| first(m).cast_const()).collect();
        let to: Vec<*mut f32> = outputs.iter_mut().map(first).collect();
        // SAFETY: each layout reaches no farther than its extent from its origin, which the memory has; every piece of memory is
        // borrowed mutably and once.
        unsafe { plan.run(&from, &to) }.map_err(|Refused(code)| Wrong::Refused(code))
    };
    try_out(&kernel.library, graph, node, reference, Tried { call: &mut call, strided: true })
}

/// As [`compare`], of a kernel that is given dense tensors alone and called by `call`, first on what it reads, then on what it writes.
///
/// # Errors
/// Those of [`compare`] and of `call`.
pub fn compare_dense(
    library: &str,
    graph: &Graph,
    node: &Node,
    reference: &dyn Engine,
    call: &mut Call<'_>,
) -> Result<(), Box<KernelFault>> {
    try_out(library, graph, node, reference, Tried { call, strided: false })
}

/// A kernel as it can be tried.
struct Tried<'a> {
    call: &'a mut Call<'a>,
    /// Whether it also takes tensors that are not dense.
    strided: bool,
}

fn try_out(
    library: &str,
    graph: &Graph,
    node: &Node,
    reference: &dyn Engine,
    tried: Tried<'_>,
) -> Result<(), Box<KernelFault>> {
    let types: Vec<String> = node.operands.iter().map(|&v| graph.ty(v).to_string()).collect();
    let fault = |wrong| {
        let (library, op, operands) = (library.to_owned(), node.op.name(), types.join(", "));
        Box::new(KernelFault { library, op, operands, wrong })
    };
    let trial = Trial::new(graph, node, reference).map_err(|e| fault(Wrong::Meaning(e.to_string())))?;
    trial.run(tried).map_err(fault)
}

struct Trial<'a> {
    inputs: Vec<Vec<usize>>,
    outputs: Vec<Vec<usize>>,
    meaning: Box<dyn crate::Executable>,
    reference: &'a dyn Engine,
}

impl<'a> Trial<'a> {
    fn new(graph: &Graph, node: &Node, reference: &'a dyn Engine) -> Result<Trial<'a>, EngineError> {
        let shapes = |values: &[Value]| values.iter().map(|&v| graph.shape(v).to_vec()).collect();
        let meaning = reference.compile(&alone(graph, node)?)?;
        Ok(Trial { inputs: shapes(&node.operands), outputs: shapes(&node.results), meaning, reference })
    }

    fn run(&self, tried: Tried<'_>) -> Result<(), Wrong> {
        let Tried { call, strided } = tried;
        let mut finite = vec![false; self.outputs.len()];
        let rounds = [
            (Numbers::Signed, "strided", Layout::spread as fn(&[usize]) -> Layout),
            (Numbers::Positive, "repeated", Layout::repeated),
            (Numbers::Shares, "strided", Layout::spread),
        ];
        for (round, (numbers, name, layout)) in rounds.into_iter().enumerate() {
            let operands = self.operands(round, numbers, layout);
            let expected = self.expected(&operands)?;
            for (finite, numbers) in finite.iter_mut().zip(&expected) {
                *finite |= numbers.iter().any(|v| v.is_finite());
            }
            let found = self.found(call, &operands, Layout::dense, Layout::dense)?;
            self.judge(&expected, &found, "dense")?;
            let again = self.found(call, &operands, Layout::dense, Layout::dense)?;
            for (output, (once, twice)) in found.iter().zip(&again).enumerate() {
                let differs = once.iter().zip(twice).position(|(a, b)| a.to_bits() != b.to_bits());
                if let Some(element) = differs {
                    return Err(Wrong::Unsteady { output, index: index(&self.outputs[output], element) });
                }
            }
            if strided {
                self.judge(&expected, &self.found(call, &operands, layout, Layout::spread)?, name)?;
            }
        }
        match finite.iter().position(|f| !f) {
            Some(output) => Err(Wrong::NothingToCompare { output }),
            None => Ok(()),
        }
    }

    /// Numbers for each operand, such as a layout can hold: where it repeats a slice, all slices are the same.
    fn operands(&self, round: usize, numbers: Numbers, layout: fn(&[usize]) -> Layout) -> Vec<Vec<f32>> {
        let operand = |(i, shape): (usize, &Vec<usize>)| {
            let count: usize = shape.iter().product();
            let drawn = uniform([round as i32, 0, 0], i as u32, count);
            let mut drawn: Vec<f32> = match numbers {
                Numbers::Signed => drawn.map(|u| (4.0 * u - 2.0) as f32).collect(),
                Numbers::Positive => drawn.map(|u| (u + 0.05) as f32).collect(),
                Numbers::Shares => drawn.map(|u| (u + 0.01) as f32).collect(),
            };
            if let (Numbers::Shares, Some(&width)) = (numbers, shape.last()) {
                for row in drawn.chunks_mut(width) {
                    let sum: f32 = row.iter().sum();
                    row.iter_mut().for_each(|v| *v /= sum);
                }
            }
            // What a layout lays over each other is one number.
            let layout = layout(shape);
            let (places, mut memory) = (layout.places(), vec![0.0; layout.extent]);
            places.iter().zip(&drawn).for_each(|(&at, &v)| memory[at] = v);
            places.iter().map(|&at| memory[at]).collect()
        };
        self.inputs.iter().enumerate().map(operand).collect()
    }

    fn expected(&self, operands: &[Vec<f32>]) -> Result<Vec<Vec<f64>>, Wrong> {
        let feeds: Feeds = operands
            .iter()
            .zip(&self.inputs)
            .enumerate()
            .map(|(i, (numbers, shape))| (format!("x{i}"), Tensor::f32(shape.clone(), numbers.clone())))
            .collect();
        let mut answer = self
            .meaning
            .run(self.reference.store().as_mut(), &feeds)
            .map_err(|error| Wrong::Meaning(error.to_string()))?;
        let of = |i: usize| answer.remove(&i.to_string()).map(|t| t.to_f64()).unwrap_or_default();
        Ok((0..self.outputs.len()).map(of).collect())
    }

    /// What the kernel makes of the operands in these layouts; each result in row-major order.
    fn found(
        &self,
        call: &mut Call<'_>,
        operands: &[Vec<f32>],
        reads: fn(&[usize]) -> Layout,
        writes: fn(&[usize]) -> Layout,
    ) -> Result<Vec<Vec<f32>>, Wrong> {
        let inputs: Vec<Layout> = self.inputs.iter().map(|shape| reads(shape)).collect();
        let outputs: Vec<Layout> = self.outputs.iter().map(|shape| writes(shape)).collect();
        let memory = |(layout, numbers): (&Layout, &Vec<f32>)| {
            let mut memory = vec![GAP; layout.extent];
            layout.places().iter().zip(numbers).for_each(|(&at, &v)| memory[at] = v);
            Memory { numbers: memory, first: layout.origin, layout: layout.clone() }
        };
        let memory: Vec<Memory> = inputs.iter().zip(operands).map(memory).collect();
        let mut given = memory.clone();
        let untouched = |layout: &Layout| Memory {
            numbers: vec![UNTOUCHED; layout.extent + 2 * GUARD],
            first: GUARD + layout.origin,
            layout: layout.clone(),
        };
        let mut written: Vec<Memory> = outputs.iter().map(untouched).collect();
        call(&mut given, &mut written)?;
        for (input, (now, before)) in given.iter().zip(&memory).enumerate() {
            if now.numbers.iter().zip(&before.numbers).any(|(a, b)| a.to_bits() != b.to_bits()) {
                return Err(Wrong::Input { input });
            }
        }
        written.iter().enumerate().map(|(output, memory)| read(output, memory)).collect()
    }

    /// The worst element, if it is too far off.
    fn judge(&self, expected: &[Vec<f64>], found: &[Vec<f32>], layout: &'static str) -> Result<(), Wrong> {
        for (output, (truth, answer)) in expected.iter().zip(found).enumerate() {
            let largest = truth.iter().filter(|v| v.is_finite()).fold(0f64, |top, v| top.max(v.abs()));
            // Numbers below these are no longer normal floats.
            let allowed = TOLERANCE * largest.max(1e-30);
            let off = |(&t, &a): (&f64, &f32)| match (t.is_finite(), a.is_finite()) {
                (true, true) => (t - f64::from(a)).abs(),
                // What is not a number may be any that is none.
                (false, false) => 0.0,
                _ => f64::INFINITY,
            };
            let worst = truth.iter().zip(answer).map(off).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((element, off)) = worst
                && off > allowed
            {
                return Err(Wrong::Differs {
                    output,
                    index: index(&self.outputs[output], element),
                    expected: truth[element],
                    found: f64::from(answer[element]),
                    allowed,
                    layout,
                });
            }
        }
        Ok(())
    }
}

/// The elements of an output, once it is sure that they and nothing else were written.
fn read(output: usize, memory: &Memory) -> Result<Vec<f32>, Wrong> {
    let Memory { numbers, layout, .. } = memory;
    let touched = |v: &f32| v.to_bits() != UNTOUCHED.to_bits();
    let (before, rest) = numbers.split_at(GUARD);
    let (inside, behind) = rest.split_at(layout.extent);
    if let Some(first) = before.iter().position(touched) {
        return Err(Wrong::OutOfBounds { output, by: first as isize - GUARD as isize });
    }
    if let Some(last) = behind.iter().rposition(touched) {
        return Err(Wrong::OutOfBounds { output, by: last as isize + 1 });
    }
    let places = layout.places();
    if let Some(element) = places.iter().position(|&at| !touched(&inside[at])) {
        return Err(Wrong::Unwritten { output, index: index(&layout.shape, element) });
    }
    if inside.iter().filter(|v| touched(v)).count() > places.len() {
        return Err(Wrong::Strides { output });
    }
    Ok(places.iter().map(|&at| inside[at]).collect())
}

/// The node as a graph: its operands are inputs `x0`, `x1` ..., its results outputs `0`, `1` ...
fn alone(graph: &Graph, node: &Node) -> GraphResult<Graph> {
    let b = Builder::new(&node.op.name());
    let operands: GraphResult<Vec<Value>> =
        node.operands.iter().enumerate().map(|(i, &v)| b.input(&format!("x{i}"), graph.ty(v).clone())).collect();
    for (i, result) in b.emit(node.op, &operands?, node.attributes.clone())?.into_iter().enumerate() {
        b.output(&i.to_string(), result);
    }
    let alone = b.finish();
    verify(&alone)?;
    Ok(alone)
}
