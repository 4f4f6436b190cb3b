//! Runs programs, tile after tile.

use std::ops::Range;

use rayon::prelude::*;

use super::{Binary, Comparison, Element, Operand, Operation, Program, Starts, Unary};
use crate::{
    bf16,
    numbers::{round, widen},
    shared::Scratch,
    simd::{Isa, Kernel, Simd, erf, exp, gelu, gelu_slope, log, tanh},
};

/// Numbers of a tile, at most.
const TILE: usize = 1024;
/// Numbers of a task, about.
const TASK: usize = 1 << 15;

/// Runs a program over `rows` rows of `width`, all outputs at once.
///
/// # Safety
/// Every input's memory is valid for reading as its operand says and every output's for writing, meanwhile nobody else writes to the
/// one or touches the other. An output may be the memory of an input that has the same starts and is not read after the output is
/// filled: see [`Program::reads_until`].
///
/// # Panics
/// When an operand's rows do not lie within its memory.
pub unsafe fn run(
    isa: Isa,
    program: &Program,
    rows: usize,
    width: usize,
    inputs: &[Operand<'_>],
    outputs: &[Operand<'_>],
) {
    if rows == 0 || width == 0 {
        return;
    }
    for (i, input) in inputs.iter().enumerate() {
        input.check(rows, width, "input", i);
    }
    for (i, output) in outputs.iter().enumerate() {
        output.check(rows, width, "output", i);
    }
    let share = (TASK / width).max(1);
    // One long row is cut into several tasks too.
    let piece = if share == 1 { TASK.min(width) } else { width };
    let (tasks, pieces) = (rows.div_ceil(share), width.div_ceil(piece));
    (0..tasks * pieces).into_par_iter().for_each(|task| {
        let (first, from) = (task / pieces * share, task % pieces * piece);
        let range = first..rows.min(first + share);
        let columns = from..width.min(from + piece);
        isa.run(Rows { program, range, columns, inputs, outputs, given: None });
    });
}

/// Runs a program over some rows, on this thread; input `given.0` has its rows in `given.1`, the first of the range at the beginning.
///
/// # Safety
/// As for [`run`].
///
/// # Panics
/// When an operand's rows do not lie within its memory.
pub unsafe fn run_rows(
    isa: Isa,
    program: &Program,
    range: Range<usize>,
    width: usize,
    inputs: &[Operand<'_>],
    outputs: &[Operand<'_>],
    given: (usize, &[f32]),
) {
    if range.is_empty() || width == 0 {
        return;
    }
    for (i, input) in inputs.iter().enumerate().filter(|(i, _)| *i != given.0) {
        input.check(range.end, width, "input", i);
    }
    for (i, output) in outputs.iter().enumerate() {
        output.check(range.end, width, "output", i);
    }
    assert!(given.1.len() >= range.len() * width, "the given rows are too few");
    isa.run(Rows { program, range, columns: 0..width, inputs, outputs, given: Some(given) });
}

struct Rows<'a> {
    program: &'a Program,
    range: Range<usize>,
    columns: Range<usize>,
    inputs: &'a [Operand<'a>],
    outputs: &'a [Operand<'a>],
    given: Option<(usize, &'a [f32])>,
}

/// Rows and columns of the tile at hand.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    rows: usize,
    column: usize,
    width: usize,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let program = self.program;
        let width = self.columns.len();
        let together = (TILE / width).max(1);
        let breadth = width.min(TILE);
        let stride = (together * breadth).next_multiple_of(16);
        let mut memory = Scratch::new(program.tile_count * stride);
        let base = memory.as_mut_ptr();
        // Pointers to registers: their tiles, or the memory of inputs and outputs that are contiguous.
        let mut registers = Registers::new(program.operations.len());
        let mut row = self.range.start;
        let mut first = true;
        while row < self.range.end {
            let rows = together.min(self.range.end - row);
            for column in self.columns.clone().step_by(breadth) {
                let place = Place { row, rows, column, width: breadth.min(self.columns.end - column) };
                for (i, operation) in program.operations.iter().enumerate() {
                    // SAFETY: the tile lies within the scratch memory, the operands were checked.
                    unsafe {
                        let tile = base.add(program.tiles[i] * stride);
                        self.fill(s, i, operation, place, tile, first, &mut registers);
                    }
                }
                // SAFETY: as above.
                unsafe { self.write(s, place, &registers) };
                // A repeated row must be laid out anew where tiles are cut differently.
                first = width > TILE;
            }
            row += rows;
        }
    }
}

/// A pointer for each register, without allocating for short programs.
struct Registers {
    few: [*const f32; 32],
    many: Vec<*const f32>,
}

impl Registers {
    fn new(count: usize) -> Registers {
        let many = if count > 32 { vec![std::ptr::null(); count] } else { vec![] };
        Registers { few: [std::ptr::null(); 32], many }
    }

    #[inline(always)]
    fn get(&self, register: usize) -> *const f32 {
        if self.many.is_empty() { self.few[register] } else { self.many[register] }
    }

