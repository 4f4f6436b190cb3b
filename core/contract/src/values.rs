//! Random numbers for every argument of a graph: pure functions of the case's seed and the argument's name.

use fer_engine::{Tensor, uniform};
use fer_graph::{Graph, Role, TensorType};
use fer_train::initial_value;

use crate::{Outcome, Trouble, model::Values};

/// How parameters and states stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As training starts.
    Initial,
    /// Moved away from it at random: an initialisation may hide a path behind a zero.
    Moved,
}

/// How far a parameter or state is moved. Small beside 1, so that a running variance stays a variance.
const MOVE: f64 = 0.2;

/// Values for all arguments. Floats are rounded to f32, so that engines of both precisions compute on the same numbers.
///
/// # Errors
/// An input that no host offers, or a start that cannot be drawn.
pub fn draw(graph: &Graph, seed: u64, start: Start) -> Outcome<Values> {
    let mut values = Values::new();
    for argument in &graph.arguments {
        let ty = graph.ty(argument.value);
        let value = match (&argument.init, argument.role) {
            (_, Role::Input) => input(&argument.name, ty, seed)?,
            (Some(init), _) => {
                let first = initial_value(&argument.name, ty, init, seed)?;
                if start == Start::Moved && ty.dtype.is_float() { moved(&first, &argument.name, seed) } else { first }
            }
            (None, _) => return Err(Trouble::Broken(format!("{:?} has no initialisation", argument.name))),
        };
        values.insert(argument.name.clone(), value);
    }
    Ok(values)
}

fn moved(first: &Tensor, name: &str, seed: u64) -> Tensor {
    let shift = numbers(seed, &format!("{name}/moved"), first.data.len());
    let sum = first.to_f64().iter().zip(shift).map(|(v, u)| (v + MOVE * (2.0 * u - 1.0)) as f32).collect();
    Tensor::f32(first.shape.clone(), sum)
}

/// `count` numbers in `[0, 1)` that belong to a seed and a name.
pub fn numbers(seed: u64, name: &str, count: usize) -> Vec<f64> {
    // FNV-1a: names only need to differ.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, byte| (h ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    uniform([seed as u32 as i32, (seed >> 32) as u32 as i32, 0], hash, count).collect()
}

/// What an ordinary batch holds under that name.
fn input(name: &str, ty: &TensorType, seed: u64) -> Outcome<Tensor> {
    let u = numbers(seed, name, ty.elements());
    let between = |low: f64, high: f64| -> Vec<f32> { u.iter().map(|u| (low + (high - low) * u) as f32).collect() };
    let data = match name {
        "rng" => {
            // Any fixed key: what is random in the component becomes a constant.
            return Ok(Tensor::i32(ty.shape.clone(), vec![seed as u32 as i32, (seed >> 32) as u32 as i32, 7]));
        }
        // Normalised images lie within about +-2.
        "images" => between(-2.0, 2.0),
        "logits" => between(-4.0, 4.0),
        "weights" => between(0.2, 2.0),
        "targets" => distributions(&u, ty, true),
        "prior" => distributions(&u, ty, false),
        other => return Err(Trouble::Broken(format!("declares an input {other:?} that the host does not offer"))),
    };
    Ok(Tensor::f32(ty.shape.clone(), data))
}

/// Rows that sum to one; `hard` makes about half of them one-hot.
fn distributions(u: &[f64], ty: &TensorType, hard: bool) -> Vec<f32> {
    let classes = ty.shape.last().copied().unwrap_or(1).max(1);
    let row = |row: &[f64]| -> Vec<f32> {
        if hard && row[0] < 0.5 {
            let label = (row[0] * 2.0 * classes as f64) as usize;
            return (0..classes).map(|c| if c == label { 1.0 } else { 0.0 }).collect();
        }
        let sum: f64 = row.iter().sum::<f64>() + 0.1 * classes as f64;
        row.iter().map(|v| ((v + 0.1) / sum) as f32).collect()
    };
    u.chunks(classes).flat_map(row).collect()
}

/// Some of the rows (axis 0) of a float tensor, in the given order.
///
/// # Panics
/// When a row is not there.
pub fn rows(tensor: &Tensor, order: &[usize]) -> Tensor {
    let width: usize = tensor.shape[1..].iter().product();
    let all = tensor.to_f64();
    let data = order.iter().flat_map(|&i| all[i * width..(i + 1) * width].iter().copied()).collect();
    let mut shape = tensor.shape.clone();
    shape[0] = order.len();
    Tensor::f64(shape, data)
}
