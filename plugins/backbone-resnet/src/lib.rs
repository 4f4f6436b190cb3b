//! ResNet (He et al. 2016, "Deep Residual Learning for Image Recognition"), with timm's and torchvision's names.

mod model;
mod options;

use fer_sdk::prelude::*;
use options::Resnet;

impl Backbone for Resnet {
    const ID: &'static str = "resnet";
    const SUMMARY: &'static str = "ResNet-18, 34, 50 and free sizes";
    const DOC: &'static str = "He et al. 2016. `[n, 3, h, w]` of any size to the mean (or maximum) over the last map, `[n, channels]` or with \
        bottlenecks `[n, 4 * channels]` of the last stage. Weights of torchvision carry the same names as timm's. Batch norms use \
        the batch's statistics in training. Options and parameters carry timm's names.";
    const LAWS: &'static [Law] = &[
        Law::Takes { images: [3, 3, 9, 14], options: "layers: [1, 1], channels: [3, 6], stem_width: 3" },
        Law::Takes { images: [3, 3, 11, 11], options: "layers: [2], channels: [4], stem_width: 4" },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        model::build(self, g, images)
    }
}

export_plugin!(Resnet);
