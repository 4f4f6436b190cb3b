//! Swin transformer (Liu et al. 2021, "Hierarchical Vision Transformer using Shifted Windows"), with timm's names.

mod attention;
mod model;
mod options;

use fer_sdk::prelude::*;
use options::Swin;

impl Backbone for Swin {
    const ID: &'static str = "swin";
    const SUMMARY: &'static str = "Swin transformer, tiny to large and free sizes";
    const DOC: &'static str = "Liu et al. 2021. `[n, 3, h, w]` to the mean over the last stage's tokens, `[n, embed_dim * 2^(stages - 1)]`. \
        h and w must be patch_size times a power-of-two multiple that the window divides at every stage; a stage smaller than the \
        window is one window. Options and parameters carry timm's names.";

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        model::build(self, g, images)
    }
}

export_plugin!(Swin);
