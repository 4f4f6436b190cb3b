//! Patches, local blocks, the class token, global blocks; tokens are `[n, tokens, c]`.

use fer_sdk::prelude::*;

use crate::{
    gpsa,
    options::{Convit, GlobalPool},
};

const EPSILON: f64 = 1e-6;

pub fn build(convit: &Convit, g: &GraphBuilder, images: Value) -> Result<Value> {
    let grid = nn::patch_grid(g, images, convit.img_size, convit.patch_size)?;
    let (local, hidden, c) = (convit.local_blocks()?, convit.hidden()?, convit.width());
    let n = g.shape(images)[0];
    let (mut x, class) = {
        let _layer = g.layer(0);
        let class = g.parameter_without_decay("cls_token", &[1, 1, c], Init::trunc_normal(0.02))?;
        (patches(convit, g, images, grid)?, g.broadcast_to(class, &[n, 1, c])?)
    };
    for i in 0..convit.depth {
        if i == local {
            x = g.concatenate(&[class, x], 1)?;
        }
        let _layer = g.layer(i + 1);
        let _scope = g.scope(&format!("blocks.{i}"));
        let drop_path = convit.drop_path_schedule.rate(convit.drop_path_rate, i, convit.depth);
        x = block(convit, g, x, (i < local).then_some(grid), hidden, drop_path)?;
    }
    let tokens = g.shape(x)[1];
    let read = match convit.global_pool {
        GlobalPool::Token => g.slice_axis(x, 1, 0, 1)?,
        GlobalPool::Avg => g.slice_axis(x, 1, 1, tokens)?,
    };
    let read = {
        // timm counts the last norm to the last block. It sees each token by itself, so only those that are read need it.
        let _layer = g.layer(convit.depth);
        nn::layer_norm(g, "norm", read, EPSILON)?
    };
    g.dropout(g.mean(read, &[1])?, convit.drop_rate)
}

/// `[n, c, h, w]` to `[n, rows * columns, width]`, positions added. The class token has none.
fn patches(convit: &Convit, g: &GraphBuilder, images: Value, [rows, columns]: [usize; 2]) -> Result<Value> {
    let (n, c) = (g.shape(images)[0], convit.width());
    let embed = nn::PatchEmbed { patch: convit.patch_size, width: c, norm: None };
    let mut x = g.reshape(embed.build(g, "patch_embed", images)?, &[n, rows * columns, c])?;
    if convit.use_pos_embed {
        let positions = Positions::Tokens { prefix: 0, rows, columns };
        let table = g.position_table("pos_embed", &[1, rows * columns, c], positions, Init::trunc_normal(0.02))?;
        x = g.add(x, table)?;
    }
    g.dropout(x, convit.pos_drop_rate)
}

/// Attention and MLP, each normalised before and added; over the grid of a local block, or over all tokens.
fn block(
    convit: &Convit,
    g: &GraphBuilder,
    x: Value,
    grid: Option<[usize; 2]>,
    hidden: usize,
    drop_path: f64,
) -> Result<Value> {
    let normed = nn::layer_norm(g, "norm1", x, EPSILON)?;
    let inner = match grid {
        Some(grid) => gpsa::attention(convit, g, normed, grid)?,
        None => nn::SelfAttention {
            heads: convit.heads(),
            qkv_bias: convit.qkv_bias,
            dropout: convit.attn_drop_rate,
            projection_dropout: convit.proj_drop_rate,
        }
        .build(g, "attn", normed)?,
    };
    let x = g.add(x, g.drop_path(inner, drop_path)?)?;
    let mlp = nn::Mlp { hidden, dropout: convit.proj_drop_rate };
    let inner = mlp.build(g, "mlp", nn::layer_norm(g, "norm2", x, EPSILON)?)?;
    Ok(g.add(x, g.drop_path(inner, drop_path)?)?)
}
