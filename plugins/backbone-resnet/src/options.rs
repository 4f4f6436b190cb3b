//! What a ResNet can be told; names and defaults are timm's.

use fer_sdk::prelude::*;

/// The published depths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum Variant {
    Resnet18,
    Resnet34,
    Resnet50,
}

/// What a residual block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum Block {
    /// Two 3 x 3 convolutions.
    Basic,
    /// 1 x 1, 3 x 3, and 1 x 1 to four times the width.
    Bottleneck,
}

/// How the last map becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum GlobalPool {
    Avg,
    Max,
}

#[derive(Options)]
pub struct Resnet {
    /// A published depth; the options below it take its values unless they are given.
    #[option(default = Variant::Resnet18)]
    pub variant: Variant,
    /// Side of the images, if it is to be checked.
    #[option(range = 1..=65536)]
    pub img_size: Option<usize>,
    /// Two or three convolutions a block.
    pub block: Option<Block>,
    /// Blocks of each stage.
    #[option(range = 1..=256)]
    pub layers: Option<Vec<usize>>,
    /// Width of each stage's 3 x 3 convolutions; 64, 128, 256, 512 where there are four stages.
    #[option(range = 1..=8192)]
    pub channels: Option<Vec<usize>>,
    /// Width of the first convolution.
    #[option(default = 64, range = 1..=8192)]
    pub stem_width: usize,
    /// Start the last norm of every block at zero, so that the block starts as its shortcut.
    #[option(default = true)]
    pub zero_init_last: bool,
    /// Dropout of the pooled features.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub drop_rate: f64,
    /// Stochastic depth of the last block.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub drop_path_rate: f64,
    /// How stochastic depth grows from the first block to the last.
    #[option(default = nn::DropPathSchedule::Linear)]
    pub drop_path_schedule: nn::DropPathSchedule,
    /// What becomes of the last map.
    #[option(default = GlobalPool::Avg)]
    pub global_pool: GlobalPool,
}

impl Resnet {
    pub fn block(&self) -> Block {
        self.block.unwrap_or(match self.variant {
            Variant::Resnet18 | Variant::Resnet34 => Block::Basic,
            Variant::Resnet50 => Block::Bottleneck,
        })
    }

    /// `(blocks, width)` of each stage.
    pub fn stages(&self) -> Result<Vec<(usize, usize)>> {
        let layers = self.layers.clone().unwrap_or_else(|| match self.variant {
            Variant::Resnet18 => vec![2, 2, 2, 2],
            Variant::Resnet34 | Variant::Resnet50 => vec![3, 4, 6, 3],
        });
        if layers.is_empty() || layers.len() > 8 {
            let error = Error::option("layers", format!("{} stages are given, a ResNet has 1 to 8", layers.len()));
            return Err(error.help("one number of blocks a stage, as in layers: [2, 2, 2, 2]"));
        }
        let channels = match &self.channels {
            Some(channels) => channels.clone(),
            None => (0..layers.len()).map(|i| 64 << i).collect(),
        };
        if channels.len() != layers.len() {
            let message = format!("channels {channels:?} and layers {layers:?} must have one entry a stage");
            return Err(Error::option("channels", message).help("give both, equally long"));
        }
        Ok(layers.into_iter().zip(channels).collect())
    }
}
