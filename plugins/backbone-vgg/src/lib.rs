//! VGG-16 with batch norm (Simonyan & Zisserman 2015; Ioffe & Szegedy 2015), with timm's names.

mod model;
mod options;

use fer_sdk::prelude::*;
use options::Vgg;

impl Backbone for Vgg {
    const ID: &'static str = "vgg16-bn";
    const SUMMARY: &'static str = "VGG-16 with batch norm and free sizes";
    const DOC: &'static str = "Simonyan & Zisserman 2015, with a batch norm after every convolution. `[n, 3, h, w]` to `[n, num_features]`: the \
        two wide layers belong to the backbone, only the classifier is the head's. A map smaller than the 7 x 7 that they see is \
        averaged up to it, so images from 32 x 32 on will do. Options and parameters carry timm's names; torchvision's are understood \
        in weight files.";
    const LAYOUTS: &'static [Layout] = &[Layout {
        name: "torchvision",
        rules: &[
            ("classifier.0.*", "pre_logits.fc1.*"),
            ("classifier.3.*", "pre_logits.fc2.*"),
            ("classifier.6.*", "head.fc.*"),
        ],
    }];

    const LAWS: &'static [Law] = &[
        Law::Takes { images: [3, 2, 8, 12], options: "depths: [1, 1], channels: [3, 2], num_features: 3" },
        Law::Takes { images: [3, 2, 6, 5], options: "depths: [2], channels: [2], num_features: 3" },
    ];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        model::build(self, g, images)
    }
}

export_plugin!(Vgg);
