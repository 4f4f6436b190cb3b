//! The stem: patches by convolutions, positions by Fourier features.

use fer_sdk::prelude::*;

use crate::options::Xcit;

/// Frequencies of each axis of the positions.
const FREQUENCIES: usize = 32;
const TEMPERATURE: f32 = 10_000.0;
const EPSILON: f32 = 1e-6;

/// `[n, c, h, w]` to `[n, h / patch * w / patch, width]`.
pub fn tokens(xcit: &Xcit, g: &GraphBuilder, images: Value) -> Result<Value> {
    let grid @ [rows, columns] = nn::patch_grid(g, images, xcit.img_size, xcit.patch_size)?;
    let widths = xcit.patch_widths()?;
    let n = g.shape(images)[0];
    let mut x = images;
    {
        let _scope = g.scope("patch_embed.proj");
        for (i, &width) in widths.iter().enumerate() {
            // Activations stand between the convolutions in timm's `Sequential`, hence every second place.
            let _place = g.scope(&(2 * i).to_string());
            let conv = nn::Conv2d { kernel: 3, stride: 2, padding: 1, bias: false, ..nn::Conv2d::default() };
            x = nn::batch_norm(g, "1", nn::conv2d(g, "0", x, width, &conv)?, nn::BatchNorm::default())?;
            if i + 1 < widths.len() {
                x = g.gelu(x)?;
            }
        }
    }
    let x = g.transpose(g.reshape(x, &[n, xcit.width(), rows * columns])?, &[0, 2, 1])?;
    if !xcit.use_pos_embed {
        return Ok(x);
    }
    Ok(g.add(x, positions(g, grid, xcit.width())?)?)
}

/// `[rows * columns, width]`: Fourier features of the place, projected.
fn positions(g: &GraphBuilder, [rows, columns]: [usize; 2], width: usize) -> Result<Value> {
    let _scope = g.scope("pos_embed.token_projection");
    let inner = 2 * FREQUENCIES;
    // A 1 x 1 convolution by its name and shape.
    let init = Init::torch_default(inner);
    let weight = g.parameter_without_decay("weight", &[width, inner, 1, 1], init.clone())?;
    let bias = g.parameter("bias", &[width], init)?;
    let features = g.constant(&[rows * columns, inner], fourier(rows, columns))?;
    Ok(g.linear(features, g.reshape(weight, &[width, inner])?, Some(bias))?)
}

/// `[rows * columns, 64]`: sines and cosines of the row's place in (0, 2 pi], then of the column's. Rounded to f32 on the way, since
/// the published weights have seen these very numbers.
fn fourier(rows: usize, columns: usize) -> Vec<f64> {
    let angle = |i: usize, side: usize| (i + 1) as f32 / (side as f32 + EPSILON) * (2.0 * std::f32::consts::PI);
    let wave = |angle: f32, k: usize| {
        let period = TEMPERATURE.powf((2 * (k / 2)) as f32 / FREQUENCIES as f32);
        let phase = angle / period;
        f64::from(if k.is_multiple_of(2) { phase.sin() } else { phase.cos() })
    };
    let mut features = Vec::with_capacity(rows * columns * 2 * FREQUENCIES);
    for row in 0..rows {
        for column in 0..columns {
            features.extend((0..FREQUENCIES).map(|k| wave(angle(row, rows), k)));
            features.extend((0..FREQUENCIES).map(|k| wave(angle(column, columns), k)));
        }
    }
    features
}
