//! Stages of 3 x 3 convolutions, each halving the side at its end, then two wide layers over a 7 x 7 map.

use fer_sdk::prelude::*;

use crate::options::{GlobalPool, Vgg};

/// Side of the map that the wide layers see at once.
const KERNEL: usize = 7;

pub fn build(vgg: &Vgg, g: &GraphBuilder, images: Value) -> Result<Value> {
    nn::patch_grid(g, images, vgg.img_size, 1)?;
    let stages = vgg.stages()?;
    let mut x = images;
    // The place in torchvision's `Sequential`, and timm's layer: convolutions and norms count, relus and poolings do not.
    let (mut place, mut layer) = (0, 0);
    for &(depth, width) in &stages {
        for _ in 0..depth {
            let _scope = g.scope("features");
            x = {
                let _layer = g.layer(layer);
                let init = Some(Init::kaiming_normal(width.saturating_mul(9), 0.0));
                let conv =
                    nn::Conv2d { kernel: 3, padding: 1, init, bias_init: Some(Init::Zeros), ..Default::default() };
                nn::conv2d(g, &place.to_string(), x, width, &conv)?
            };
            x = {
                let _layer = g.layer(layer + 1);
                nn::batch_norm(g, &(place + 1).to_string(), x, nn::BatchNorm::default())?
            };
            x = g.relu(x)?;
            (place, layer) = (place + 3, layer + 2);
        }
        let [_, _, h, w] = g.dims::<4>(x)?;
        if h < 2 || w < 2 {
            let message = format!("the {h} x {w} map of a stage cannot be halved");
            let help = format!("{} stages need images of at least {1} x {1} pixels", stages.len(), 1 << stages.len());
            return Err(Error::option("depths", message).help(help));
        }
        x = g.max_pool(x, [2, 2], [2, 2], [0, 0])?;
        place += 1;
    }
    let x = wide_layers(vgg, g, grown(g, x)?)?;
    let pooled = match vgg.global_pool {
        GlobalPool::Avg => g.mean(x, &[2, 3])?,
        GlobalPool::Max => g.reduce_max(x, &[2, 3])?,
    };
    g.dropout(pooled, vgg.drop_rate)
}

/// `[n, c, h, w]` to `[n, num_features, h - 6, w - 6]`: VGG's fully connected layers, written as convolutions.
fn wide_layers(vgg: &Vgg, g: &GraphBuilder, x: Value) -> Result<Value> {
    let _scope = g.scope("pre_logits");
    let layer = |name: &str, x: Value, kernel: usize| -> Result<Value> {
        let out = vgg.num_features;
        let init = Some(Init::kaiming_normal(out.saturating_mul(kernel * kernel), 0.0));
        let conv = nn::Conv2d { kernel, init, bias_init: Some(Init::Zeros), ..nn::Conv2d::default() };
        Ok(g.relu(nn::conv2d(g, name, x, out, &conv)?)?)
    };
    let x = g.dropout(layer("fc1", x, KERNEL)?, vgg.drop_rate)?;
    layer("fc2", x, 1)
}

/// A map with a side below 7 is averaged onto 7, overlapping (PyTorch's `adaptive_avg_pool2d`); others stay.
fn grown(g: &GraphBuilder, x: Value) -> Result<Value> {
    let [_, _, h, w] = g.dims::<4>(x)?;
    let x = if w < KERNEL { g.linear(x, averages(g, w)?, None)? } else { x };
    if h >= KERNEL {
        return Ok(x);
    }
    let turned = g.transpose(x, &[0, 1, 3, 2])?;
    Ok(g.transpose(g.linear(turned, averages(g, h)?, None)?, &[0, 1, 3, 2])?)
}

/// `[7, side]`, a constant.
fn averages(g: &GraphBuilder, side: usize) -> Result<Value> {
    Ok(g.constant(&[KERNEL, side], shares(side))?)
}

/// `[7, side]`, row-major: row i is the mean over the places `floor(i side / 7) .. ceil((i + 1) side / 7)`.
fn shares(side: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; KERNEL * side];
    for i in 0..KERNEL {
        let (from, to) = (i * side / KERNEL, ((i + 1) * side).div_ceil(KERNEL));
        matrix[i * side + from..i * side + to].fill(1.0 / (to - from) as f64);
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch's `adaptive_avg_pool1d` of the identity.
    #[test]
    fn small_maps_are_averaged_as_pytorch_does() {
        assert_eq!(shares(1), [1.0; 7]);
        #[rustfmt::skip]
        let four = [
            1.0, 0.0, 0.0, 0.0,
            0.5, 0.5, 0.0, 0.0,
            0.0, 1.0, 0.0, 0.0,
            0.0, 0.5, 0.5, 0.0,
            0.0, 0.0, 1.0, 0.0,
            0.0, 0.0, 0.5, 0.5,
            0.0, 0.0, 0.0, 1.0,
        ];
        assert_eq!(shares(4), four);
        assert_eq!(shares(6)[6..18], [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0]);
    }
}
