//! Elementwise primitives. Library functions are good to a few units in the last place; the rest rounds once.

use fer_graph::{Attributes, DType, GraphError};
use proptest::prelude::*;

use super::{emit, seed, shape};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

const INFINITY: f64 = f64::INFINITY;

pub fn families() -> Vec<Family> {
    let mut families = vec![
        unary("negate", Draw::Any, &[0.0, -0.0, INFINITY, f64::NAN]),
        unary("exponential", Draw::Any, &[0.0, -0.0, 1.0, -80.0, 80.0, INFINITY, -INFINITY, f64::NAN]),
        unary("log", Draw::Positive, &[1.0, 0.0, -1.0, 1e-30, 1e30, INFINITY, f64::NAN]),
        unary("sqrt", Draw::Positive, &[0.0, -0.0, 4.0, -1.0, 1e-30, INFINITY, f64::NAN]),
        unary("tanh", Draw::Any, &[0.0, 1e-6, 20.0, -20.0, INFINITY, -INFINITY, f64::NAN]),
        unary("erf", Draw::Any, &[0.0, 1e-6, 0.84, 1.25, 2.9, 6.5, -6.5, INFINITY, -INFINITY, f64::NAN]),
        unary("floor", Draw::NotWhole, &[0.5, -0.5, -0.0, 2.0, -2.0, 1_000_000.5, INFINITY, f64::NAN]),
        binary("add", Draw::Any, Draw::Any),
        binary("subtract", Draw::Any, Draw::Any),
        binary("multiply", Draw::Any, Draw::Any),
        binary("divide", Draw::Any, Draw::NotZero),
        binary("power", Draw::Positive, Draw::Any),
    ];
    families.push(Family::new("maximum", (shape(0), seed(), 0u8..3).prop_map(maximum), ties("maximum")));
    families.push(Family::new("compare", (shape(0), seed(), 0usize..6, 0u8..3).prop_map(compare), vec![]));
    families.push(Family::new("select", (shape(0), seed(), 0u8..4).prop_map(select), vec![]));
    families
}

fn unary(op: &'static str, draw: Draw, edge: &'static [f64]) -> Family {
    let random = move |(shape, seed): (Vec<usize>, u64)| {
        let mut d = Draft::new(seed);
        let x = d.input("x", &shape, draw)?;
        let y = emit(&d.b, op, &[x], Attributes::new())?;
        Ok(d.finish(op, &[y], Tolerance::ROUNDED))
    };
    let edges = || {
        let mut d = Draft::new(0);
        let x = d.fixed("x", &[edge.len()], edge.to_vec())?;
        let y = emit(&d.b, op, &[x], Attributes::new())?;
        Ok(d.finish(op, &[y], Tolerance::ROUNDED))
    };
    Family::new(op, (shape(0), seed()).prop_map(random), vec![edges()])
}

/// Float operands in the three ways engines tell apart (both given, one of them a number), and i32.
fn binary(op: &'static str, left: Draw, right: Draw) -> Family {
    let random = move |(shape, seed, form): (Vec<usize>, u64, u8)| {
        let mut d = Draft::new(seed);
        let (x, y) = match form {
            0 => {
                let x = d.input("x", &shape, left)?;
                let y = d.input("y", &shape, right)?;
                (x, y)
            }
            1 => {
                let number = f64::from(d.random().draw(1, right)[0] as f32);
                (d.input("x", &shape, left)?, d.b.full(&shape, number)?)
            }
            2 => {
                let number = f64::from(d.random().draw(1, left)[0] as f32);
                (d.b.full(&shape, number)?, d.input("y", &shape, right)?)
            }
            3 => {
                let x = d.input("x", &shape, Draw::Positive)?;
                (x, x)
            }
            _ => {
                let count = shape.iter().product();
                let mut whole = |from: i32, to: i32| -> Vec<i32> {
                    (0..count).map(|_| from + d.random().below((to - from) as usize) as i32).collect()
                };
                let (x, y) = (whole(-6, 7), whole(if op == "power" { 0 } else { -6 }, 7));
                (d.integers("x", &shape, x)?, d.integers("y", &shape, y)?)
            }
        };
        let z = emit(&d.b, op, &[x, y], Attributes::new())?;
        Ok(d.finish(op, &[z], Tolerance::ROUNDED))
    };
    let edges = || {
        let edge = [0.0, -0.0, 1.0, -2.0, 0.5, 3.0, INFINITY, -INFINITY, f64::NAN];
        let mut d = Draft::new(0);
        let pairs = edge.iter().flat_map(|x| edge.iter().map(move |y| (*x, *y)));
        let (x, y): (Vec<f64>, Vec<f64>) = pairs.unzip();
        let count = x.len();
        let (x, y) = (d.fixed("x", &[count], x)?, d.fixed("y", &[count], y)?);
        let z = emit(&d.b, op, &[x, y], Attributes::new())?;
        Ok(d.finish(op, &[z], Tolerance::ROUNDED))
    };
    let mut all = vec![edges()];
    all.extend(ties(op));
    if op == "divide" {
        all.push(whole_edges());
    }
    Family::new(op, (shape(0), seed(), 0u8..5).prop_map(random), all)
}

