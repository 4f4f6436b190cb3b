//! Vision transformer

use fer_sdk::prelude::*;

#[derive(Options)]
struct Vit {
    /// Dropout of the pooled features.
    #[option(default = 0.0, min = 0.0, max = 0.99)]
    drop_rate: f64,
}

impl Backbone for Vit {
    const ID: &'static str = "vit";
    const SUMMARY: &'static str = "Vision transformer";

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        g.dropout(g.mean(images, &[2, 3])?, self.drop_rate)
    }
}

export_plugin!(Vit);
