//! Brings tables over positions to another size, as timm does when it loads a checkpoint.

use std::ops::Range;

/// A table over tokens, `[entries, width]` row-major without its leading 1: the first `prefix` entries stay, the others are a
/// square image of tokens that is resized to `to` (rows, columns), bicubic with antialiasing (timm's `resample_abs_pos_embed`).
///
/// # Errors
/// When what follows the prefix is no square.
pub fn tokens(table: &[f64], width: usize, prefix: usize, to: [usize; 2]) -> Result<Vec<f64>, String> {
    let entries = table.len() / width.max(1);
    let side = entries.saturating_sub(prefix).isqrt();
    if side == 0 || side * side + prefix != entries {
        return Err(format!("{entries} tokens are not {prefix} and a square"));
    }
    let (start, grid) = table.split_at(prefix * width);
    // Rows are contiguous runs of side * width numbers, so that both passes are along the leading axis of something.
    let rows = along(grid, side * width, &bicubic(side, to[0]));
    let columns = rows.chunks(side * width).flat_map(|row| along(row, width, &bicubic(side, to[1])));
    Ok(start.iter().copied().chain(columns).collect())
}

/// A table over distances within a square window, `[entries, heads]` row-major, for a window of `to` (rows, columns): linear between
/// source positions that grow geometrically from the centre (timm's `resize_rel_pos_bias_table`, after BEiT).
///
/// # Errors
/// When the table is not that of a square window.
pub fn distances(table: &[f64], heads: usize, to: [usize; 2]) -> Result<Vec<f64>, String> {
    let entries = table.len() / heads.max(1);
    let side = entries.isqrt();
    if side * side != entries || side.is_multiple_of(2) {
        return Err(format!("{entries} distances are not those of a square window"));
    }
    let [h, w] = to.map(|side| 2 * side - 1);
    if [h, w] == [side, side] {
        return Ok(table.to_vec());
    }
    let rows = along(table, side * heads, &geometric(side, h));
    Ok(rows.chunks(side * heads).flat_map(|row| along(row, heads, &geometric(side, w))).collect())
}

/// For one output position: where its sources begin, and their weights.
type Taps = (usize, Vec<f64>);

/// Combines `run`-long pieces of `values` as the taps say.
fn along(values: &[f64], run: usize, taps: &[Taps]) -> Vec<f64> {
    let mut out = Vec::with_capacity(taps.len() * run);
    for (first, weights) in taps {
        for i in 0..run {
            out.push(weights.iter().enumerate().map(|(k, w)| w * values[(first + k) * run + i]).sum());
        }
    }
    out
}

/// Keys 1981 with a = -1/2, widened when shrinking, as PyTorch's `interpolate(mode="bicubic", antialias=True)` has it.
fn bicubic(from: usize, to: usize) -> Vec<Taps> {
    const A: f64 = -0.5;
    let kernel = |x: f64| match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    };
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    (0..to)
        .map(|i| {
            let centre = scale * (i as f64 + 0.5);
            let Range { start, end } = around(centre, 2.0 * stretch, from);
            let weights: Vec<f64> = (start..end).map(|j| kernel((j as f64 - centre + 0.5) / stretch)).collect();
            let total: f64 = weights.iter().sum();
            (start, weights.into_iter().map(|w| w / total).collect())
        })
        .collect()
}

fn around(centre: f64, support: f64, from: usize) -> Range<usize> {
    let low = (centre - support + 0.5).max(0.0) as usize;
    let high = ((centre + support + 0.5) as usize).min(from);
    low..high
}

/// The source's distances lie at 0, +-1, +-(1 + q), +-(1 + q + q^2) ... with q such that they span the target's.
fn geometric(from: usize, to: usize) -> Vec<Taps> {
    let (half, reach) = (from / 2, (to / 2) as f64);
    // The search's bounds and end are timm's.
    let (mut left, mut right, mut q) = (1.01_f64, 1.5_f64, 1.01);
    while right - left > 1e-6 {
        q = (left + right) / 2.0;
        let span = (1.0 - q.powi(half as i32)) / (1.0 - q);
        if span > reach { right = q } else { left = q }
    }
    let mut out: Vec<f64> = Vec::with_capacity(half);
    let mut position = 1.0;
    for i in 0..half {
        out.push(position);
        position += q.powi(i as i32 + 1);
    }
    let places: Vec<f64> = out.iter().rev().map(|d| -d).chain([0.0]).chain(out.iter().copied()).collect();
    (0..to)
        .map(|i| {
            let x = i as f64 - reach;
            let right = places.partition_point(|p| *p < x).min(places.len() - 1);
            let left = right.saturating_sub(1);
            // Beyond the ends the nearest entry holds.
            let (before, after) = ((x - places[left]).max(0.0), (places[right] - x).max(0.0));
            match before + after {
                0.0 => (left, vec![1.0]),
                span if right > left => (left, vec![after / span, before / span]),
                _ => (left, vec![1.0]),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        kind: String,
        prefix: usize,
        to: [usize; 2],
        width: usize,
        table: Vec<f64>,
        expected: Vec<f64>,
    }

    /// timm computes in f32, which leaves 1e-7 of values of size 3; the search for q is in f64 there too.
    #[test]
    fn tables_are_timms() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/golden/data/resample.json")).unwrap();
        assert_eq!(cases.len(), 7);
        for (i, case) in cases.iter().enumerate() {
            let found = match case.kind.as_str() {
                "tokens" => tokens(&case.table, case.width, case.prefix, case.to),
                _ => distances(&case.table, case.width, case.to),
            };
            let found = found.unwrap();
            assert_eq!(found.len(), case.expected.len(), "case {i}");
            for (a, b) in found.iter().zip(&case.expected) {
                assert!((a - b).abs() < 2e-6, "case {i}: {a} is not {b}");
            }
        }
    }

    #[test]
    fn tables_of_no_square_are_refused() {
        assert!(tokens(&[0.0; 8], 1, 1, [3, 3]).is_err());
        assert!(tokens(&[0.0; 1], 1, 1, [3, 3]).is_err());
        assert!(distances(&[0.0; 16], 1, [3, 3]).is_err());
        assert!(distances(&[], 1, [3, 3]).is_err());
    }
}
