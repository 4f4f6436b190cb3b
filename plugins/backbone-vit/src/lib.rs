//! Vision transformers: ViT (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words") and DeiT (Touvron et al. 2021, "Training
//! data-efficient image transformers & distillation through attention"), with timm's names. Both are one encoder; DeiT may have
//! a distillation token besides the class token.

mod encoder;
mod options;

use fer_sdk::prelude::*;
use options::{Deit, Vit};

impl Backbone for Vit {
    const ID: &'static str = "vit";
    const SUMMARY: &'static str = "vision transformer, tiny to large and free sizes";
    const DOC: &'static str = "Dosovitskiy et al. 2021. `[n, c, h, w]` to `[n, embed_dim]`: the class token, or what `global_pool` makes \
        of the patch tokens. patch_size divides h and w, which need not be equal. Options and parameters carry timm's names; \
        a weight file of another image size is resampled in `pos_embed`.";
    const LAWS: &'static [Law] = &[
        Law::InitialDeviation { of: "pos_embed", is: 0.02 },
        Law::Takes { images: [2, 3, 4, 6], options: "patch_size: 2, embed_dim: 8, depth: 2, num_heads: 2" },
        Law::Takes { images: [1, 1, 6, 3], options: "patch_size: 3, embed_dim: 6, depth: 1, num_heads: 3" },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        encoder::build(&self.encoder(), g, images)
    }
}

impl Backbone for Deit {
    const ID: &'static str = "deit";
    const SUMMARY: &'static str = "data-efficient vision transformer, with or without a distillation token";
    const DOC: &'static str = "Touvron et al. 2021. `[n, c, h, w]` to `[n, embed_dim]`, as `vit`. With `distilled: true` there is a second \
        token, `dist_token`, whose features are the output `features_dist` `[n, embed_dim]`: they have a head of their own, and the \
        logits are the mean of both heads'. Options and parameters carry timm's names.";
    const LAWS: &'static [Law] = &[
        Law::InitialDeviation { of: "pos_embed", is: 0.02 },
        Law::Takes { images: [2, 3, 4, 6], options: "patch_size: 2, embed_dim: 8, depth: 2, num_heads: 2" },
        Law::Takes { images: [1, 1, 6, 3], options: "patch_size: 3, embed_dim: 6, depth: 1, num_heads: 3" },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        encoder::build(&self.encoder(), g, images)
    }
}

export_plugin!(Vit, Deit);
