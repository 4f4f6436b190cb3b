//! XCiT (El-Nouby et al. 2021, "XCiT: Cross-Covariance Image Transformers"), with timm's names.

mod embed;
mod model;
mod options;

use fer_sdk::prelude::*;
use options::Xcit;

impl Backbone for Xcit {
    const ID: &'static str = "xcit";
    const SUMMARY: &'static str = "XCiT, nano to large and free sizes";
    const DOC: &'static str = "El-Nouby et al. 2021. `[n, 3, h, w]` to the class token of the last class-attention block (or the mean over \
        the patches), `[n, embed_dim]`. Attention is between channels, so the cost is linear in the number of patches and any h and w \
        that patch_size divides will do; positions are Fourier features and need no resampling. Batch norms (patch embedding, local \
        patch interaction) use the batch's statistics in training. Options and parameters carry timm's names.";
    const LAWS: &'static [Law] = &[
        Law::InitialDeviation { of: "*.qkv.weight", is: 0.02 },
        Law::Takes {
            images: [3, 3, 16, 8],
            options: "patch_size: 8, embed_dim: 8, depth: 1, num_heads: 2, cls_attn_layers: 1",
        },
        Law::Takes {
            images: [3, 3, 16, 16],
            options: "patch_size: 16, embed_dim: 8, depth: 2, num_heads: 2, cls_attn_layers: 1",
        },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        model::build(self, g, images)
    }
}

export_plugin!(Xcit);
