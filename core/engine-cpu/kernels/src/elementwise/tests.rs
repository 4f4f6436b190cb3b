//! Programs over rows that stand anyhow, against the same operations one by one.

use super::*;
use crate::{bf16, simd::Isa};

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count)
        .map(|i| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed * 97) % 2001) as f32 / 1000.0 - 1.0)
        .collect()
}

fn operand<'a, T>(data: &'a mut [T], element: Element, starts: Starts<'a>, step: usize) -> Operand<'a> {
    Operand { data: data.as_mut_ptr().cast(), len: data.len(), element, starts, step }
}

/// Inputs in bfloat16 are what they stand for, outputs the nearest to what `f32` would be, wherever rows stand.
#[test]
fn bfloat16_is_a_matter_of_memory_alone() {
    for isa in Isa::available() {
        for (rows, width) in [(1, 1), (7, 33), (5, 96), (3, 2500), (1, 70_000), (900, 64)] {
            let mut halves: Vec<u16> = numbers(rows * width, 1).into_iter().map(bf16::round).collect();
            let mut x: Vec<f32> = halves.iter().map(|&x| bf16::widen(x)).collect();
            let mut scale: Vec<u16> = numbers(rows, 2).into_iter().map(bf16::round).collect();
            let mut wide: Vec<f32> = scale.iter().map(|&x| bf16::widen(x)).collect();
            let backwards: Vec<u32> = (0..rows).map(|r| ((rows - 1 - r) * width) as u32).collect();
            let program = Program::new(
                vec![
                    Operation::Input(0),
                    Operation::Input(1),
                    Operation::Binary(Binary::Multiply, 0, 1),
                    Operation::Unary(Unary::Gelu, 2),
                ],
                vec![2, 3],
            );
            for starts in [Starts::Every { offset: 0, stride: width }, Starts::At(&backwards)] {
                let every = Starts::Every { offset: 0, stride: 1 };
                let (mut plain, mut gelu) = (vec![f32::NAN; rows * width], vec![f32::NAN; rows * width]);
                let (mut rounded, mut kept) = (vec![9u16; rows * width], vec![f32::NAN; rows * width]);
                // SAFETY: the slices outlive the calls, and nobody else touches them.
                unsafe {
                    let inputs = [operand(&mut x, Element::F32, starts, 1), operand(&mut wide, Element::F32, every, 0)];
                    let outputs =
                        [operand(&mut plain, Element::F32, starts, 1), operand(&mut gelu, Element::F32, starts, 1)];
                    run(isa, &program, rows, width, &inputs, &outputs);
                    let inputs =
                        [operand(&mut halves, Element::Bf16, starts, 1), operand(&mut scale, Element::Bf16, every, 0)];
                    let outputs =
                        [operand(&mut kept, Element::F32, starts, 1), operand(&mut rounded, Element::Bf16, starts, 1)];
                    run(isa, &program, rows, width, &inputs, &outputs);
                }
                assert!(kept == plain, "{isa} {rows} {width}");
                let nearest: Vec<u16> = gelu.into_iter().map(bf16::round).collect();
                assert!(rounded == nearest, "{isa} {rows} {width}");
            }
        }
    }
}

