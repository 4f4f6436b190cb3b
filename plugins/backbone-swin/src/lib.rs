//! Swin transformer (Liu et al. 2021, "Hierarchical Vision Transformer using Shifted Windows"), with timm's names.

mod attention;
mod model;
mod options;

use fer_sdk::prelude::*;
use options::Swin;

impl Backbone for Swin {
    const ID: &'static str = "swin";
    const SUMMARY: &'static str = "Swin transformer, tiny to large and free sizes";
    const DOC: &'static str = "Liu et al. 2021. `[n, 3, h, w]` to the mean (or maximum) over the last stage's tokens, `[n, embed_dim * 2^(stages - 1)]`. \
        h and w must be patch_size times a power-of-two multiple that the window divides at every stage; a stage smaller than the \
        window is one window. Options and parameters carry timm's names.";

    const LAYOUTS: &'static [Layout] = &[Layout {
        name: "Microsoft's Swin (and timm before 0.9)",
        // The merging of patches was numbered with the stage before it.
        rules: &[("layers.{i}.downsample.*", "layers.{i+1}.downsample.*")],
    }];

    const LAWS: &'static [Law] = &[
        Law::InitialDeviation { of: "*.qkv.weight", is: 0.02 },
        Law::InitialDeviation { of: "*.relative_position_bias_table", is: 0.02 },
        Law::Takes {
            images: [2, 3, 16, 8],
            options: "patch_size: 2, window_size: 2, embed_dim: 8, depths: [2, 1], num_heads: [1, 2]",
        },
        Law::Takes {
            images: [1, 3, 12, 24],
            options: "patch_size: 4, window_size: 3, embed_dim: 8, depths: [2], num_heads: [2]",
        },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        model::build(self, g, images)
    }
}

export_plugin!(Swin);
