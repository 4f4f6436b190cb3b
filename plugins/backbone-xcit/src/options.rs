//! What an XCiT can be told; names and defaults are timm's.

use fer_sdk::prelude::*;

/// The published sizes: width, and number of cross-covariance blocks. The words are `nano-12`, `small-24` ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
#[allow(non_camel_case_types, reason = "the underscore becomes the hyphen of the word")]
pub enum Variant {
    Nano_12,
    Tiny_12,
    Tiny_24,
    Small_12,
    Small_24,
    Medium_24,
    Large_24,
}

/// What the features are read from, after the last norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum GlobalPool {
    /// The class token.
    Token,
    /// The mean over the patches.
    Avg,
}

#[derive(Options)]
pub struct Xcit {
    /// A published size; the options below it take its values unless they are given.
    #[option(default = Variant::Small_12)]
    pub variant: Variant,
    /// Side of the images, if it is to be checked.
    #[option(range = 1..=65536)]
    pub img_size: Option<usize>,
    /// Side of a patch in pixels: 8 or 16, made by three or four convolutions of stride 2.
    #[option(default = 16, range = 8..=16)]
    pub patch_size: usize,
    /// Width of a token; the patch embedding needs it divisible by patch_size / 2.
    #[option(range = 1..=8192)]
    pub embed_dim: Option<usize>,
    /// Cross-covariance blocks.
    #[option(range = 1..=256)]
    pub depth: Option<usize>,
    /// Attention heads.
    #[option(range = 1..=1024)]
    pub num_heads: Option<usize>,
    /// Hidden width of the MLPs over their width.
    #[option(default = 4.0, min = 0.01, max = 64.0)]
    pub mlp_ratio: f64,
    /// Bias of the query, key and value projections.
    #[option(default = true)]
    pub qkv_bias: bool,
    /// Where every branch's scale (LayerScale) starts.
    #[option(min = 0.0, max = 16.0)]
    pub eta: Option<f64>,
    /// Class-attention blocks after the others.
    #[option(default = 2, range = 1..=64)]
    pub cls_attn_layers: usize,
    /// Whether the second norm of a class-attention block is over all tokens, or over the class token alone.
    pub tokens_norm: Option<bool>,
    /// Whether positions are added as Fourier features.
    #[option(default = true)]
    pub use_pos_embed: bool,
    /// What the features are read from.
    #[option(default = GlobalPool::Token)]
    pub global_pool: GlobalPool,
    /// Dropout of the features.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub drop_rate: f64,
    /// Dropout after the positions are added.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub pos_drop_rate: f64,
    /// Dropout after attention and in the MLPs.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub proj_drop_rate: f64,
    /// Dropout of the attention weights.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub attn_drop_rate: f64,
    /// Stochastic depth of the last cross-covariance block; the class-attention blocks have none.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub drop_path_rate: f64,
    /// How stochastic depth grows from the first block to the last.
    #[option(default = nn::DropPathSchedule::Constant)]
    pub drop_path_schedule: nn::DropPathSchedule,
}

impl Xcit {
    /// `(width, depth, heads)` of the variant.
    fn published(&self) -> (usize, usize, usize) {
        match self.variant {
            Variant::Nano_12 => (128, 12, 4),
            Variant::Tiny_12 => (192, 12, 4),
            Variant::Tiny_24 => (192, 24, 4),
            Variant::Small_12 => (384, 12, 8),
            Variant::Small_24 => (384, 24, 8),
            Variant::Medium_24 => (512, 24, 8),
            Variant::Large_24 => (768, 24, 16),
        }
    }

    pub fn width(&self) -> usize {
        self.embed_dim.unwrap_or(self.published().0)
    }

    pub fn depth(&self) -> usize {
        self.depth.unwrap_or(self.published().1)
    }

    pub fn heads(&self) -> usize {
        self.num_heads.unwrap_or(self.published().2)
    }

    /// The deep published models start their branches near zero.
    pub fn eta(&self) -> f64 {
        self.eta.unwrap_or(if self.published().1 > 12 { 1e-5 } else { 1.0 })
    }

    pub fn tokens_norm(&self) -> bool {
        self.tokens_norm.unwrap_or(self.variant != Variant::Nano_12)
    }

    /// Widths of the patch embedding's convolutions, each halving the side.
    pub fn patch_widths(&self) -> Result<Vec<usize>> {
        let halvings = match self.patch_size {
            16 => 4,
            8 => 3,
            other => {
                let error = Error::option("patch_size", format!("patches of {other} pixels cannot be embedded"));
                return Err(error.help("patch_size is 8 or 16"));
            }
        };
        let first = 1 << (halvings - 1);
        if !self.width().is_multiple_of(first) {
            let message =
                format!("the width {} cannot be halved {} times for the patch embedding", self.width(), halvings - 1);
            return Err(Error::option("embed_dim", message).help(format!("give a multiple of {first}")));
        }
        Ok((0..halvings).map(|i| self.width() >> (halvings - 1 - i)).collect())
    }

    /// Hidden width of the MLPs.
    pub fn hidden(&self) -> Result<usize> {
        let hidden = (self.width() as f64 * self.mlp_ratio) as usize;
        if hidden > 0 {
            return Ok(hidden);
        }
        let message = format!("mlp_ratio {} of the width {} leaves no hidden channel", self.mlp_ratio, self.width());
        Err(Error::option("mlp_ratio", message).help(format!("give at least {}", 1.0 / self.width() as f64)))
    }
}
