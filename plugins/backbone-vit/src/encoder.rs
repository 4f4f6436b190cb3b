//! Patches and prefix tokens through blocks of attention and MLP, and what is pooled of them.

use fer_sdk::prelude::*;

use crate::options::GlobalPool;

/// timm's for all vision transformers.
const EPSILON: f64 = 1e-6;

/// A transformer's settings, with timm's meanings.
pub struct Encoder {
    pub img_size: Option<usize>,
    pub patch_size: usize,
    pub width: usize,
    pub depth: usize,
    pub heads: usize,
    pub mlp_ratio: f64,
    pub qkv_bias: bool,
    /// A distillation token stands after the class token.
    pub distilled: bool,
    pub global_pool: GlobalPool,
    /// The last norm is `fc_norm`, after the pooling, and not `norm`, before it.
    pub fc_norm: bool,
    /// Of the pooled features.
    pub dropout: f64,
    pub position_dropout: f64,
    pub projection_dropout: f64,
    pub attention_dropout: f64,
    pub drop_path: f64,
    pub drop_path_schedule: nn::DropPathSchedule,
}

impl Encoder {
    /// How many tokens stand before those of the patches.
    fn prefix(&self) -> usize {
        if self.distilled { 2 } else { 1 }
    }

    /// The hidden width of the MLPs, rounded down as in timm.
    fn hidden(&self) -> Result<usize> {
        let hidden = (self.width as f64 * self.mlp_ratio) as usize;
        if hidden > 0 {
            return Ok(hidden);
        }
        let message = format!("mlp_ratio {} leaves no hidden channel of the width {}", self.mlp_ratio, self.width);
        Err(Error::option("mlp_ratio", message).help(format!("at least {}", 1.0 / self.width as f64)))
    }

    /// The distilled model reads its two tokens and nothing else.
    fn check_pooling(&self) -> Result<()> {
        if !self.distilled {
            return Ok(());
        }
        if self.global_pool != GlobalPool::Token {
            let message =
                "a distilled model's features are its class and distillation tokens, not a pooling of patches";
            return Err(Error::option("global_pool", message).help("global_pool: \"token\", or distilled: false"));
        }
        if self.fc_norm {
            let message = "a distilled model has its norm before its two tokens are read";
            return Err(Error::option("fc_norm", message).help("fc_norm: false, or distilled: false"));
        }
        Ok(())
    }
}

/// `[n, c, h, w]` to features `[n, width]`; the distillation token's are the output `features_dist`.
pub fn build(encoder: &Encoder, g: &GraphBuilder, images: Value) -> Result<Value> {
    let grid = nn::patch_grid(g, images, encoder.img_size, encoder.patch_size)?;
    nn::head_width(encoder.heads, encoder.width)?;
    let hidden = encoder.hidden()?;
    encoder.check_pooling()?;
    let mut x = embed(encoder, g, images, grid)?;
    for i in 0..encoder.depth {
        let _layer = g.layer(i + 1);
        let _scope = g.scope(&format!("blocks.{i}"));
        x = block(encoder, g, x, hidden, encoder.drop_path_schedule.rate(encoder.drop_path, i, encoder.depth))?;
    }
    if encoder.distilled {
        return read_both_tokens(encoder, g, x);
    }
    let features = pool(encoder, g, x)?;
    g.dropout(features, encoder.dropout)
}

/// The stem: `[n, c, h, w]` to `[n, prefix + rows * columns, width]`, positions added.
fn embed(encoder: &Encoder, g: &GraphBuilder, images: Value, [rows, columns]: [usize; 2]) -> Result<Value> {
    let _layer = g.layer(0);
    let (n, c, prefix) = (g.shape(images)[0], encoder.width, encoder.prefix());
    let patches = nn::PatchEmbed { patch: encoder.patch_size, width: c, norm: None };
    let patches = g.reshape(patches.build(g, "patch_embed", images)?, &[n, rows * columns, c])?;
    let token = |name: &str, init: Init| -> Result<Value> {
        Ok(g.broadcast_to(g.parameter_without_decay(name, &[1, 1, c], init)?, &[n, 1, c])?)
    };
    let mut parts = vec![token("cls_token", Init::Normal { mean: 0.0, std: 1e-6 })?];
    if encoder.distilled {
        parts.push(token("dist_token", Init::trunc_normal(0.02))?);
    }
    parts.push(patches);
    let positions = Positions::Tokens { prefix, rows, columns };
    let table = g.position_table("pos_embed", &[1, prefix + rows * columns, c], positions, Init::trunc_normal(0.02))?;
    let x = g.add(g.concatenate(&parts, 1)?, table)?;
    g.dropout(x, encoder.position_dropout)
}

/// `[n, tokens, width]` to the same: attention and MLP, each normalised before and added to what it was given.
fn block(encoder: &Encoder, g: &GraphBuilder, x: Value, hidden: usize, drop_path: f64) -> Result<Value> {
    let attention = nn::SelfAttention {
        heads: encoder.heads,
        qkv_bias: encoder.qkv_bias,
        dropout: encoder.attention_dropout,
        projection_dropout: encoder.projection_dropout,
    };
    let inner = attention.build(g, "attn", nn::layer_norm(g, "norm1", x, EPSILON)?)?;
    let x = g.add(x, g.drop_path(inner, drop_path)?)?;
    let mlp = nn::Mlp { hidden, dropout: encoder.projection_dropout };
    let inner = mlp.build(g, "mlp", nn::layer_norm(g, "norm2", x, EPSILON)?)?;
    Ok(g.add(x, g.drop_path(inner, drop_path)?)?)
}

/// `[n, 1 + patches, width]` to `[n, width]`, normalised. The norm sees each token by itself, so only those that are pooled need it.
fn pool(encoder: &Encoder, g: &GraphBuilder, x: Value) -> Result<Value> {
    let [n, tokens, c] = g.dims::<3>(x)?;
    let mut x = match encoder.global_pool {
        GlobalPool::Token => g.slice_axis(x, 1, 0, 1)?,
        _ => g.slice_axis(x, 1, encoder.prefix(), tokens)?,
    };
    if !encoder.fc_norm {
        // timm counts it to the last block, and `fc_norm` to the head.
        let _layer = g.layer(encoder.depth);
        x = nn::layer_norm(g, "norm", x, EPSILON)?;
    }
    let pooled = match encoder.global_pool {
        GlobalPool::Token => g.reshape(x, &[n, c])?,
        GlobalPool::Avg => g.mean(x, &[1])?,
        GlobalPool::Max => g.reduce_max(x, &[1])?,
        GlobalPool::Avgmax => g.mix(g.reduce_max(x, &[1])?, g.mean(x, &[1])?, 0.5)?,
    };
    if encoder.fc_norm { nn::layer_norm(g, "fc_norm", pooled, EPSILON) } else { Ok(pooled) }
}

/// `[n, 2 + patches, width]` to the class token's `[n, width]`, after giving the distillation token's as an output.
fn read_both_tokens(encoder: &Encoder, g: &GraphBuilder, x: Value) -> Result<Value> {
    let n = g.shape(x)[0];
    let both = {
        let _layer = g.layer(encoder.depth);
        nn::layer_norm(g, "norm", g.slice_axis(x, 1, 0, 2)?, EPSILON)?
    };
    let token = |i: usize| -> Result<Value> {
        let token = g.reshape(g.slice_axis(both, 1, i, i + 1)?, &[n, encoder.width])?;
        g.dropout(token, encoder.dropout)
    };
    let features = token(0)?;
    g.output("features_dist", token(1)?);
    Ok(features)
}
