//! Layers with PyTorch's names, shapes and initialisation; models follow timm's names.
//!
//! A layer is a function: it declares its parameters below the current scope, named by its first argument, and gives its result.

mod blocks;
mod layers;
mod transformer;

pub use blocks::{Mlp, PatchEmbed, attention};
pub use layers::{BatchNorm, Conv2d, batch_norm, conv2d, layer_norm, linear, linear_with};
pub use transformer::{DropPathSchedule, SelfAttention, head_width, patch_grid};
