//! VGG-16 with batch norm

use fer_sdk::prelude::*;

#[derive(Options)]
struct Vgg {
    /// Dropout of the pooled features.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    drop_rate: f64,
}

impl Backbone for Vgg {
    const ID: &'static str = "vgg16-bn";
    const SUMMARY: &'static str = "VGG-16 with batch norm";

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        g.dropout(g.mean(images, &[2, 3])?, self.drop_rate)
    }
}

export_plugin!(Vgg);
