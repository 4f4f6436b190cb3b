//! Bilinear interpolation to a square: the paper's baseline between the face and the backbone.

use fer_sdk::prelude::*;

#[derive(Options)]
struct Bilinear {
    /// Side of the result in pixels.
    #[option(min = 1, max = 4096)]
    size: usize,
}

impl Resizer for Bilinear {
    const ID: &'static str = "bilinear";
    const SUMMARY: &'static str = "bilinear interpolation to a square";
    const DOC: &'static str = "Half-pixel centres, no antialiasing, as `torch.nn.functional.interpolate(mode='bilinear')`. \
        `[n, c, h, w]` to `[n, c, size, size]`.";
    const LAWS: &'static [Law] = &[
        Law::OutputSize(Size::Square("size")),
        Law::KeepsConstants,
        Law::StartsAsBilinear,
        Law::Takes { images: [2, 3, 8, 10], options: "size: 5" },
        Law::Takes { images: [1, 1, 5, 3], options: "size: 8" },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        Ok(g.resize(images, [self.size; 2])?)
    }
}

export_plugin!(Bilinear);
