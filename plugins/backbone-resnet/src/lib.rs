//! ResNet

use fer_sdk::prelude::*;

#[derive(Options)]
struct Resnet {
    /// Dropout of the pooled features.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    drop_rate: f64,
}

impl Backbone for Resnet {
    const ID: &'static str = "resnet";
    const SUMMARY: &'static str = "ResNet";

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        g.dropout(g.mean(images, &[2, 3])?, self.drop_rate)
    }
}

export_plugin!(Resnet);
