//! What a Swin transformer can be told; names and defaults are timm's.

use fer_sdk::prelude::*;

/// The published sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum Variant {
    Tiny,
    Small,
    Base,
    Large,
}

/// How tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum GlobalPool {
    Avg,
    Max,
}

#[derive(Options)]
pub struct Swin {
    /// A published size; the options below it take its values unless they are given.
    #[option(default = Variant::Tiny)]
    pub variant: Variant,
    /// Side of a patch in pixels.
    #[option(default = 4, range = 1..=64)]
    pub patch_size: usize,
    /// Side of the images, if it is to be checked.
    #[option(range = 1..=65536)]
    pub img_size: Option<usize>,
    /// Side of a window in tokens.
    #[option(default = 7, range = 1..=64)]
    pub window_size: usize,
    /// Width of the first stage; every later stage doubles it.
    #[option(range = 1..=8192)]
    pub embed_dim: Option<usize>,
    /// Blocks of each stage.
    #[option(range = 1..=256)]
    pub depths: Option<Vec<usize>>,
    /// Attention heads of each stage.
    #[option(range = 1..=1024)]
    pub num_heads: Option<Vec<usize>>,
    /// Hidden width of the MLPs over their width.
    #[option(default = 4.0, min = 0.01, max = 64.0)]
    pub mlp_ratio: f64,
    /// Bias of the query, key and value projections.
    #[option(default = true)]
    pub qkv_bias: bool,
    /// Dropout of the pooled features.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub drop_rate: f64,
    /// Dropout after attention and in the MLPs.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub proj_drop_rate: f64,
    /// Dropout of the attention weights.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub attn_drop_rate: f64,
    /// Stochastic depth of the last block.
    #[option(default = 0.1, min = 0.0, max = 0.99)]
    pub drop_path_rate: f64,
    /// How stochastic depth grows from the first block to the last.
    #[option(default = nn::DropPathSchedule::Linear)]
    pub drop_path_schedule: nn::DropPathSchedule,
    /// What becomes of the last stage's tokens.
    #[option(default = GlobalPool::Avg)]
    pub global_pool: GlobalPool,
}

impl Swin {
    pub fn width(&self) -> usize {
        self.embed_dim.unwrap_or(match self.variant {
            Variant::Tiny | Variant::Small => 96,
            Variant::Base => 128,
            Variant::Large => 192,
        })
    }

    pub fn stages(&self) -> Vec<usize> {
        self.depths.clone().unwrap_or_else(|| match self.variant {
            Variant::Tiny => vec![2, 2, 6, 2],
            _ => vec![2, 2, 18, 2],
        })
    }

    /// One number a stage.
    pub fn heads(&self) -> Result<Vec<usize>> {
        let heads = self.num_heads.clone().unwrap_or_else(|| match self.variant {
            Variant::Tiny | Variant::Small => vec![3, 6, 12, 24],
            Variant::Base => vec![4, 8, 16, 32],
            Variant::Large => vec![6, 12, 24, 48],
        });
        let stages = self.stages();
        if heads.len() != stages.len() || stages.is_empty() || stages.len() > 8 {
            let message =
                format!("num_heads {heads:?} and depths {stages:?} must have one entry a stage, 1 to 8 stages");
            let help = "give both, equally long, as in depths: [2, 2, 6, 2], num_heads: [3, 6, 12, 24]";
            return Err(Error::option("num_heads", message).help(help));
        }
        for (i, &h) in heads.iter().enumerate() {
            let width = self.width() << i;
            if !width.is_multiple_of(h) {
                let message = format!("{h} heads do not divide the width {width} of stage {i}");
                let fit = listed((1..=width.min(64)).filter(|&h| width.is_multiple_of(h)));
                let help = format!("numbers of heads that divide it: {fit}");
                return Err(Error::option("num_heads", message).help(help));
            }
        }
        Ok(heads)
    }

    /// The hidden width of the MLPs beside `width` channels, rounded down as in timm.
    pub fn hidden(&self, width: usize) -> Result<usize> {
        let hidden = (width as f64 * self.mlp_ratio) as usize;
        if hidden > 0 {
            return Ok(hidden);
        }
        let message = format!("mlp_ratio {} leaves no hidden channel of the width {width}", self.mlp_ratio);
        Err(Error::option("mlp_ratio", message).help(format!("at least {}", 1.0 / width as f64)))
    }
}

/// `2, 4, 8`
pub fn listed(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
}
