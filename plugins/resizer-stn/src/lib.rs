//! STN: a spatial transformer that learns to align the face (Jaderberg et al. 2015).
//!
//! Parameter names are those of PyTorch's tutorial, which the method's authors use: `localization.0`, `localization.3`, `fc_loc.0`,
//! `fc_loc.2`.

use fer_sdk::prelude::*;

#[derive(Options)]
struct SpatialTransformer {
    /// Width of the hidden layer that regresses the affine map.
    #[option(default = 32, range = 1..=4096)]
    hidden: usize,
}

/// Six numbers per image, `[n, 2, 3]`: the affine map from the result's coordinates to the image's.
fn localise(g: &GraphBuilder, images: Value, hidden: usize) -> Result<Value> {
    let conv = |name: &str, x: Value, out: usize, kernel: usize| {
        nn::conv2d(g, name, x, out, &nn::Conv2d { kernel, ..Default::default() })
    };
    let x = g.relu(g.max_pool(conv("localization.0", images, 8, 7)?, [2; 2], [2; 2], [0; 2])?)?;
    let x = g.relu(g.max_pool(conv("localization.3", x, 10, 5)?, [2; 2], [2; 2], [0; 2])?)?;
    let [n, c, h, w] = g.dims::<4>(x)?;
    let flat = g.reshape(x, &[n, c * h * w])?;
    let x = g.relu(nn::linear(g, "fc_loc.0", flat, hidden)?)?;
    // Zero weight and this bias: training starts from the identity.
    let identity = Init::Values([1.0, 0.0, 0.0, 0.0, 1.0, 0.0].into());
    let theta = nn::linear_with(g, "fc_loc.2", x, 6, Some(identity), Init::Zeros)?;
    Ok(g.reshape(theta, &[n, 2, 3])?)
}

impl Resizer for SpatialTransformer {
    const ID: &'static str = "stn";
    const SUMMARY: &'static str = "spatial transformer: learned affine alignment, same size";
    const DOC: &'static str = "conv7 (8) - maxpool2 - relu - conv5 (10) - maxpool2 - relu - linear (32) - relu - linear (6), then \
        affine_grid and bilinear grid_sample with align_corners and zero padding. 2,711,904 parameters at 384 x 384. \
        `[n, c, h, w]` to the same shape; the images must be at least 20 x 20.";
    const LAWS: &'static [Law] = &[
        Law::OutputSize(Size::Same),
        Law::StartsAsIdentity,
        Law::TorchConvolutions,
        Law::Takes { images: [2, 3, 20, 22], options: "hidden: 4" },
        Law::Takes { images: [1, 1, 24, 21], options: "hidden: 3" },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        let [_, _, h, w] = g.dims::<4>(images)?;
        if h.min(w) < 20 {
            return Err(Error::new(format!("stn needs images of at least 20 x 20 pixels, found {h} x {w}"))
                .help("put it after a resizer that enlarges, such as sr"));
        }
        let theta = localise(g, images, self.hidden)?;
        g.name("theta", theta);
        let grid = g.affine_grid(theta, h, w, true)?;
        g.name("grid", grid);
        Ok(g.grid_sample(images, grid, true)?)
    }
}

export_plugin!(SpatialTransformer);
