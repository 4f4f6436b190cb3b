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

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        model::build(self, g, images)
    }
}

export_plugin!(Resnet);
