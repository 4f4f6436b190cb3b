//! What a ConViT can be told; names and defaults are timm's.

use fer_sdk::prelude::*;

/// The published sizes: 4, 9 or 16 heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum Variant {
    Tiny,
    Small,
    Base,
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
pub struct Convit {
    /// A published size; the options below it take its values unless they are given.
    #[option(default = Variant::Small)]
    pub variant: Variant,
    /// Side of the images, if it is to be checked.
    #[option(range = 1..=65536)]
    pub img_size: Option<usize>,
    /// Side of a patch in pixels.
    #[option(default = 16, range = 1..=64)]
    pub patch_size: usize,
    /// Width of one head, as in timm: a token is embed_dim * num_heads wide.
    #[option(default = 48, range = 1..=1024)]
    pub embed_dim: usize,
    /// Blocks.
    #[option(default = 12, range = 1..=256)]
    pub depth: usize,
    /// Attention heads.
    #[option(range = 1..=256)]
    pub num_heads: Option<usize>,
    /// Blocks that attend by position and content (GPSA); the class token joins after them. 10 unless given, or all but the last of
    /// a shallower model.
    #[option(range = 0..=255)]
    pub local_up_to_layer: Option<usize>,
    /// How sharply the heads look at their neighbour when training starts.
    #[option(default = 1.0, min = 0.0, max = 1e3)]
    pub locality_strength: f64,
    /// Whether a learned embedding of positions is added to the patches.
    #[option(default = true)]
    pub use_pos_embed: bool,
    /// Hidden width of the MLPs over their width.
    #[option(default = 4.0, min = 0.01, max = 64.0)]
    pub mlp_ratio: f64,
    /// Bias of the query, key and value projections.
    #[option(default = false)]
    pub qkv_bias: bool,
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
    /// Stochastic depth of the last block.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub drop_path_rate: f64,
    /// How stochastic depth grows from the first block to the last.
    #[option(default = nn::DropPathSchedule::Linear)]
    pub drop_path_schedule: nn::DropPathSchedule,
}

impl Convit {
    pub fn heads(&self) -> usize {
        self.num_heads.unwrap_or(match self.variant {
            Variant::Tiny => 4,
            Variant::Small => 9,
            Variant::Base => 16,
        })
    }

    pub fn width(&self) -> usize {
        self.embed_dim * self.heads()
    }

    /// Blocks before the class token joins.
    pub fn local_blocks(&self) -> Result<usize> {
        let local = self.local_up_to_layer.unwrap_or(10.min(self.depth - 1));
        if local < self.depth {
            return Ok(local);
        }
        let message =
            format!("the class token would join after block {local}, and there are only {} blocks", self.depth);
        Err(Error::option("local_up_to_layer", message).help(format!("give at most {}", self.depth - 1)))
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