/// y = gelu(x * scale[row] + bias) + residual[table], where rows that are not positive at their mask are 0.
#[test]
fn rows_meet_whatever_their_order() {
    for isa in Isa::available() {
        for (rows, width) in [(1, 1), (7, 33), (5, 96), (130, 17), (3, 2500), (1, 70_000), (900, 64)] {
            let every = |stride| Starts::Every { offset: 0, stride };
            let backwards: Vec<u32> = (0..rows).map(|r| ((rows - 1 - r) * width) as u32).collect();
            let (mut x, mut scale, mut bias) = (numbers(rows * width, 1), numbers(rows, 2), numbers(width, 3));
            let mut residual = numbers(rows * width, 4);
            let mut mask: Vec<u8> = (0..rows * width).map(|i| u8::from(i % 3 > 0)).collect();
            let mut y = vec![f32::NAN; rows * width];
            let mut positive = vec![9u8; rows * width];
            let program = Program::new(
                vec![
                    Operation::Input(0),
                    Operation::Input(1),
                    Operation::Binary(Binary::Multiply, 0, 1),
                    Operation::Input(2),
                    Operation::Binary(Binary::Add, 2, 3),
                    Operation::Unary(Unary::Gelu, 4),
                    Operation::Input(3),
                    Operation::Binary(Binary::Add, 5, 6),
                    Operation::Constant(0.0),
                    Operation::Input(4),
                    Operation::Select(9, 7, 8),
                    Operation::Compare(Comparison::Less, 8, 10),
                ],
                vec![10, 11],
            );
            let truth: Vec<f64> = (0..rows * width)
                .map(|i| {
                    let (r, c) = (i / width, i % width);
                    let t = f64::from(x[i]) * f64::from(scale[r]) + f64::from(bias[c]);
                    let gelu = 0.5 * t * (1.0 + libm_erf(t / std::f64::consts::SQRT_2));
                    let sum = gelu + f64::from(residual[(rows - 1 - r) * width + c]);
                    if mask[i] == 0 { 0.0 } else { sum }
                })
                .collect();
            let inputs = [
                operand(&mut x, Element::F32, every(width), 1),
                operand(&mut scale, Element::F32, every(1), 0),
                operand(&mut bias, Element::F32, every(0), 1),
                operand(&mut residual, Element::F32, Starts::At(&backwards), 1),
                operand(&mut mask, Element::Bool, every(width), 1),
            ];
            let outputs = [
                operand(&mut y, Element::F32, Starts::At(&backwards), 1),
                operand(&mut positive, Element::Bool, every(width), 1),
            ];
            // SAFETY: the operands are the vectors above.
            unsafe { run(isa, &program, rows, width, &inputs, &outputs) };
            for (i, &t) in truth.iter().enumerate() {
                let (r, c) = (i / width, i % width);
                let found = y[(rows - 1 - r) * width + c];
                // A handful of f32 operations on numbers below 3.
                assert!((f64::from(found) - t).abs() <= 1e-6, "{isa} {rows} x {width}: {found} for {t} at {i}");
                assert_eq!(positive[i] == 1, found > 0.0);
            }
        }
    }
}

fn libm_erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// Rows that a product has just finished are read where they are.
#[test]
fn given_rows_are_read_in_place() {
    let program = Program::new(
        vec![Operation::Input(0), Operation::Input(1), Operation::Binary(Binary::Subtract, 0, 1)],
        vec![2],
    );
    for isa in Isa::available() {
        let (mut all, mut y) = (numbers(10 * 8, 1), vec![0.0; 80]);
        let given = numbers(4 * 8, 2);
        let every = Starts::Every { offset: 0, stride: 8 };
        let expected: Vec<f32> = (0..32).map(|i| given[i] - all[24 + i]).collect();
        let inputs =
            [operand(&mut [] as &mut [f32], Element::F32, every, 1), operand(&mut all, Element::F32, every, 1)];
        let outputs = [operand(&mut y, Element::F32, every, 1)];
        // SAFETY: the operands are the vectors above.
        unsafe { run_rows(isa, &program, 3..7, 8, &inputs, &outputs, (0, &given)) };
        assert_eq!(y[24..56], expected);
        assert!(y[..24].iter().chain(&y[56..]).all(|&y| y == 0.0));
    }
}

/// In place, as an optimiser's update.
#[test]
fn an_output_may_be_an_input() {
    let program = Program::new(
        vec![Operation::Input(0), Operation::Unary(Unary::Negate, 0), Operation::Binary(Binary::Add, 1, 1)],
        vec![2, 1],
    );
    for isa in Isa::available() {
        let (mut x, mut y) = (numbers(5000, 1), vec![0.0; 5000]);
        let before = x.clone();
        let starts = Starts::Every { offset: 0, stride: 5000 };
        let input = operand(&mut x, Element::F32, starts, 1);
        // SAFETY: the operands are the vectors above, and x is read where it is written.
        unsafe { run(isa, &program, 1, 5000, &[input], &[input, operand(&mut y, Element::F32, starts, 1)]) };
        assert!(x.iter().zip(&before).all(|(x, b)| *x == -2.0 * b));
        assert!(y.iter().zip(&before).all(|(y, b)| *y == -b));
    }
}

