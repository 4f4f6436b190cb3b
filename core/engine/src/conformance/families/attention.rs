//! scaled_dot_product_attention, with and without a bias that is broadcast.

use fer_graph::GraphError;
use proptest::prelude::*;

use super::seed;
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

/// Leading axes; queries, keys, width, width of the values; the bias: none, or which of its axes have size 1.
type Case = (Vec<usize>, [usize; 4], Option<[bool; 4]>, u64);

pub fn families() -> Vec<Family> {
    let sizes = prop::array::uniform4(1usize..5);
    let bias = prop::option::of(prop::array::uniform4(any::<bool>()));
    let case = (prop::collection::vec(1usize..4, 0..3), sizes, bias, seed());
    let window: Case = (vec![4, 3], [49, 49, 32, 32], Some([true, false, false, false]), 1);
    vec![Family::new("scaled_dot_product_attention", case.prop_map(attention), vec![attention(window), masked()])]
}

fn attention((lead, [n, m, width, values], bias, seed): Case) -> Result<Problem, GraphError> {
    let mut d = Draft::new(seed);
    let of = |a: usize, b: usize| -> Vec<usize> { lead.iter().copied().chain([a, b]).collect() };
    let query = d.input("query", &of(n, width), Draw::Any)?;
    let key = d.input("key", &of(m, width), Draw::Any)?;
    let value = d.input("value", &of(m, values), Draw::Any)?;
    let bias = match bias {
        None => None,
        Some(single) => {
            let scores = of(n, m);
            let shape: Vec<usize> = scores.iter().zip(single).map(|(&d, one)| if one { 1 } else { d }).collect();
            Some(d.input("bias", &shape, Draw::Any)?)
        }
    };
    let y = d.b.scaled_dot_product_attention(query, key, value, bias, 1.0 / (width as f64).sqrt())?;
    Ok(d.finish("scaled_dot_product_attention", &[y], Tolerance::SUMMED))
}

/// Keys behind a mask of minus infinities, and of the large negative number that models use, count nothing.
fn masked() -> Result<Problem, GraphError> {
    let mut d = Draft::new(2);
    let mut input = |name: &str, shape: &[usize]| d.input(name, shape, Draw::Any);
    let (query, key, value) = (input("query", &[2, 3, 4])?, input("key", &[2, 3, 4])?, input("value", &[2, 3, 4])?);
    let hidden = f64::NEG_INFINITY;
    let mask = d.b.constant(&[3, 3], vec![0.0, hidden, hidden, 0.0, 0.0, hidden, -100.0, 0.0, 0.0])?;
    let y = d.b.scaled_dot_product_attention(query, key, value, Some(mask), 0.5)?;
    Ok(d.finish("scaled_dot_product_attention", &[y], Tolerance::SUMMED))
}