fn whole_edges() -> Result<Problem, GraphError> {
    let mut d = Draft::new(0);
    let x = d.integers("x", &[5], vec![7, -7, 5, i32::MIN, 0])?;
    let y = d.integers("y", &[5], vec![-2, 2, 0, -1, 3])?;
    let z = d.b.divide(x, y)?;
    Ok(d.finish("divide", &[z], Tolerance::EXACT))
}

/// Equal operands and zeros, with gradients: a tie of maximum is shared, power's derivative at 0 is not NaN.
fn ties(op: &'static str) -> Vec<Result<Problem, GraphError>> {
    let problem = || {
        let mut d = Draft::new(0);
        let x = d.differentiated("x", &[5], vec![1.0, 2.0, 0.0, 0.0, 3.0])?;
        let y = d.differentiated("y", &[5], vec![1.0, 1.0, 2.0, 0.0, 3.0])?;
        let z = emit(&d.b, op, &[x, y], Attributes::new())?;
        Ok(d.finish(op, &[z], Tolerance::ROUNDED))
    };
    if matches!(op, "maximum" | "power") { vec![problem()] } else { vec![] }
}

/// The operands are never close: at a tie there is no derivative.
fn maximum((shape, seed, form): (Vec<usize>, u64, u8)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let x = d.input("x", &shape, Draw::NotZero)?;
    let y = if form == 0 {
        d.b.full(&shape, 0.0)?
    } else {
        let mut both = shape.clone();
        both.push(2);
        let pair = d.input("pair", &both, Draw::Distinct)?;
        let last = shape.len();
        let first = d.b.reshape(d.b.slice_axis(pair, last, 0, 1)?, &shape)?;
        let second = d.b.reshape(d.b.slice_axis(pair, last, 1, 2)?, &shape)?;
        let z = d.b.maximum(first, second)?;
        return Ok(d.finish("maximum", &[z], Tolerance::EXACT));
    };
    let z = if seed % 2 == 0 { d.b.maximum(x, y)? } else { d.b.maximum(y, x)? };
    Ok(d.finish("maximum", &[z], Tolerance::EXACT))
}

fn compare((shape, seed, direction, kind): (Vec<usize>, u64, usize, u8)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let count = shape.iter().product();
    let small = |d: &mut Draft| -> Vec<f64> {
        let numbers = [-1.0, -0.0, 0.0, 1.0, 2.0, f64::NAN, INFINITY];
        (0..count).map(|_| numbers[d.random().below(numbers.len())]).collect()
    };
    let (left, right) = (small(&mut d), small(&mut d));
    let whole = |v: Vec<f64>| -> Vec<i32> { v.into_iter().map(|v| v as i32).collect() };
    let (x, y) = match kind {
        0 => (d.fixed("x", &shape, left)?, d.fixed("y", &shape, right)?),
        1 => (d.fixed("x", &shape, left)?, d.b.full(&shape, 1.0)?),
        _ => (d.integers("x", &shape, whole(left))?, d.integers("y", &shape, whole(right))?),
    };
    let z = d.b.compare(x, y, ["EQ", "NE", "LT", "LE", "GT", "GE"][direction])?;
    Ok(d.finish("compare", &[z], Tolerance::EXACT))
}

fn select((shape, seed, kind): (Vec<usize>, u64, u8)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let flags = d.flags("predicate", &shape)?;
    let (x, y) = match kind {
        0 => (d.input("x", &shape, Draw::Any)?, d.input("y", &shape, Draw::Any)?),
        1 => (d.input("x", &shape, Draw::Any)?, d.b.full(&shape, f64::INFINITY)?),
        2 => (d.b.full(&shape, 0.5)?, d.input("y", &shape, Draw::Any)?),
        _ => (d.b.constant_of(DType::I32, &shape, vec![3.0])?, d.b.constant_of(DType::I32, &shape, vec![4.0])?),
    };
    let z = d.b.select(flags, x, y)?;
    // An infinite choice has no difference quotient.
    let smooth = usize::from(kind != 1 && kind != 3);
    if smooth == 0 {
        d.hold();
    }
    Ok(d.finish_partly_smooth("select", &[z], smooth, Tolerance::EXACT))
}
