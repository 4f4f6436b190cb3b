//! plugin-name: stages of one convolution each.
//!
//! A place to begin: say here what the backbone is and where it was published, and write it in `build`. Give parameters the names
//! of the published model, so that its weights fit.

use fer_sdk::prelude::*;

/// What a config may set: `backbone: (plugin: "plugin-name", depth: 3)`. The host checks ranges and fills in defaults; a field's
/// doc comment is its description in `fer-host plugin show plugin-name`.
#[derive(Options)]
struct PluginName {
    /// Stages, each of which halves the side.
    #[option(default = 2, range = 1..=8)]
    depth: usize,
    /// Features of the first stage; each further one has twice as many.
    #[option(default = 8, range = 1..=256)]
    width: usize,
}

impl PluginName {
    /// Convolution, norm, rectifier: `[n, c, h, w]` to `[n, width, h / 2, w / 2]`, rounded up.
    fn stage(&self, g: &GraphBuilder, x: Value, width: usize) -> Result<Value> {
        let conv = nn::Conv2d {
            kernel: 3,
            stride: 2,
            padding: 1,
            bias: false,
            ..Default::default()
        };
        let x = nn::conv2d(g, "conv", x, width, &conv)?;
        let x = nn::batch_norm(g, "bn", x, nn::BatchNorm::default())?;
        Ok(g.relu(x)?)
    }
}

impl Backbone for PluginName {
    const ID: &'static str = "plugin-name";
    const SUMMARY: &'static str = "stages of one convolution each";
    const DOC: &'static str = "`[n, c, h, w]` to `[n, width 2^(depth - 1)]`: 3 x 3 convolutions with stride 2, batch norm, relu; \
        averaged over what is left of the image.";
    // What it claims of itself; the contract and `fer-host plugin check` hold it to that.
    const LAWS: &'static [Law] = &[Law::TorchConvolutions];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        let [_, _, height, width] = g.dims::<4>(images)?;
        // What a schema cannot say is said here, with the option at fault and what to do.
        if height.min(width) < 1 << self.depth {
            let message = format!(
                "{} stages leave nothing of {height} x {width} pixels",
                self.depth
            );
            return Err(Error::option("depth", message)
                .help("a smaller depth, or a resizer before the backbone"));
        }
        let mut x = images;
        for index in 0..self.depth {
            // Parameters below are called `stages.0.conv.weight`; a stage is a layer for `layer_decay`.
            let _scope = g.scope(&format!("stages.{index}"));
            let _layer = g.layer(index);
            x = self.stage(g, x, self.width << index)?;
        }
        Ok(g.mean(x, &[2, 3])?) // [n, features]
    }
}

export_plugin!(PluginName);
