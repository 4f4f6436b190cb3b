//! Stem, stages of residual blocks, pooling; maps are `[n, c, h, w]` throughout.

use fer_sdk::prelude::*;

use crate::options::{Block, GlobalPool, Resnet};

pub fn build(resnet: &Resnet, g: &GraphBuilder, images: Value) -> Result<Value> {
    // Any size will do: a convolution of stride 2 rounds up.
    nn::patch_grid(g, images, resnet.img_size, 1)?;
    let stages = resnet.stages()?;
    let mut x = stem(resnet, g, images)?;
    let total: usize = stages.iter().map(|(blocks, _)| blocks).sum();
    let mut done = 0;
    for (i, &(blocks, width)) in stages.iter().enumerate() {
        let _stage = g.scope(&format!("layer{}", i + 1));
        for j in 0..blocks {
            let _layer = g.layer(done + 1);
            let _block = g.scope(&j.to_string());
            let stride = if i > 0 && j == 0 { 2 } else { 1 };
            let drop_path = resnet.drop_path_schedule.rate(resnet.drop_path_rate, done, total);
            x = residual(resnet, g, x, width, stride, drop_path)?;
            done += 1;
        }
    }
    let pooled = match resnet.global_pool {
        GlobalPool::Avg => g.mean(x, &[2, 3])?,
        GlobalPool::Max => g.reduce_max(x, &[2, 3])?,
    };
    g.dropout(pooled, resnet.drop_rate)
}

/// `[n, c, h, w]` to a quarter of the side: convolution 7 x 7, norm, relu, maximum over 3 x 3.
fn stem(resnet: &Resnet, g: &GraphBuilder, images: Value) -> Result<Value> {
    let _layer = g.layer(0);
    let x = convolution(g, "conv1", images, resnet.stem_width, 7, 2)?;
    let x = g.relu(nn::batch_norm(g, "bn1", x, nn::BatchNorm::default())?)?;
    Ok(g.max_pool(x, [3, 3], [2, 2], [1, 1])?)
}

/// The block's convolutions beside its shortcut, added and rectified.
fn residual(resnet: &Resnet, g: &GraphBuilder, x: Value, width: usize, stride: usize, drop_path: f64) -> Result<Value> {
    // (kernel, width, stride) of each convolution.
    let convolutions: &[(usize, usize, usize)] = match resnet.block() {
        Block::Basic => &[(3, width, stride), (3, width, 1)],
        Block::Bottleneck => &[(1, width, 1), (3, width, stride), (1, 4 * width, 1)],
    };
    let mut y = x;
    for (k, &(kernel, out, stride)) in convolutions.iter().enumerate() {
        y = convolution(g, &format!("conv{}", k + 1), y, out, kernel, stride)?;
        let last = k + 1 == convolutions.len();
        y = nn::batch_norm(g, &format!("bn{}", k + 1), y, nn::BatchNorm::default())?;
        if last && resnet.zero_init_last {
            start_at_zero(g, &format!("bn{}.weight", k + 1));
        }
        if !last {
            y = g.relu(y)?;
        }
    }
    let shortcut = if g.shape(x) == g.shape(y) && stride == 1 {
        x
    } else {
        let _scope = g.scope("downsample");
        let out = g.shape(y)[1];
        nn::batch_norm(g, "1", convolution(g, "0", x, out, 1, stride)?, nn::BatchNorm::default())?
    };
    Ok(g.relu(g.add(g.drop_path(y, drop_path)?, shortcut)?)?)
}

/// Without bias, padded to keep the side, started as He et al. 2015 by what goes out.
fn convolution(g: &GraphBuilder, name: &str, x: Value, out: usize, kernel: usize, stride: usize) -> Result<Value> {
    let init = Some(Init::kaiming_normal(out.saturating_mul(kernel * kernel), 0.0));
    let conv = nn::Conv2d { kernel, stride, padding: kernel / 2, bias: false, init, ..nn::Conv2d::default() };
    nn::conv2d(g, name, x, out, &conv)
}

/// Another start for a parameter that a layer has declared below the current scope.
fn start_at_zero(g: &GraphBuilder, name: &str) {
    let full = g.full_name(name);
    if let Some(value) = g.look(|graph| graph.argument(&full).map(|a| a.value)) {
        g.edit_argument(value, |a| a.init = Some(Init::Zeros));
    }
}
