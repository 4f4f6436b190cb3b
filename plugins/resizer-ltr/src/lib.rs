//! LTR, the learned downscaler (Talebi & Milanfar 2021, "Learning to Resize Images for Computer Vision Tasks").
//!
//! The body works at the input's resolution, resizes its features bilinearly, refines them at the output's, and adds the
//! bilinearly resized input. Parameter names are the public implementation's: `conv1`, `conv2`, `bn1`, `resblock.N.conv1` ...

use fer_sdk::prelude::*;

#[derive(Options)]
struct LearnedResizer {
    /// Side of the result; sampled at in / out steps. Give this or `scale`.
    #[option(range = 1..=4096)]
    size: Option<usize>,
    /// Factor of height and width; the result has floor(side * scale) pixels, sampled at 1 / scale steps, as PyTorch does when
    /// given a scale factor. The paper's 0.584 takes 384 to 224.
    #[option(min = 0.001, max = 16.0)]
    scale: Option<f64>,
    /// Width of the features (n in the paper).
    #[option(default = 16, range = 1..=1024)]
    channels: usize,
    /// Residual blocks (r in the paper).
    #[option(default = 1, range = 0..=64)]
    blocks: usize,
    /// Slope of the leaky rectifiers below zero.
    #[option(default = 0.2, range = 0.0..=1.0)]
    negative_slope: f64,
}

fn conv(g: &GraphBuilder, name: &str, x: Value, out: usize, kernel: usize) -> Result<Value> {
    nn::conv2d(g, name, x, out, &nn::Conv2d { kernel, padding: kernel / 2, ..Default::default() })
}

impl LearnedResizer {
    fn interpolate(&self, g: &GraphBuilder, x: Value) -> Result<Value> {
        let [_, _, h, w] = g.dims::<4>(x)?;
        match (self.size, self.scale) {
            (Some(size), None) => Ok(g.resize(x, [size; 2])?),
            (None, Some(scale)) => {
                let side = |d: usize| (d as f64 * scale).floor() as usize;
                if side(h) == 0 || side(w) == 0 {
                    return Err(Error::option("scale", format!("{h} x {w} pixels times {scale} leaves no pixel")));
                }
                Ok(g.resize_by(x, [side(h), side(w)], [scale; 2])?)
            }
            _ => Err(Error::option("size", "give either size or scale").help("size: 224, or scale: 0.584")),
        }
    }

    fn residual_block(&self, g: &GraphBuilder, x: Value) -> Result<Value> {
        let y = nn::batch_norm(g, "bn1", conv(g, "conv1", x, self.channels, 3)?, Default::default())?;
        let y = g.leaky_relu(y, self.negative_slope)?;
        let y = nn::batch_norm(g, "bn2", conv(g, "conv2", y, self.channels, 3)?, Default::default())?;
        Ok(g.add(x, y)?)
    }
}

impl Resizer for LearnedResizer {
    const ID: &'static str = "ltr";
    const SUMMARY: &'static str = "learned downscaler (Talebi & Milanfar 2021)";
    const DOC: &'static str = "conv7 - lrelu - conv1 - lrelu - bn, bilinear resize, r residual blocks, conv3 - bn + skip, conv7, plus \
        the bilinearly resized input. r = 1, n = 16 has 12,083 parameters. `[n, c, h, w]` to `[n, c, size, size]`.";
    const LAWS: &'static [Law] = &[
        Law::OutputSize(Size::Square("size")),
        Law::OutputSize(Size::Times("scale")),
        Law::TorchConvolutions,
        Law::Takes { images: [2, 3, 8, 10], options: "size: 6, channels: 2, blocks: 1" },
        Law::Takes { images: [2, 2, 9, 8], options: "scale: 0.7, channels: 3, blocks: 2" },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        let [_, c, ..] = g.dims::<4>(images)?;
        let resized = self.interpolate(g, images)?;
        let x = g.leaky_relu(conv(g, "conv1", images, self.channels, 7)?, self.negative_slope)?;
        let x = g.leaky_relu(conv(g, "conv2", x, self.channels, 1)?, self.negative_slope)?;
        let x = nn::batch_norm(g, "bn1", x, Default::default())?;
        let features = self.interpolate(g, x)?;
        let mut x = features;
        for i in 0..self.blocks {
            let _scope = g.scope(&format!("resblock.{i}"));
            x = self.residual_block(g, x)?;
        }
        let x = nn::batch_norm(g, "bn2", conv(g, "conv3", x, self.channels, 3)?, Default::default())?;
        let x = g.add(x, features)?;
        Ok(g.add(conv(g, "conv4", x, c, 7)?, resized)?)
    }
}

export_plugin!(LearnedResizer);
