//! What a VGG can be told; names and defaults are timm's where timm has them.

use fer_sdk::prelude::*;

/// How the last map becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, OptionEnum)]
pub enum GlobalPool {
    Avg,
    Max,
}

#[derive(Options)]
pub struct Vgg {
    /// Side of the images, if it is to be checked.
    #[option(range = 1..=65536)]
    pub img_size: Option<usize>,
    /// Convolutions of each stage; VGG-16's unless given.
    #[option(range = 1..=64)]
    pub depths: Option<Vec<usize>>,
    /// Width of each stage; VGG-16's unless given.
    #[option(range = 1..=8192)]
    pub channels: Option<Vec<usize>>,
    /// Width of the two layers after the convolutions, and of the features.
    #[option(default = 4096, range = 1..=65536)]
    pub num_features: usize,
    /// Dropout between these two layers and of the features.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    pub drop_rate: f64,
    /// What becomes of the features where images larger than 224 x 224 give several places.
    #[option(default = GlobalPool::Avg)]
    pub global_pool: GlobalPool,
}

impl Vgg {
    /// `(convolutions, width)` of each stage.
    pub fn stages(&self) -> Result<Vec<(usize, usize)>> {
        let depths = self.depths.clone().unwrap_or_else(|| vec![2, 2, 3, 3, 3]);
        let channels = self.channels.clone().unwrap_or_else(|| vec![64, 128, 256, 512, 512]);
        if depths.len() != channels.len() || depths.is_empty() || depths.len() > 16 {
            let message =
                format!("depths {depths:?} and channels {channels:?} must have one entry a stage, 1 to 16 stages");
            return Err(Error::option("depths", message).help("give both, equally long"));
        }
        Ok(depths.into_iter().zip(channels).collect())
    }
}
