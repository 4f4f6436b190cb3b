//! Sub-pixel super-resolution: bilinear up-sampling plus a learned residual (Shi et al. 2016, ESPCN; Lim et al. 2017, EDSR).

use fer_sdk::prelude::*;

#[derive(Options)]
struct SuperResolution {
    /// Factor of height and width: 2, 4 or 8.
    #[option(default = 2)]
    scale: usize,
    /// Width of the features at the images' own resolution.
    #[option(default = 32, range = 1..=1024)]
    channels: usize,
    /// Residual blocks.
    #[option(default = 4, range = 0..=64)]
    blocks: usize,
}

fn conv3(g: &GraphBuilder, name: &str, x: Value, out: usize, init: Option<Init>) -> Result<Value> {
    nn::conv2d(
        g,
        name,
        x,
        out,
        &nn::Conv2d { kernel: 3, padding: 1, bias_init: init.clone(), init, ..Default::default() },
    )
}

/// `[n, c s s, h, w]` to `[n, c, h s, w s]`, as PyTorch's `pixel_shuffle`.
fn pixel_shuffle(g: &GraphBuilder, x: Value, scale: usize) -> Result<Value> {
    let [n, wide, h, w] = g.dims::<4>(x)?;
    let c = wide / (scale * scale);
    let cells = g.reshape(x, &[n, c, scale, scale, h, w])?;
    let woven = g.transpose(cells, &[0, 1, 4, 2, 5, 3])?;
    Ok(g.reshape(woven, &[n, c, h * scale, w * scale])?)
}

impl Resizer for SuperResolution {
    const ID: &'static str = "sr";
    const SUMMARY: &'static str = "trainable sub-pixel super-resolution, starts as bilinear";
    const DOC: &'static str = "`head` (3x3), `body.N.conv1` - relu - `body.N.conv2` + skip, `tail` (3x3) - pixel shuffle, added to \
        the bilinearly enlarged input. The tail starts at zero, so that training starts from bilinear up-sampling. \
        `[n, c, h, w]` to `[n, c, h scale, w scale]`.";
    const LAWS: &'static [Law] = &[
        Law::OutputSize(Size::Times("scale")),
        Law::StartsAsBilinear,
        Law::TorchConvolutions,
        Law::Takes { images: [2, 3, 4, 6], options: "scale: 2, channels: 3, blocks: 1" },
        Law::Takes { images: [1, 1, 5, 4], options: "scale: 4, channels: 2, blocks: 2" },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        if ![2, 4, 8].contains(&self.scale) {
            return Err(Error::option("scale", format!("scale must be 2, 4 or 8, found {}", self.scale)));
        }
        let [_, c, h, w] = g.dims::<4>(images)?;
        let enlarged = g.resize(images, [h * self.scale, w * self.scale])?;
        let first = conv3(g, "head", images, self.channels, None)?;
        let mut x = first;
        for i in 0..self.blocks {
            let _scope = g.scope(&format!("body.{i}"));
            let inner = g.relu(conv3(g, "conv1", x, self.channels, None)?)?;
            x = g.add(x, conv3(g, "conv2", inner, self.channels, None)?)?;
        }
        let x = g.add(x, first)?;
        let fine = conv3(g, "tail", x, c * self.scale * self.scale, Some(Init::Zeros))?;
        Ok(g.add(enlarged, pixel_shuffle(g, fine, self.scale)?)?)
    }
}

export_plugin!(SuperResolution);