    #[inline(always)]
    fn set(&mut self, register: usize, at: *const f32) {
        if self.many.is_empty() {
            self.few[register] = at;
        } else {
            self.many[register] = at;
        }
    }
}

impl Rows<'_> {
    /// # Safety
    /// `tile` is valid for the place's numbers, operands for their rows.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the state of one loop")]
    unsafe fn fill<S: Simd>(
        &self,
        s: S,
        register: usize,
        operation: &Operation,
        place: Place,
        tile: *mut f32,
        first: bool,
        registers: &mut Registers,
    ) {
        let count = place.rows * place.width;
        // SAFETY: the caller's promises; registers were filled in order.
        unsafe {
            let at = match *operation {
                Operation::Input(i) => self.input(s, i, place, tile, first),
                Operation::Constant(x) => {
                    if first {
                        std::slice::from_raw_parts_mut(tile, count).fill(x);
                    }
                    tile
                }
                ref operation => {
                    let to = self.target(register, place).unwrap_or(tile);
                    match *operation {
                        Operation::Unary(op, a) => unary(s, op, registers.get(a), to, count),
                        Operation::Binary(op, a, b) => binary(s, op, registers.get(a), registers.get(b), to, count),
                        Operation::Compare(op, a, b) => compare(s, op, registers.get(a), registers.get(b), to, count),
                        Operation::Select(m, a, b) => {
                            select(s, registers.get(m), registers.get(a), registers.get(b), to, count);
                        }
                        Operation::Input(_) | Operation::Constant(_) => {}
                    }
                    to
                }
            };
            registers.set(register, at);
        }
    }

    /// Where a register may be written at once: the memory of an output whose rows follow each other.
    ///
    /// # Safety
    /// The outputs' rows lie within their memory.
    #[inline(always)]
    unsafe fn target(&self, register: usize, place: Place) -> Option<*mut f32> {
        let index = self.program.outputs.iter().position(|&r| r == register)?;
        let output = &self.outputs[index];
        let together = match output.starts {
            Starts::Every { stride, .. } => {
                place.rows == 1 || (stride == place.width && self.columns.len() == place.width)
            }
            Starts::At(_) => place.rows == 1,
        };
        if output.element != Element::F32 || output.step != 1 || !together {
            return None;
        }
        // SAFETY: the caller's promise.
        Some(unsafe { output.data.cast::<f32>().add(output.starts.of(place.row) + place.column) })
    }

    /// An input's numbers: where they stand if they follow each other, else laid out in the tile.
    ///
    /// # Safety
    /// As for `fill`.
    #[inline(always)]
    unsafe fn input<S: Simd>(&self, s: S, index: usize, place: Place, tile: *mut f32, first: bool) -> *const f32 {
        let Place { row, rows, column, width } = place;
        // SAFETY: the caller's promises.
        unsafe {
            if let Some((given, data)) = self.given
                && given == index
            {
                let at = (row - self.range.start) * self.columns.len() + column;
                return data[at..at + rows * width].as_ptr();
            }
            let input = &self.inputs[index];
            let repeats = matches!(input.starts, Starts::Every { stride: 0, .. });
            if repeats && !first {
                // The same rows as in the tile before.
                return tile;
            }
            if input.element == Element::F32 && input.step == 1 {
                let data = input.data.cast::<f32>();
                let whole = self.columns.len() == width;
                match input.starts {
                    Starts::Every { offset, stride } if !repeats && (rows == 1 || (stride == width && whole)) => {
                        return data.add(offset + row * stride + column);
                    }
                    Starts::At(starts) if rows == 1 => return data.add(starts[row] as usize + column),
                    _ => {}
                }
                for i in 0..rows {
                    let from = data.add(input.starts.of(row + i) + column);
                    widen(s, from, tile.add(i * width), width);
                }
                return tile;
            }
            if input.element == Element::Bf16 && input.step == 1 {
                let data = input.data.cast::<u16>();
                for i in 0..rows {
                    widen(s, data.add(input.starts.of(row + i) + column), tile.add(i * width), width);
                }
                return tile;
            }
            for i in 0..rows {
                let start = input.starts.of(row + i) + column * input.step;
                let to = std::slice::from_raw_parts_mut(tile.add(i * width), width);
                if input.step == 0 {
                    to.fill(number(input, start));
                } else {
                    to.iter_mut().enumerate().for_each(|(j, x)| *x = number(input, start + j));
                }
            }
            tile
        }
    }

    /// Writes out what was not written at once.
    ///
    /// # Safety
    /// As for `fill`.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, s: S, place: Place, registers: &Registers) {
        for (index, &register) in self.program.outputs.iter().enumerate() {
            let output = &self.outputs[index];
            let from = registers.get(register);
            // SAFETY: the caller's promises.
            unsafe {
                // Of several outputs of one register, the first is written at once.
                let first = self.program.outputs.iter().position(|&r| r == register) == Some(index);
                if first && self.target(register, place).is_some_and(|to| to.cast_const() == from) {
                    continue;
                }
                for i in 0..place.rows {
                    let row = std::slice::from_raw_parts(from.add(i * place.width), place.width);
                    let start = output.starts.of(place.row + i) + place.column;
                    match output.element {
                        Element::F32 => {
                            let to = output.data.cast::<f32>().add(start);
                            std::ptr::copy_nonoverlapping(row.as_ptr(), to, row.len());
                        }
                        Element::Bf16 => {
                            let to = output.data.cast::<u16>().add(start);
                            round(s, row.as_ptr(), to, row.len());
                        }
                        Element::Bool => {
                            let to = output.data.add(start);
                            row.iter().enumerate().for_each(|(j, &x)| to.add(j).write(u8::from(x != 0.0)));
                        }
                        Element::U8 => {
                            let to = output.data.add(start);
                            row.iter().enumerate().for_each(|(j, &x)| to.add(j).write(x as u8));
                        }
                        Element::I32 => {
                            let to = output.data.cast::<i32>().add(start);
                            row.iter().enumerate().for_each(|(j, &x)| to.add(j).write(x as i32));
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// Element `at` of the input is there.
#[inline(always)]
unsafe fn number(input: &Operand<'_>, at: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        match input.element {
            Element::F32 => input.data.cast::<f32>().add(at).read(),
            Element::Bf16 => bf16::widen(input.data.cast::<u16>().add(at).read()),
            Element::U8 | Element::Bool => f32::from(input.data.add(at).read()),
            Element::I32 => input.data.cast::<i32>().add(at).read() as f32,
        }
    }
}

/// A loop over vectors of one, two or three operands.
macro_rules! each {
    ($s:ident, $count:ident, $to:ident, [$($x:ident),+], $result:expr) => {{
        let mut at = 0;
        while at + S::LANES <= $count {
            $(let $x = $s.load($x.add(at));)+
            $s.store($to.add(at), $result);
            at += S::LANES;
        }
        if at < $count {
            let left = $count - at;
            $(let $x = $s.load_first($x.add(at), left);)+
            $s.store_first($to.add(at), $result, left);
        }
    }};
}

/// # Safety
/// All are valid for `count` numbers.
#[inline(always)]
unsafe fn unary<S: Simd>(s: S, op: Unary, a: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match op {
            Unary::Negate => each!(s, count, to, [a], s.neg(a)),
            Unary::Exponential => each!(s, count, to, [a], exp(s, a)),
            Unary::Log => each!(s, count, to, [a], log(s, a)),
            Unary::Sqrt => each!(s, count, to, [a], s.sqrt(a)),
            Unary::Tanh => each!(s, count, to, [a], tanh(s, a)),
            Unary::Erf => each!(s, count, to, [a], erf(s, a)),
            Unary::Floor => each!(s, count, to, [a], s.floor(a)),
            Unary::Gelu => each!(s, count, to, [a], gelu(s, a)),
            Unary::GeluSlope => each!(s, count, to, [a], gelu_slope(s, a)),
            Unary::RoundToBf16 => {
                for i in 0..count {
                    to.add(i).write(bf16::widen(bf16::round(a.add(i).read())));
                }
            }
        }
    }
}

/// # Safety
/// All are valid for `count` numbers.
#[inline(always)]
unsafe fn binary<S: Simd>(s: S, op: Binary, a: *const f32, b: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match op {
            Binary::Add => each!(s, count, to, [a, b], s.add(a, b)),
            Binary::Subtract => each!(s, count, to, [a, b], s.sub(a, b)),
            Binary::Multiply => each!(s, count, to, [a, b], s.mul(a, b)),
            Binary::Divide => each!(s, count, to, [a, b], s.div(a, b)),
            Binary::Maximum => each!(s, count, to, [a, b], s.select(s.eq(a, a), s.max(a, b), a)),
            // Seldom, and the library's is exact to the last place.
            Binary::Power => {
                for i in 0..count {
                    to.add(i).write(a.add(i).read().powf(b.add(i).read()));
                }
            }
        }
    }
}

/// # Safety
/// All are valid for `count` numbers.
#[inline(always)]
unsafe fn compare<S: Simd>(s: S, op: Comparison, a: *const f32, b: *const f32, to: *mut f32, count: usize) {
    let (one, zero) = (s.splat(1.0), s.splat(0.0));
    // SAFETY: the caller's promise.
    unsafe {
        match op {
            Comparison::Equal => each!(s, count, to, [a, b], s.select(s.eq(a, b), one, zero)),
            Comparison::NotEqual => each!(s, count, to, [a, b], s.select(s.eq(a, b), zero, one)),
            Comparison::Less => each!(s, count, to, [a, b], s.select(s.lt(a, b), one, zero)),
            Comparison::LessOrEqual => each!(s, count, to, [a, b], s.select(s.le(a, b), one, zero)),
        }
    }
}

/// # Safety
/// All are valid for `count` numbers.
#[inline(always)]
unsafe fn select<S: Simd>(s: S, m: *const f32, a: *const f32, b: *const f32, to: *mut f32, count: usize) {
    let zero = s.splat(0.0);
    // SAFETY: the caller's promise.
    unsafe { each!(s, count, to, [m, a, b], s.select(s.eq(m, zero), b, a)) }
}
