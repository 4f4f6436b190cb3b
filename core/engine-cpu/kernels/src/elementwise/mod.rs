//! Chains of elementwise operations in one pass over memory.
//!
//! A [`Program`] is a list of operations on registers, each a tile of some hundred numbers that stays in the first cache. It runs over
//! rows: every input says where its rows begin, so it may be transposed in blocks, rolled, or repeated, and so may every output.

mod run;

pub use run::{run, run_rows};

/// What an input or output is made of. In registers all are `f32`; true is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    /// bfloat16: rounded when it is written, to the nearest, ties to even.
    Bf16,
    U8,
    Bool,
    I32,
}

impl Element {
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 | Element::I32 => 4,
            Element::Bf16 => 2,
            Element::U8 | Element::Bool => 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    Negate,
    Exponential,
    Log,
    Sqrt,
    Tanh,
    Erf,
    Floor,
    Gelu,
    /// The derivative of `Gelu`.
    GeluSlope,
    /// To the nearest bfloat16.
    RoundToBf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// NaN where either is.
    Maximum,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
}

/// A register, by the place of the operation that fills it.
pub type Register = usize;

/// What fills a register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    Input(usize),
    Constant(f32),
    Unary(Unary, Register),
    Binary(Binary, Register, Register),
    Compare(Comparison, Register, Register),
    /// Where the first is not 0 the second, elsewhere the third.
    Select(Register, Register, Register),
}

impl Operation {
    fn operands(&self) -> impl Iterator<Item = Register> {
        let found = match *self {
            Operation::Input(_) | Operation::Constant(_) => [None; 3],
            Operation::Unary(_, a) => [Some(a), None, None],
            Operation::Binary(_, a, b) | Operation::Compare(_, a, b) => [Some(a), Some(b), None],
            Operation::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        found.into_iter().flatten()
    }
}

/// Operations in order, and the registers that are written out.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    operations: Vec<Operation>,
    outputs: Vec<Register>,
    /// The tile that each register stands in; registers share tiles when their lives do not overlap.
    tiles: Vec<usize>,
    tile_count: usize,
}

impl Program {
    /// # Panics
    /// When an operation or output names a register that is not filled before.
    pub fn new(operations: Vec<Operation>, outputs: Vec<Register>) -> Program {
        let count = operations.len();
        let mut last: Vec<usize> = (0..count).collect();
        for (i, operation) in operations.iter().enumerate() {
            for r in operation.operands() {
                assert!(r < i, "operation {i} reads register {r}, which is not filled yet");
                last[r] = i;
            }
        }
        for &r in &outputs {
            assert!(r < count, "there is no register {r} to write out");
            last[r] = count;
        }
        // What does not change from tile to tile is filled once: it has a tile for itself, from the beginning to the end.
        let stays = |i: usize| matches!(operations[i], Operation::Input(_) | Operation::Constant(_));
        let (mut tiles, mut busy): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
        for (i, &end) in last.iter().enumerate() {
            let end = if stays(i) { count } else { end };
            // A tile may be overwritten by the operation that reads it last.
            let free = busy.iter().position(|&until| until <= i && !stays(i));
            let tile = free.unwrap_or(busy.len());
            if tile == busy.len() {
                busy.push(0);
            }
            busy[tile] = end;
            tiles.push(tile);
        }
        Program { operations, outputs, tiles, tile_count: busy.len() }
    }

    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub fn outputs(&self) -> &[Register] {
        &self.outputs
    }

    /// The last operation that reads an input's numbers. An output that is filled there, or later, may stand in their memory.
    pub fn reads_until(&self, input: usize) -> Register {
        let filled = |r: &Register| self.operations[*r] == Operation::Input(input);
        let reads = |operation: &Operation| operation.operands().any(|r| filled(&r));
        (0..self.operations.len()).rev().find(|&i| filled(&i) || reads(&self.operations[i])).unwrap_or(0)
    }
}

/// Where rows begin.
#[derive(Clone, Copy, Debug)]
pub enum Starts<'a> {
    Every { offset: usize, stride: usize },
    At(&'a [u32]),
}

impl Starts<'_> {
    #[inline(always)]
    fn of(&self, row: usize) -> usize {
        match self {
            Starts::Every { offset, stride } => offset + row * stride,
            Starts::At(starts) => starts[row] as usize,
        }
    }

    fn last(&self, rows: usize) -> usize {
        match self {
            Starts::Every { .. } => self.of(rows - 1),
            Starts::At(starts) => starts[..rows].iter().copied().max().unwrap_or(0) as usize,
        }
    }
}

/// Rows in memory, for reading or writing.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    pub data: *mut u8,
    /// Elements that are there.
    pub len: usize,
    pub element: Element,
    pub starts: Starts<'a>,
    /// 1, or 0 where a row repeats one element.
    pub step: usize,
}

// SAFETY: whoever makes an operand promises to `run` that its memory may be used so.
unsafe impl Send for Operand<'_> {}
// SAFETY: as above.
unsafe impl Sync for Operand<'_> {}

impl Operand<'_> {
    fn check(&self, rows: usize, width: usize, what: &str, index: usize) {
        let reach = if self.step == 0 { 1 } else { width };
        let end = self.starts.last(rows) + reach;
        assert!(end <= self.len, "{what} {index} ends at {end} of {} elements", self.len);
    }
}

#[cfg(test)]
mod tests;
