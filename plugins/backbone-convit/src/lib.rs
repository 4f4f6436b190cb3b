//! ConViT (d'Ascoli et al. 2021, "ConViT: Improving Vision Transformers with Soft Convolutional Inductive Biases"), with timm's names.

mod gpsa;
mod model;
mod options;

use fer_sdk::prelude::*;
use options::Convit;

impl Backbone for Convit {
    const ID: &'static str = "convit";
    const SUMMARY: &'static str = "ConViT, tiny to base and free sizes";
    const DOC: &'static str = "d'Ascoli et al. 2021. `[n, 3, h, w]` to the class token after the last norm (or the mean over the patches), \
        `[n, embed_dim * num_heads]`. The first blocks attend by gated position and content and start as convolutions; the class token \
        joins after them. patch_size must divide h and w. Options and parameters carry timm's names; embed_dim is the width of one head, \
        as there.";
    const LAWS: &'static [Law] = &[
        Law::InitialDeviation { of: "*.qkv.weight", is: 0.02 },
        Law::InitialDeviation { of: "pos_embed", is: 0.02 },
        Law::Takes {
            images: [2, 3, 6, 4],
            options: "patch_size: 2, embed_dim: 2, depth: 3, num_heads: 4, local_up_to_layer: 2",
        },
        Law::Takes {
            images: [1, 1, 6, 9],
            options: "patch_size: 3, embed_dim: 2, depth: 1, num_heads: 2, local_up_to_layer: 0",
        },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        model::build(self, g, images)
    }
}

export_plugin!(Convit);
