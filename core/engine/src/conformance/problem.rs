//! A problem: a graph of inputs, what to feed it, and how close an answer must be.

use std::fmt;

use fer_graph::{Builder, DType, Graph, GraphError, TensorType, Value};

use crate::{Data, Feeds, Philox, Precision, Tensor};

/// How far an answer may be from the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Share of the magnitude, in f64 and in f32.
    pub f64: f64,
    pub f32: f64,
    /// Magnitude is the element's own; else the largest of the tensor and one, since a sum of numbers of order one errs by
    /// their size and not by its own.
    pub elementwise: bool,
}

impl Tolerance {
    /// Elements are moved, chosen or compared: not a bit may change.
    pub const EXACT: Tolerance = Tolerance { f64: 0.0, f32: 0.0, elementwise: true };
    /// One rounded operation, or a library function good to a few units in the last place.
    pub const ROUNDED: Tolerance = Tolerance { f64: 1e-14, f32: 2e-6, elementwise: true };
    /// Sums and products of tens of terms of order one, in any order.
    pub const SUMMED: Tolerance = Tolerance { f64: 1e-12, f32: 1e-5, elementwise: false };
    /// Division by a deviation that may be small, which magnifies the sums' errors.
    pub const NORMALISED: Tolerance = Tolerance { f64: 1e-11, f32: 1e-4, elementwise: false };
    /// Rounded to 8 bits on the way, where two f32 results may fall on two sides of a tie.
    pub const BFLOAT16: Tolerance = Tolerance { f64: 1.0 / 64.0, f32: 1.0 / 64.0, elementwise: false };

    pub fn at(self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.f32,
            Precision::F64 => self.f64,
        }
    }
}

/// Something every engine must get right.
#[derive(Clone)]
pub struct Problem {
    /// The op it is about.
    pub op: &'static str,
    pub graph: Graph,
    /// Numbers that f32 holds exactly, so that all precisions are asked the same.
    pub feeds: Feeds,
    pub tolerance: Tolerance,
    /// Inputs by which the outputs named in `smooth` may be differentiated: they lie away from every kink.
    pub wrt: Vec<String>,
    pub smooth: Vec<String>,
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.op)?;
        f.write_str(&describe(&self.graph))?;
        for (name, tensor) in &self.feeds {
            writeln!(f, "  {name} = {:?}", tensor.to_f64())?;
        }
        Ok(())
    }
}

/// A graph in lines: arguments, nodes, outputs.
pub(super) fn describe(graph: &Graph) -> String {
    let mut text = String::new();
    let list = |values: &[Value]| values.iter().map(|v| format!("%{}", v.0)).collect::<Vec<_>>().join(", ");
    for a in &graph.arguments {
        text += &format!("  %{} = {} {:?}: {}\n", a.value.0, a.role.name(), a.name, graph.ty(a.value));
    }
    for node in &graph.nodes {
        let types: Vec<String> = node.results.iter().map(|v| graph.ty(*v).to_string()).collect();
        text += &format!(
            "  {} = {:?}({}) {}: {}\n",
            list(&node.results),
            node.op,
            list(&node.operands),
            node.attributes,
            types.join(", ")
        );
    }
    for (name, v) in &graph.outputs {
        text += &format!("  output {name:?} = %{}\n", v.0);
    }
    text
}

/// How an input's numbers are drawn.
#[derive(Clone, Copy, Debug)]
pub enum Draw {
    /// Within -2 to 2.
    Any,
    /// Within 0.3 to 2.5.
    Positive,
    /// Within -2 to 2, at least 0.2 from 0.
    NotZero,
    /// At least 0.05 from each other, so that no maximum is tied or nearly so.
    Distinct,
    /// At least 0.1 from every integer.
    NotWhole,
}

/// A problem in the making: a builder whose inputs come with numbers.
pub struct Draft {
    pub b: Builder,
    feeds: Feeds,
    wrt: Vec<String>,
    random: Random,
}

