//! What the vision transformers share beyond single layers: self-attention, stochastic depth, checks of sizes.

use fer_graph::{Init, Value};

use super::{attention, linear_with};
use crate::{Error, GraphBuilder, OptionEnum, Result};

/// Multi-head self-attention (timm's `Attention`): `qkv` and `proj`, truncated normal of deviation 0.02 with zero bias.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention {
    pub heads: usize,
    pub qkv_bias: bool,
    /// Of the attention weights, in training.
    pub dropout: f64,
    /// After the projection, in training.
    pub projection_dropout: f64,
}

impl SelfAttention {
    /// `[n, tokens, c]` to the same; `heads` divides `c` ([`head_width`]).
    pub fn build(self, g: &GraphBuilder, name: &str, x: Value) -> Result<Value> {
        let [n, tokens, c] = g.dims::<3>(x)?;
        let width = head_width(self.heads, c)?;
        let _scope = g.scope(name);
        let bias = self.qkv_bias.then_some(Init::Zeros);
        let qkv = linear_with(g, "qkv", x, 3 * c, bias, Init::trunc_normal(0.02))?;
        let part = |i: usize| -> Result<Value> {
            let x = g.slice_axis(qkv, 2, i * c, (i + 1) * c)?;
            Ok(g.transpose(g.reshape(x, &[n, tokens, self.heads, width])?, &[0, 2, 1, 3])?)
        };
        let scale = (width as f64).powf(-0.5);
        let y = attention(g, part(0)?, part(1)?, part(2)?, None, scale, self.dropout)?; // [n, heads, tokens, width]
        let y = g.reshape(g.transpose(y, &[0, 2, 1, 3])?, &[n, tokens, c])?;
        let y = linear_with(g, "proj", y, c, Some(Init::Zeros), Init::trunc_normal(0.02))?;
        g.dropout(y, self.projection_dropout)
    }
}

/// The channels of one head.
///
/// # Errors
/// On the option `num_heads`, when the heads do not divide the width.
pub fn head_width(heads: usize, width: usize) -> Result<usize> {
    if heads > 0 && width.is_multiple_of(heads) {
        return Ok(width / heads);
    }
    let fit: Vec<String> = (1..=width.min(64)).filter(|&h| width.is_multiple_of(h)).map(|h| h.to_string()).collect();
    let error = Error::option("num_heads", format!("{heads} heads do not divide the width {width}"));
    Err(error.help(format!("numbers of heads that divide it: {}", fit.join(", "))))
}

/// How stochastic depth (Huang et al. 2016) grows over the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum DropPathSchedule {
    /// From 0 at the first block to the given rate at the last.
    Linear,
    /// The given rate at every block.
    Constant,
}

impl DropPathSchedule {
    /// The probability that `block` of `blocks` is left out.
    pub fn rate(self, last: f64, block: usize, blocks: usize) -> f64 {
        match self {
            DropPathSchedule::Constant => last,
            DropPathSchedule::Linear => last * block as f64 / blocks.saturating_sub(1).max(1) as f64,
        }
    }
}

/// Rows and columns of patches.
///
/// # Errors
/// On the option `img_size`, when the images are not of the side it promises; on `patch_size`, when a patch does not divide them.
pub fn patch_grid(g: &GraphBuilder, images: Value, img_size: Option<usize>, patch_size: usize) -> Result<[usize; 2]> {
    let [_, _, h, w] = g.dims::<4>(images)?;
    if let Some(side) = img_size
        && (h, w) != (side, side)
    {
        let help =
            format!("leave img_size out, or bring the images to {side} x {side} (a resizer's size, or images.size)");
        return Err(Error::option("img_size", format!("the images are {h} x {w}, not {side} x {side}")).help(help));
    }
    if patch_size == 0 || h % patch_size != 0 || w % patch_size != 0 {
        let message = format!("patch_size {patch_size} does not divide the images' {h} x {w} pixels");
        let help = format!("the nearest sides that it divides: {}", nearest(h, patch_size));
        return Err(Error::option("patch_size", message).help(help));
    }
    Ok([h / patch_size, w / patch_size])
}

fn nearest(side: usize, patch: usize) -> String {
    let below = side / patch.max(1) * patch;
    if below == 0 { patch.to_string() } else { format!("{below}, {}", below.saturating_add(patch)) }
}
