//! What the two transformers can be told; names and defaults are timm's.

use fer_sdk::prelude::*;

use crate::encoder::Encoder;

/// The published sizes of ViT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum VitVariant {
    Tiny,
    Small,
    Base,
    Large,
}

/// The published sizes of DeiT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum DeitVariant {
    Tiny,
    Small,
    Base,
}

/// What becomes of the tokens after the last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum GlobalPool {
    /// The class token.
    Token,
    /// The mean over the patch tokens.
    Avg,
    /// The largest over the patch tokens.
    Max,
    /// The mean of those two.
    Avgmax,
}

/// Width, depth and heads.
struct Size(usize, usize, usize);

const TINY: Size = Size(192, 12, 3);
const SMALL: Size = Size(384, 12, 6);
const BASE: Size = Size(768, 12, 12);
const LARGE: Size = Size(1024, 24, 16);

impl VitVariant {
    fn size(self) -> Size {
        match self {
            VitVariant::Tiny => TINY,
            VitVariant::Small => SMALL,
            VitVariant::Base => BASE,
            VitVariant::Large => LARGE,
        }
    }
}

impl DeitVariant {
    fn size(self) -> Size {
        match self {
            DeitVariant::Tiny => TINY,
            DeitVariant::Small => SMALL,
            DeitVariant::Base => BASE,
        }
    }
}

/// An options struct: what both transformers can be told, and then what only this one can. The expression says whether there is a
/// distillation token.
macro_rules! transformer {
    ($name:ident, $variant:ident, |$this:ident| $distilled:expr, { $($own:tt)* }) => {
        #[derive(Options)]
        pub struct $name {
            /// A published size; width, depth and heads take its values unless they are given.
            #[option(default = $variant::Tiny)]
            variant: $variant,
            /// Side of the images in pixels, asserted and nothing else; left out, any size will do.
            #[option(range = 1..=16384)]
            img_size: Option<usize>,
            /// Side of a patch in pixels.
            #[option(default = 16, range = 1..=256)]
            patch_size: usize,
            /// Width of the tokens.
            #[option(range = 1..=8192)]
            embed_dim: Option<usize>,
            /// Number of blocks.
            #[option(range = 1..=256)]
            depth: Option<usize>,
            /// Attention heads; they divide the width.
            #[option(range = 1..=1024)]
            num_heads: Option<usize>,
            /// Hidden width of the MLPs over their width.
            #[option(default = 4.0, min = 0.01, max = 64.0)]
            mlp_ratio: f64,
            /// Bias of the query, key and value projections.
            #[option(default = true)]
            qkv_bias: bool,
            /// The features: the class token, or the mean, the maximum or half the sum of both over the patch tokens.
            #[option(default = GlobalPool::Token)]
            global_pool: GlobalPool,
            /// Whether the last norm comes after the pooling, as `fc_norm`, or before it, as `norm`; left out, after all
            /// pooling but that of the class token.
            fc_norm: Option<bool>,
            /// Dropout of the pooled features.
            #[option(default = 0.0, min = 0.0, max = 0.99)]
            drop_rate: f64,
            /// Dropout of the tokens after the position table is added.
            #[option(default = 0.0, min = 0.0, max = 0.99)]
            pos_drop_rate: f64,
            /// Dropout after attention and in the MLPs.
            #[option(default = 0.0, min = 0.0, max = 0.99)]
            proj_drop_rate: f64,
            /// Dropout of the attention weights.
            #[option(default = 0.0, min = 0.0, max = 0.99)]
            attn_drop_rate: f64,
            /// Stochastic depth of the last block.
            #[option(default = 0.0, min = 0.0, max = 0.99)]
            drop_path_rate: f64,
            /// Whether stochastic depth grows from 0 at the first block, or is the same at every block.
            #[option(default = nn::DropPathSchedule::Linear)]
            drop_path_schedule: nn::DropPathSchedule,
            $($own)*
        }

        impl $name {
            /// The encoder that is meant, its variant resolved.
            pub fn encoder(&self) -> Encoder {
                let $this = self;
                let Size(width, depth, heads) = self.variant.size();
                Encoder {
                    img_size: self.img_size,
                    patch_size: self.patch_size,
                    width: self.embed_dim.unwrap_or(width),
                    depth: self.depth.unwrap_or(depth),
                    heads: self.num_heads.unwrap_or(heads),
                    mlp_ratio: self.mlp_ratio,
                    qkv_bias: self.qkv_bias,
                    distilled: $distilled,
                    global_pool: self.global_pool,
                    fc_norm: self.fc_norm.unwrap_or(self.global_pool != GlobalPool::Token),
                    dropout: self.drop_rate,
                    position_dropout: self.pos_drop_rate,
                    projection_dropout: self.proj_drop_rate,
                    attention_dropout: self.attn_drop_rate,
                    drop_path: self.drop_path_rate,
                    drop_path_schedule: self.drop_path_schedule,
                }
            }
        }
    };
}

transformer!(Vit, VitVariant, |_vit| false, {});

transformer!(Deit, DeitVariant, |deit| deit.distilled, {
    /// Adds a distillation token, whose features are the output `features_dist`.
    #[option(default = false)]
    distilled: bool,
});
