//! Attention within windows, which every second block shifts by half a window.

use fer_sdk::prelude::*;

use crate::options::{Swin, listed};

/// Added to the products of tokens that only the cyclic shift has brought together.
const FAR: f64 = -100.0;

/// Attention of one block: window and shift, `[rows, columns]`.
pub struct WindowAttention {
    window: [usize; 2],
    shift: [usize; 2],
    heads: usize,
    qkv_bias: bool,
    attention_dropout: f64,
    projection_dropout: f64,
}

impl WindowAttention {
    /// A side no longer than the window is one window, unshifted, as in timm.
    pub fn fit(swin: &Swin, h: usize, w: usize, heads: usize, shifted: bool) -> Result<WindowAttention> {
        let mut window = [0; 2];
        let mut shift = [0; 2];
        for (axis, side) in [h, w].into_iter().enumerate() {
            let one = side <= swin.window_size;
            window[axis] = if one { side } else { swin.window_size };
            shift[axis] = if one || !shifted { 0 } else { swin.window_size / 2 };
            if side % window[axis] != 0 {
                let message =
                    format!("window_size {} does not divide the {h} x {w} tokens of a stage", swin.window_size);
                let fit = listed((2..=h.min(w)).filter(|&d| h.is_multiple_of(d) && w.is_multiple_of(d)));
                let fit = if fit.is_empty() { fit } else { format!("windows that fit this stage: {fit}; or ") };
                let help = format!("{fit}resize the images so that patch_size * window_size * 2^stage divides them");
                return Err(Error::option("window_size", message).help(help));
            }
        }
        Ok(WindowAttention {
            window,
            shift,
            heads,
            qkv_bias: swin.qkv_bias,
            attention_dropout: swin.attn_drop_rate,
            projection_dropout: swin.proj_drop_rate,
        })
    }
}

/// `[n, h, w, c]` to the same, attending within windows; parameters below `attn`.
pub fn window_attention(g: &GraphBuilder, x: Value, settings: &WindowAttention) -> Result<Value> {
    let [n, h, w, c] = g.dims::<4>(x)?;
    let [wh, ww] = settings.window;
    let [sh, sw] = settings.shift;
    let (rows, columns) = (h / wh, w / ww);
    let (windows, tokens, heads) = (rows * columns, wh * ww, settings.heads);
    let _scope = g.scope("attn");

    let x = g.roll(g.roll(x, 1, -(sh as isize))?, 2, -(sw as isize))?;
    let x = g.transpose(g.reshape(x, &[n, rows, wh, columns, ww, c])?, &[0, 1, 3, 2, 4, 5])?;
    let x = g.reshape(x, &[n, windows, tokens, c])?;

    let bias = settings.qkv_bias.then_some(Init::Zeros);
    let qkv = nn::linear_with(g, "qkv", x, 3 * c, bias, Init::trunc_normal(0.02))?;
    let part = |i: usize| -> Result<Value> {
        let x = g.slice_axis(qkv, 3, i * c, (i + 1) * c)?;
        Ok(g.transpose(g.reshape(x, &[n, windows, tokens, heads, c / heads])?, &[0, 1, 3, 2, 4])?)
    };
    let mut bias = position_bias(g, settings)?; // [heads, tokens, tokens]
    if sh + sw > 0 {
        let mask = g.constant(&[windows, 1, tokens, tokens], shift_mask(h, w, settings))?;
        bias = g.add(bias, mask)?; // [windows, heads, tokens, tokens]
    }
    let scale = ((c / heads) as f64).powf(-0.5);
    let dropout = settings.attention_dropout;
    let y = nn::attention(g, part(0)?, part(1)?, part(2)?, Some(bias), scale, dropout)?;

    let y = g.reshape(g.transpose(y, &[0, 1, 3, 2, 4])?, &[n, windows, tokens, c])?;
    let y = nn::linear_with(g, "proj", y, c, Some(Init::Zeros), Init::trunc_normal(0.02))?;
    let y = g.dropout(y, settings.projection_dropout)?;
    let y = g.transpose(g.reshape(y, &[n, rows, columns, wh, ww, c])?, &[0, 1, 3, 2, 4, 5])?;
    let y = g.reshape(y, &[n, h, w, c])?;
    Ok(g.roll(g.roll(y, 1, sh as isize)?, 2, sw as isize)?)
}

/// `[heads, tokens, tokens]`: one learned number for each head and distance in rows and columns.
fn position_bias(g: &GraphBuilder, settings: &WindowAttention) -> Result<Value> {
    let [wh, ww] = settings.window;
    let (tokens, heads) = (wh * ww, settings.heads);
    let distances = (2 * wh - 1) * (2 * ww - 1);
    let positions = Positions::Distances { rows: wh, columns: ww };
    let name = "relative_position_bias_table";
    let table = g.position_table(name, &[distances, heads], positions, Init::trunc_normal(0.02))?;
    let mut index = Vec::with_capacity(tokens * tokens);
    for a in 0..tokens {
        for b in 0..tokens {
            let row = a / ww + wh - 1 - b / ww;
            let column = a % ww + ww - 1 - b % ww;
            index.push((row * (2 * ww - 1) + column) as f64);
        }
    }
    let index = g.constant_of(DType::I32, &[tokens, tokens], index)?;
    Ok(g.transpose(g.gather(table, index, 0)?, &[2, 0, 1])?)
}

/// `[windows, 1, tokens, tokens]`: 0 where two tokens of a window were neighbours before the shift, `FAR` where not.
fn shift_mask(h: usize, w: usize, settings: &WindowAttention) -> Vec<f64> {
    let [wh, ww] = settings.window;
    // After the shift, the last window along an axis holds what was there and what came round.
    let region = |i: usize, side: usize, window: usize, shift: usize| match i {
        i if shift == 0 || i < side - window => 0,
        i if i < side - shift => 1,
        _ => 2,
    };
    let label = |row: usize, column: usize| {
        3 * region(row, h, wh, settings.shift[0]) + region(column, w, ww, settings.shift[1])
    };
    let mut mask = Vec::with_capacity(h * w * wh * ww);
    for window in 0..(h / wh) * (w / ww) {
        let (top, left) = (window / (w / ww) * wh, window % (w / ww) * ww);
        let labels: Vec<usize> = (0..wh * ww).map(|t| label(top + t / ww, left + t % ww)).collect();
        for a in &labels {
            mask.extend(labels.iter().map(|b| if a == b { 0.0 } else { FAR }));
        }
    }
    mask
}
