//! Bytes a second of chains of elementwise operations, of the optimiser and of random numbers:
//! `cargo bench -p fer-cpu-kernels --bench elementwise -- "gelu.*avx2"`.
//!
//! Each operand and each result is counted once.

mod support;

use std::fmt;

use divan::{Bencher, counter::BytesCount};
use fer_cpu_kernels::{
    elementwise::{self, Binary, Element, Operand, Operation, Program, Starts, Unary},
    optimiser::{self, AdamW},
};

use support::{Numbers, On, on_every};

fn main() {
    support::run();
}

/// Rows of a width.
#[derive(Clone, Copy)]
struct Matrix(usize, usize);

/// Hidden tokens of Swin's first and third stage.
const HIDDEN: [Matrix; 2] = [Matrix(25088, 384), Matrix(1568, 1536)];

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.0, self.1)
    }
}

/// Runs a program over dense rows, some of whose inputs are one row that repeats.
fn time(bencher: Bencher<'_, '_>, on: &On<Matrix>, program: &Program, repeats: &[bool]) {
    let Matrix(rows, width) = on.case;
    let mut inputs: Vec<Numbers> =
        repeats.iter().map(|&one| Numbers::new(if one { width } else { rows * width })).collect();
    let mut y = Numbers::new(rows * width);
    let moved = inputs.iter().map(|x| x.len()).sum::<usize>() + y.len();
    let operand = |data: &mut Numbers| Operand {
        data: data.as_mut_ptr().cast(),
        len: data.len(),
        element: Element::F32,
        starts: Starts::Every { offset: 0, stride: if data.len() == width { 0 } else { width } },
        step: 1,
    };
    let (operands, results) = (inputs.iter_mut().map(operand).collect::<Vec<_>>(), [operand(&mut y)]);
    bencher.counter(BytesCount::of_many::<f32>(moved)).bench_local(|| {
        // SAFETY: the operands are the vectors above, which nobody else touches.
        unsafe { elementwise::run(on.isa, program, rows, width, &operands, &results) };
    });
}

/// `gelu(x + bias) + residual`.
#[divan::bench(args = on_every(HIDDEN))]
fn gelu(bencher: Bencher<'_, '_>, on: &On<Matrix>) {
    let operations = vec![
        Operation::Input(0),
        Operation::Input(1),
        Operation::Binary(Binary::Add, 0, 1),
        Operation::Unary(Unary::Gelu, 2),
        Operation::Input(2),
        Operation::Binary(Binary::Add, 3, 4),
    ];
    time(bencher, on, &Program::new(operations, vec![5]), &[false, true, false]);
}

/// `grad * gelu'(x + bias)`.
#[divan::bench(args = on_every(HIDDEN))]
fn gelu_gradient(bencher: Bencher<'_, '_>, on: &On<Matrix>) {
    let operations = vec![
        Operation::Input(0),
        Operation::Input(1),
        Operation::Binary(Binary::Add, 0, 1),
        Operation::Unary(Unary::GeluSlope, 2),
        Operation::Input(2),
        Operation::Binary(Binary::Multiply, 3, 4),
    ];
    time(bencher, on, &Program::new(operations, vec![5]), &[false, true, false]);
}

/// A weight of a layer that stays in the caches, and all of a model that does not.
#[divan::bench(args = on_every([384 * 96, 28_000_000]))]
fn adamw(bencher: Bencher<'_, '_>, on: &On<usize>) {
    let constants = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.05, decoupled: true };
    let [mut parameter, gradient, mut first, mut second] = std::array::from_fn(|_| Numbers::new(on.case));
    second.iter_mut().for_each(|x| *x = x.abs());
    // Four are read, three written.
    bencher.counter(BytesCount::of_many::<f32>(7 * on.case)).bench_local(|| {
        optimiser::adamw(on.isa, constants, 1e-3, 10.0, &mut parameter, &gradient, &mut first, &mut second);
    });
}

/// With the best instruction set that there is; the numbers are the same with every one.
#[divan::bench(args = [8 * 197 * 384, 8 * 3 * 384 * 384])]
fn uniform(bencher: Bencher<'_, '_>, count: usize) {
    let mut to = Numbers::new(count);
    bencher.counter(BytesCount::of_many::<f32>(count)).bench_local(|| {
        fer_cpu_kernels::random::uniform([1, 2, 3], 0, &mut to);
    });
}