/// Numbers from a seed.
pub struct Random {
    philox: Philox,
    count: u32,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { philox: Philox::new(seed), count: 0 }
    }

    /// Within 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        self.count += 1;
        f64::from(self.philox.block([self.count, 0, 0, 0])[0] >> 8) / f64::from(1u32 << 24)
    }

    /// Within 0 to `n`, `n` excluded.
    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// `0..n` in a random order.
    pub fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    pub fn draw(&mut self, count: usize, draw: Draw) -> Vec<f64> {
        let order = if matches!(draw, Draw::Distinct) { self.order(count) } else { vec![] };
        (0..count)
            .map(|i| {
                let u = self.unit();
                match draw {
                    Draw::Any => 4.0 * u - 2.0,
                    Draw::Positive => 0.3 + 2.2 * u,
                    Draw::NotZero => (0.2 + 1.8 * u) * if self.unit() < 0.5 { -1.0 } else { 1.0 },
                    Draw::Distinct => (order[i] as f64 - count as f64 / 2.0) * 0.06 + 0.01 * u,
                    Draw::NotWhole => (self.below(7) as f64 - 3.0) + 0.1 + 0.8 * u,
                }
            })
            .collect()
    }
}

impl Draft {
    pub fn new(seed: u64) -> Draft {
        Draft { b: Builder::new("problem"), feeds: Feeds::new(), wrt: vec![], random: Random::new(seed) }
    }

    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// A float input of drawn numbers, by which the problem may be differentiated.
    pub fn input(&mut self, name: &str, shape: &[usize], draw: Draw) -> Result<Value, GraphError> {
        let numbers = self.random.draw(shape.iter().product(), draw);
        self.wrt.push(name.to_owned());
        self.fixed(name, shape, numbers)
    }

    /// A float input of given numbers, by which the problem may be differentiated.
    pub fn differentiated(&mut self, name: &str, shape: &[usize], numbers: Vec<f64>) -> Result<Value, GraphError> {
        self.wrt.push(name.to_owned());
        self.fixed(name, shape, numbers)
    }

    /// Says that the problem is not to be differentiated after all.
    pub fn hold(&mut self) {
        self.wrt.clear();
    }

    /// A float input of given numbers, never differentiated by.
    pub fn fixed(&mut self, name: &str, shape: &[usize], numbers: Vec<f64>) -> Result<Value, GraphError> {
        let exact = numbers.into_iter().map(|v| f64::from(v as f32)).collect();
        self.feeds.insert(name.to_owned(), Tensor::f64(shape, exact));
        self.b.input(name, TensorType::float(shape))
    }

    pub fn integers(&mut self, name: &str, shape: &[usize], numbers: Vec<i32>) -> Result<Value, GraphError> {
        self.feeds.insert(name.to_owned(), Tensor::i32(shape, numbers));
        self.b.input(name, TensorType::new(DType::I32, shape))
    }

    pub fn flags(&mut self, name: &str, shape: &[usize]) -> Result<Value, GraphError> {
        let flags = (0..shape.iter().product()).map(|_| self.random.unit() < 0.5).collect();
        self.feeds.insert(name.to_owned(), Tensor::new(shape, Data::Bool(flags)));
        self.b.input(name, TensorType::new(DType::Bool, shape))
    }

    /// The problem of computing `results`, all of which are smooth.
    pub fn finish(self, op: &'static str, results: &[Value], tolerance: Tolerance) -> Problem {
        let smooth = results.len();
        self.finish_partly_smooth(op, results, smooth, tolerance)
    }

    /// The problem of computing `results`; the first `smooth` of them may be differentiated.
    pub fn finish_partly_smooth(
        self,
        op: &'static str,
        results: &[Value],
        smooth: usize,
        tolerance: Tolerance,
    ) -> Problem {
        let name = |i: usize| format!("result{i}");
        for (i, v) in results.iter().enumerate() {
            self.b.output(&name(i), *v);
        }
        Problem {
            op,
            graph: self.b.finish(),
            feeds: self.feeds,
            tolerance,
            wrt: self.wrt,
            smooth: (0..smooth).map(name).collect(),
        }
    }
}
