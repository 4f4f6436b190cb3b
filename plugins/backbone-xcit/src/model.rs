//! Cross-covariance blocks over the patches, then class attention; tokens are `[n, tokens, c]`.

use fer_sdk::prelude::*;

use crate::{
    embed,
    options::{GlobalPool, Xcit},
};

const EPSILON: f64 = 1e-6;
/// Of a query's or key's length, as PyTorch's `normalize` has it.
const LENGTH_EPSILON: f64 = 1e-12;

pub fn build(xcit: &Xcit, g: &GraphBuilder, images: Value) -> Result<Value> {
    let [n, _, h, w] = g.dims::<4>(images)?;
    let (c, depth) = (xcit.width(), xcit.depth());
    nn::head_width(xcit.heads(), c)?;
    let hidden = xcit.hidden()?;
    let (mut x, class) = {
        let _layer = g.layer(0);
        let tokens = embed::tokens(xcit, g, images)?;
        let class = g.parameter_without_decay("cls_token", &[1, 1, c], Init::trunc_normal(0.02))?;
        (g.dropout(tokens, xcit.pos_drop_rate)?, g.broadcast_to(class, &[n, 1, c])?)
    };
    let grid = [h / xcit.patch_size, w / xcit.patch_size];
    for i in 0..depth {
        let _layer = g.layer(i + 1);
        let _scope = g.scope(&format!("blocks.{i}"));
        x = block(xcit, g, x, grid, hidden, xcit.drop_path_schedule.rate(xcit.drop_path_rate, i, depth))?;
    }
    x = g.concatenate(&[class, x], 1)?;
    for i in 0..xcit.cls_attn_layers {
        let _layer = g.layer(depth + i + 1);
        let _scope = g.scope(&format!("cls_attn_blocks.{i}"));
        x = class_block(xcit, g, x, hidden)?;
    }
    let tokens = g.shape(x)[1];
    let read = match xcit.global_pool {
        GlobalPool::Token => g.slice_axis(x, 1, 0, 1)?,
        GlobalPool::Avg => g.slice_axis(x, 1, 1, tokens)?,
    };
    let read = {
        // timm counts the last norm to the last block. It sees each token by itself, so only those that are read need it.
        let _layer = g.layer(depth + xcit.cls_attn_layers);
        nn::layer_norm(g, "norm", read, EPSILON)?
    };
    g.dropout(g.mean(read, &[1])?, xcit.drop_rate)
}

/// Attention between channels, interaction of neighbouring patches, MLP; each normalised before, scaled, and added.
fn block(xcit: &Xcit, g: &GraphBuilder, x: Value, grid: [usize; 2], hidden: usize, drop_path: f64) -> Result<Value> {
    let add = |x: Value, branch: Value, gamma: &str| -> Result<Value> {
        Ok(g.add(x, g.drop_path(scaled(xcit, g, branch, gamma)?, drop_path)?)?)
    };
    let y = cross_covariance_attention(xcit, g, nn::layer_norm(g, "norm1", x, EPSILON)?)?;
    let x = add(x, y, "gamma1")?;
    // The third comes before the second, as in the official code.
    let y = local_patch_interaction(g, nn::layer_norm(g, "norm3", x, EPSILON)?, grid)?;
    let x = add(x, y, "gamma3")?;
    let mlp = nn::Mlp { hidden, dropout: xcit.proj_drop_rate };
    let y = mlp.build(g, "mlp", nn::layer_norm(g, "norm2", x, EPSILON)?)?;
    add(x, y, "gamma2")
}

/// LayerScale (Touvron et al. 2021): one learned factor a channel.
fn scaled(xcit: &Xcit, g: &GraphBuilder, x: Value, name: &str) -> Result<Value> {
    Ok(g.multiply(x, g.parameter(name, &[xcit.width()], Init::Constant(xcit.eta()))?)?)
}

/// Attention over channels instead of tokens: lengths are normalised over the tokens, and a learned temperature takes the scale's
/// place (equation 3 of the paper).
fn cross_covariance_attention(xcit: &Xcit, g: &GraphBuilder, x: Value) -> Result<Value> {
    let [n, tokens, c] = g.dims::<3>(x)?;
    let heads = xcit.heads();
    let _scope = g.scope("attn");
    let temperature = g.parameter("temperature", &[heads, 1, 1], Init::Ones)?;
    let qkv = linear(g, "qkv", x, 3 * c, xcit.qkv_bias)?;
    let part = |i: usize| -> Result<Value> {
        let x = g.reshape(g.slice_axis(qkv, 2, i * c, (i + 1) * c)?, &[n, tokens, heads, c / heads])?;
        Ok(g.transpose(x, &[0, 2, 3, 1])?) // [n, heads, c / heads, tokens]
    };
    let query = g.multiply(g.l2_normalize(part(0)?, -1, LENGTH_EPSILON)?, temperature)?;
    let key = g.l2_normalize(part(1)?, -1, LENGTH_EPSILON)?;
    let y = nn::attention(g, query, key, part(2)?, None, 1.0, xcit.attn_drop_rate)?;
    let y = g.reshape(g.transpose(y, &[0, 3, 1, 2])?, &[n, tokens, c])?;
    g.dropout(linear(g, "proj", y, c, true)?, xcit.proj_drop_rate)
}

