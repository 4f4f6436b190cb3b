//! Gated positional self-attention (d'Ascoli et al. 2021, section 3): heads that start as the taps of a convolution and may leave.

use fer_sdk::prelude::*;

use crate::options::Convit;

/// `[n, rows * columns, c]` to the same; parameters below `attn`.
///
/// A gate per head mixes attention by content with attention by relative position, after the softmax of each (equation 6).
pub fn attention(convit: &Convit, g: &GraphBuilder, x: Value, [rows, columns]: [usize; 2]) -> Result<Value> {
    let [n, tokens, c] = g.dims::<3>(x)?;
    let (heads, width) = (convit.heads(), convit.embed_dim);
    let _scope = g.scope("attn");
    let split = |x: Value| -> Result<Value> {
        Ok(g.transpose(g.reshape(x, &[n, tokens, heads, width])?, &[0, 2, 1, 3])?) // [n, heads, tokens, width]
    };
    let bias = convit.qkv_bias.then_some(Init::Zeros);
    let qk = nn::linear_with(g, "qk", x, 2 * c, bias.clone(), Init::trunc_normal(0.02))?;
    let query = split(g.slice_axis(qk, 2, 0, c)?)?;
    let key = split(g.slice_axis(qk, 2, c, 2 * c)?)?;
    // Values start as what they are given, so that a head passes on its neighbour.
    let value = split(nn::linear_with(g, "v", x, c, bias, Init::Eye)?)?;

    let query = g.scale(query, (width as f64).powf(-0.5))?;
    let content = g.softmax(g.matmul(query, g.transpose(key, &[0, 1, 3, 2])?)?, -1)?; // [n, heads, tokens, tokens]
    let position = g.softmax(position_scores(convit, g, [rows, columns])?, -1)?; // [heads, tokens, tokens]
    let gate = g.sigmoid(g.parameter("gating_param", &[heads], Init::Ones)?)?;
    let gate = g.reshape(gate, &[heads, 1, 1])?;
    let mixed = g.add(g.multiply(g.one_minus(gate)?, content)?, g.multiply(gate, position)?)?;
    // Each row sums to 1 already, up to rounding; timm divides, and weights are trained that way.
    let sums = g.reshape(g.reduce_sum(mixed, &[3])?, &[n, heads, tokens, 1])?;
    let weights = g.dropout(g.divide(mixed, sums)?, convit.attn_drop_rate)?;

    let y = g.reshape(g.transpose(g.matmul(weights, value)?, &[0, 2, 1, 3])?, &[n, tokens, c])?;
    let y = nn::linear_with(g, "proj", y, c, Some(Init::Zeros), Init::trunc_normal(0.02))?;
    g.dropout(y, convit.proj_drop_rate)
}

/// `[heads, tokens, tokens]`: a linear function, learned for each head, of where one token lies from the other.
fn position_scores(convit: &Convit, g: &GraphBuilder, [rows, columns]: [usize; 2]) -> Result<Value> {
    let tokens = rows * columns;
    let mut places = Vec::with_capacity(3 * tokens * tokens);
    for from in 0..tokens {
        for to in 0..tokens {
            let right = (to % columns) as f64 - (from % columns) as f64;
            let down = (to / columns) as f64 - (from / columns) as f64;
            places.extend([right, down, right * right + down * down]);
        }
    }
    let places = g.constant(&[tokens, tokens, 3], places)?;
    let heads = convit.heads();
    let weight = Init::Values(looking_around(heads, convit.locality_strength).into());
    let scores = nn::linear_with(g, "pos_proj", places, heads, Some(Init::Zeros), weight)?;
    Ok(g.transpose(scores, &[2, 0, 1])?)
}

/// `[heads, 3]`: the scores `-strength * |place - centre|^2` (up to a constant, which softmax does not see) of heads whose centres form a
/// square around the token, as the taps of a convolution do (equation 5). Heads beyond the largest square look everywhere alike.
fn looking_around(heads: usize, strength: f64) -> Vec<f64> {
    let side = heads.isqrt();
    let centre = (side as f64 - 1.0) / 2.0;
    let mut weight = vec![0.0; 3 * heads];
    for (head, row) in weight.chunks_mut(3).enumerate().take(side * side) {
        let (right, down) = ((head / side) as f64 - centre, (head % side) as f64 - centre);
        row.copy_from_slice(&[2.0 * strength * right, 2.0 * strength * down, -strength]);
    }
    weight
}
