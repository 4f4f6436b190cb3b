//! plugin-name: bilinear interpolation plus a learned detail.
//!
//! A place to begin: say here what the resizer is and where it was published, and write it in `build`.

use fer_sdk::prelude::*;

/// What a config may set: `(plugin: "plugin-name", size: 64)`. The host checks ranges and fills in defaults; a field's doc comment
/// is its description in `fer-host plugin show plugin-name`.
#[derive(Options)]
struct PluginName {
    /// Side of the result in pixels.
    #[option(default = 32, range = 1..=4096)]
    size: usize,
    /// Width of the features between the two convolutions.
    #[option(default = 8, range = 1..=1024)]
    channels: usize,
}

impl PluginName {
    /// Two 3 x 3 convolutions, the second of which starts at zero.
    fn detail(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        let [_, colours, _, _] = g.dims::<4>(images)?;
        let window = nn::Conv2d {
            kernel: 3,
            padding: 1,
            ..Default::default()
        };
        let zero = nn::Conv2d {
            init: Some(Init::Zeros),
            bias_init: Some(Init::Zeros),
            ..window.clone()
        };
        let features = g.relu(nn::conv2d(g, "conv1", images, self.channels, &window)?)?; // [n, channels, size, size]
        nn::conv2d(g, "conv2", features, colours, &zero) // [n, c, size, size]
    }
}

impl Resizer for PluginName {
    const ID: &'static str = "plugin-name";
    const SUMMARY: &'static str = "bilinear interpolation plus a learned detail";
    const DOC: &'static str =
        "`[n, c, h, w]` to `[n, c, size, size]`. Training starts from bilinear interpolation.";
    // What it claims of itself; the contract and `fer-host plugin check` hold it to that.
    const LAWS: &'static [Law] = &[Law::StartsAsBilinear, Law::OutputSize(Size::Square("size"))];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        let resized = g.resize(images, [self.size; 2])?; // [n, c, size, size]
        Ok(g.add(resized, self.detail(g, resized)?)?)
    }
}

export_plugin!(PluginName);