/// Two depthwise 3 x 3 convolutions over the grid of patches.
fn local_patch_interaction(g: &GraphBuilder, x: Value, [rows, columns]: [usize; 2]) -> Result<Value> {
    let [n, tokens, c] = g.dims::<3>(x)?;
    let _scope = g.scope("local_mp");
    let depthwise = nn::Conv2d { kernel: 3, padding: 1, groups: c, ..nn::Conv2d::default() };
    let map = g.reshape(g.transpose(x, &[0, 2, 1])?, &[n, c, rows, columns])?;
    let map = g.gelu(nn::conv2d(g, "conv1", map, c, &depthwise)?)?;
    let map = nn::batch_norm(g, "bn", map, nn::BatchNorm::default())?;
    let map = nn::conv2d(g, "conv2", map, c, &depthwise)?;
    Ok(g.transpose(g.reshape(map, &[n, c, tokens])?, &[0, 2, 1])?)
}

/// Class attention (Touvron et al. 2021, "Going deeper with image transformers"): only the class token asks. The other tokens pass
/// through as XCiT's code has it: their normed selves are added after attention, and they are doubled after the MLP.
fn class_block(xcit: &Xcit, g: &GraphBuilder, x: Value, hidden: usize) -> Result<Value> {
    let tokens = g.shape(x)[1];
    let class = |x: Value| g.slice_axis(x, 1, 0, 1);
    let patches = |x: Value| g.slice_axis(x, 1, 1, tokens);
    let normed = nn::layer_norm(g, "norm1", x, EPSILON)?;
    let asked = class_attention(xcit, g, normed)?;
    let x = g.add(x, scaled(xcit, g, g.concatenate(&[asked, patches(normed)?], 1)?, "gamma1")?)?;
    let (class_token, rest) = if xcit.tokens_norm() {
        let x = nn::layer_norm(g, "norm2", x, EPSILON)?;
        (class(x)?, patches(x)?)
    } else {
        (nn::layer_norm(g, "norm2", class(x)?, EPSILON)?, patches(x)?)
    };
    let mlp = nn::Mlp { hidden, dropout: xcit.proj_drop_rate };
    let y = scaled(xcit, g, mlp.build(g, "mlp", class_token)?, "gamma2")?;
    Ok(g.concatenate(&[g.add(class_token, y)?, g.scale(rest, 2.0)?], 1)?)
}

/// `[n, 1, c]`: what the first token makes of all of them.
fn class_attention(xcit: &Xcit, g: &GraphBuilder, x: Value) -> Result<Value> {
    let [n, tokens, c] = g.dims::<3>(x)?;
    let (heads, width) = (xcit.heads(), c / xcit.heads());
    let _scope = g.scope("attn");
    let split = |x: Value, tokens: usize| -> Result<Value> {
        Ok(g.transpose(g.reshape(x, &[n, tokens, heads, width])?, &[0, 2, 1, 3])?)
    };
    let query = split(linear(g, "q", g.slice_axis(x, 1, 0, 1)?, c, xcit.qkv_bias)?, 1)?;
    let key = split(linear(g, "k", x, c, xcit.qkv_bias)?, tokens)?;
    let value = split(linear(g, "v", x, c, xcit.qkv_bias)?, tokens)?;
    let y = nn::attention(g, query, key, value, None, (width as f64).powf(-0.5), xcit.attn_drop_rate)?;
    let y = g.reshape(g.transpose(y, &[0, 2, 1, 3])?, &[n, 1, c])?;
    g.dropout(linear(g, "proj", y, c, true)?, xcit.proj_drop_rate)
}

/// Started as timm starts every linear layer of a transformer.
fn linear(g: &GraphBuilder, name: &str, x: Value, out: usize, bias: bool) -> Result<Value> {
    nn::linear_with(g, name, x, out, bias.then_some(Init::Zeros), Init::trunc_normal(0.02))
}
