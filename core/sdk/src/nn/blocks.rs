//! The two blocks that every vision transformer shares: patch embedding and MLP.

use fer_graph::{Init, Value, ops::DotAxes};

use super::{Conv2d, conv2d, layer_norm, linear_with};
use crate::{GraphBuilder, Result};

/// Cuts an image into patches and embeds each (timm's `PatchEmbed`): a convolution named `proj`, optionally a `norm`.
#[derive(Clone, Copy, Debug)]
pub struct PatchEmbed {
    pub patch: usize,
    pub width: usize,
    /// Epsilon of the layer norm after it, if there is one.
    pub norm: Option<f64>,
}

impl PatchEmbed {
    /// `[n, c, h, w]` to `[n, h / patch, w / patch, width]`.
    pub fn build(self, g: &GraphBuilder, name: &str, images: Value) -> Result<Value> {
        let _scope = g.scope(name);
        let conv = Conv2d { kernel: self.patch, stride: self.patch, ..Conv2d::default() };
        let patches = conv2d(g, "proj", images, self.width, &conv)?;
        let tokens = g.transpose(patches, &[0, 2, 3, 1])?;
        match self.norm {
            Some(epsilon) => layer_norm(g, "norm", tokens, epsilon),
            None => Ok(tokens),
        }
    }
}

/// Linear, gelu, linear (timm's `Mlp`): `fc1`, `fc2`, both truncated normal of deviation 0.02 with zero bias.
#[derive(Clone, Copy, Debug)]
pub struct Mlp {
    pub hidden: usize,
    /// After each linear layer, in training.
    pub dropout: f64,
}

impl Mlp {
    pub fn build(self, g: &GraphBuilder, name: &str, x: Value) -> Result<Value> {
        let width = g.shape(x).last().copied().unwrap_or(1);
        let _scope = g.scope(name);
        let wide = linear_with(g, "fc1", x, self.hidden, Some(Init::Zeros), Init::trunc_normal(0.02))?;
        let wide = g.dropout(g.gelu(wide)?, self.dropout)?;
        let y = linear_with(g, "fc2", wide, width, Some(Init::Zeros), Init::trunc_normal(0.02))?;
        g.dropout(y, self.dropout)
    }
}

/// Scaled dot-product attention with dropout of its weights in training.
///
/// `query [..., n, d]`, `key [..., m, d]`, `value [..., m, e]`; `bias` is broadcast to `[..., n, m]`.
pub fn attention(
    g: &GraphBuilder,
    query: Value,
    key: Value,
    value: Value,
    bias: Option<Value>,
    scale: f64,
    dropout: f64,
) -> Result<Value> {
    if dropout == 0.0 || !g.training() {
        return Ok(g.scaled_dot_product_attention(query, key, value, bias, scale)?);
    }
    let rank = g.rank(query);
    let batch: Vec<usize> = (0..rank - 2).collect();
    let axes = DotAxes {
        lhs_batch: batch.clone(),
        rhs_batch: batch,
        lhs_contract: vec![rank - 1],
        rhs_contract: vec![rank - 1],
    };
    let mut scores = g.dot_general(g.scale(query, scale)?, key, &axes)?;
    if let Some(bias) = bias {
        scores = g.add(scores, bias)?;
    }
    let weights = g.dropout(g.softmax(scores, -1)?, dropout)?;
    Ok(g.matmul(weights, value)?)
}