/// A constant, and a row that repeats, come after registers that are done with: they must outlive the next tiles.
#[test]
fn what_is_filled_once_stays_over_many_tiles() {
    let program = Program::new(
        vec![
            Operation::Input(0),
            Operation::Unary(Unary::Negate, 0),
            Operation::Binary(Binary::Add, 1, 0),
            Operation::Constant(3.0),
            Operation::Input(1),
            Operation::Binary(Binary::Add, 2, 3),
            Operation::Binary(Binary::Add, 5, 4),
        ],
        vec![6],
    );
    for isa in Isa::available() {
        let (mut x, mut row, mut y) = (numbers(900 * 40, 1), numbers(40, 2), vec![0.0f32; 900 * 40]);
        let every = |stride| Starts::Every { offset: 0, stride };
        let inputs = [operand(&mut x, Element::F32, every(40), 1), operand(&mut row, Element::F32, every(0), 1)];
        let outputs = [operand(&mut y, Element::F32, every(40), 1)];
        // SAFETY: the operands are the vectors above.
        unsafe { run(isa, &program, 900, 40, &inputs, &outputs) };
        assert!(y.iter().enumerate().all(|(i, &y)| y == 3.0 + row[i % 40]), "{isa}");
    }
}

#[test]
fn one_register_may_be_written_twice() {
    let program = Program::new(vec![Operation::Input(0), Operation::Unary(Unary::Negate, 0)], vec![1, 1, 0]);
    for isa in Isa::available() {
        let (mut x, mut y) = (numbers(70, 1), [[0.0f32; 70]; 3]);
        let expected: Vec<f32> = x.iter().map(|x| -x).collect();
        let starts = Starts::Every { offset: 0, stride: 70 };
        let input = operand(&mut x, Element::F32, starts, 1);
        let outputs: Vec<Operand<'_>> = y.iter_mut().map(|y| operand(y, Element::F32, starts, 1)).collect();
        // SAFETY: the operands are the arrays above.
        unsafe { run(isa, &program, 1, 70, &[input], &outputs) };
        assert_eq!((&y[0][..], &y[1][..], &y[2][..]), (&expected[..], &expected[..], &x[..]));
    }
}

#[test]
fn comparisons_and_maxima_see_nan() {
    let ops = [Comparison::Equal, Comparison::NotEqual, Comparison::Less, Comparison::LessOrEqual];
    let mut operations = vec![Operation::Input(0), Operation::Input(1)];
    operations.extend(ops.map(|op| Operation::Compare(op, 0, 1)));
    operations.push(Operation::Binary(Binary::Maximum, 0, 1));
    let program = Program::new(operations, vec![2, 3, 4, 5, 6]);
    let (mut a, mut b) = ([1.0, 2.0, f32::NAN, 1.0, -0.0], [1.0, 1.0, 1.0, f32::NAN, 0.0]);
    for isa in Isa::available() {
        let mut found = [[7.0f32; 5]; 5];
        let starts = Starts::Every { offset: 0, stride: 5 };
        let outputs: Vec<Operand<'_>> = found.iter_mut().map(|o| operand(o, Element::F32, starts, 1)).collect();
        let inputs = [operand(&mut a, Element::F32, starts, 1), operand(&mut b, Element::F32, starts, 1)];
        // SAFETY: the operands are the arrays above.
        unsafe { run(isa, &program, 1, 5, &inputs, &outputs) };
        assert_eq!(found[0], [1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(found[1], [0.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(found[2], [0.0; 5]);
        assert_eq!(found[3], [1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(found[4][..2], [1.0, 2.0]);
        assert!(found[4][2].is_nan() && found[4][3].is_nan() && found[4][4] == 0.0);
    }
}

#[test]
#[should_panic(expected = "input 0 ends at 12 of 11 elements")]
fn rows_that_do_not_lie_within_are_refused() {
    let program = Program::new(vec![Operation::Input(0), Operation::Unary(Unary::Negate, 0)], vec![1]);
    let starts = Starts::Every { offset: 0, stride: 4 };
    let (mut x, mut y) = ([0.0f32; 11], [0.0f32; 12]);
    let (input, output) = (operand(&mut x, Element::F32, starts, 1), operand(&mut y, Element::F32, starts, 1));
    // SAFETY: the check comes first.
    unsafe { run(Isa::Portable, &program, 3, 4, &[input], &[output]) };
}
