//! Stages of blocks, with patch merging between them. Tokens are `[n, h, w, c]` throughout.

use fer_sdk::prelude::*;

use crate::{
    attention::{WindowAttention, window_attention},
    options::{GlobalPool, Swin},
};

/// PyTorch's default, which timm keeps for Swin.
const EPSILON: f64 = 1e-5;

pub fn build(swin: &Swin, g: &GraphBuilder, images: Value) -> Result<Value> {
    nn::patch_grid(g, images, swin.img_size, swin.patch_size)?;
    let embed = nn::PatchEmbed { patch: swin.patch_size, width: swin.width(), norm: Some(EPSILON) };
    let mut x = {
        let _layer = g.layer(0);
        embed.build(g, "patch_embed", images)?
    };
    let (depths, heads) = (swin.stages(), swin.heads()?);
    let total: usize = depths.iter().sum();
    let mut done = 0;
    for (i, (&depth, &heads)) in depths.iter().zip(&heads).enumerate() {
        let _stage = g.scope(&format!("layers.{i}"));
        if i > 0 {
            // timm counts the merging before a stage to the stage's first block.
            let _layer = g.layer(done + 1);
            x = merge_patches(g, x, i)?;
        }
        for j in 0..depth {
            let _layer = g.layer(done + 1);
            let _block = g.scope(&format!("blocks.{j}"));
            let drop_path = swin.drop_path_schedule.rate(swin.drop_path_rate, done, total);
            x = block(swin, g, x, heads, j % 2 == 1, drop_path)?;
            done += 1;
        }
    }
    let x = {
        let _layer = g.layer(total);
        nn::layer_norm(g, "norm", x, EPSILON)?
    };
    let pooled = match swin.global_pool {
        GlobalPool::Avg => g.mean(x, &[1, 2])?,
        GlobalPool::Max => g.reduce_max(x, &[1, 2])?,
    };
    g.dropout(pooled, swin.drop_rate)
}

/// Each 2 x 2 of tokens becomes one of twice the width: `downsample.norm`, `downsample.reduction`.
fn merge_patches(g: &GraphBuilder, x: Value, stage: usize) -> Result<Value> {
    let [n, h, w, c] = g.dims::<4>(x)?;
    if h % 2 != 0 || w % 2 != 0 {
        let message = format!("the {h} x {w} tokens before stage {stage} cannot be merged two by two");
        return Err(Error::new(message).help("use a larger or rounder image, or fewer stages"));
    }
    let _scope = g.scope("downsample");
    let cells = g.reshape(x, &[n, h / 2, 2, w / 2, 2, c])?;
    // timm's order of the four: column parity outside, row parity inside.
    let cells = g.transpose(cells, &[0, 1, 3, 4, 2, 5])?;
    let x = nn::layer_norm(g, "norm", g.reshape(cells, &[n, h / 2, w / 2, 4 * c])?, EPSILON)?;
    nn::linear_with(g, "reduction", x, 2 * c, None, Init::trunc_normal(0.02))
}

fn block(swin: &Swin, g: &GraphBuilder, x: Value, heads: usize, shifted: bool, drop_path: f64) -> Result<Value> {
    let [_, h, w, c] = g.dims::<4>(x)?;
    let settings = WindowAttention::fit(swin, h, w, heads, shifted)?;
    let inner = window_attention(g, nn::layer_norm(g, "norm1", x, EPSILON)?, &settings)?;
    let x = g.add(x, g.drop_path(inner, drop_path)?)?;
    let mlp = nn::Mlp { hidden: swin.hidden(c)?, dropout: swin.proj_drop_rate };
    let inner = mlp.build(g, "mlp", nn::layer_norm(g, "norm2", x, EPSILON)?)?;
    Ok(g.add(x, g.drop_path(inner, drop_path)?)?)
}
