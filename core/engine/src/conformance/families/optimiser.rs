//! adamw_update.

use fer_graph::{GraphError, ops::AdamConstants};
use proptest::prelude::*;

use super::{seed, shape};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

pub fn families() -> Vec<Family> {
    let case = (shape(0), seed(), 1u32..2000, prop::option::of(any::<bool>()));
    vec![Family::new("adamw_update", case.prop_map(adamw_update), vec![])]
}

/// Weight decay: none, in the gradient, or decoupled.
fn adamw_update((shape, seed, step, decay): (Vec<usize>, u64, u32, Option<bool>)) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let parameter = d.input("parameter", &shape, Draw::Any)?;
    let gradient = d.input("gradient", &shape, Draw::NotZero)?;
    let first = d.input("first_moment", &shape, Draw::Any)?;
    let second = d.input("second_moment", &shape, Draw::Positive)?;
    let rate = d.input("learning_rate", &[], Draw::Positive)?;
    let step = d.fixed("step", &[], vec![f64::from(step)])?;
    let constants = AdamConstants {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: if decay.is_some() { 0.05 } else { 0.0 },
        decoupled: decay == Some(true),
    };
    let results = d.b.adamw_update([parameter, gradient, first, second, rate, step], constants)?;
    // 1 - 0.999^step has four digits fewer than its terms.
    Ok(d.finish("adamw_update", &results, Tolerance { f32: 3e-4, ..Tolerance::NORMALISED }))
}
