//! plugin-name: cross entropy with smoothed labels (Szegedy et al. 2016, section 7).
//!
//! A place to begin: say here what the loss is and where it was published, and write it in `build`.

use fer_sdk::prelude::*;

/// What a config may set: `loss: (plugin: "plugin-name", smoothing: 0.2)`. The host checks ranges and fills in defaults; a field's
/// doc comment is its description in `fer-host plugin show plugin-name`.
#[derive(Options)]
struct PluginName {
    /// Share of the truth that is spread evenly over the classes; 0 gives cross entropy.
    #[option(default = 0.1, range = 0.0..=1.0)]
    smoothing: f64,
}

impl Loss for PluginName {
    const ID: &'static str = "plugin-name";
    const SUMMARY: &'static str = "cross entropy with smoothed labels";
    const DOC: &'static str = "`-sum_c ((1 - s) t_c + s / k) log p_c` over `k` classes, mean over the batch (Szegedy et al. 2016).";
    // What it claims of itself; the contract and `fer-host plugin check` hold it to that.
    const LAWS: &'static [Law] = &[Law::NonNegative, Law::ShiftInvariant, Law::ClassSymmetric];

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        // Stable for any logits; log(softmax) would not be.
        let log_p = g.log_softmax(batch.logits, -1)?; // [n, k]
        let even = g.full_like(batch.targets, 1.0 / batch.classes as f64)?; // [n, k]
        let truth = g.mix(even, batch.targets, self.smoothing)?; // [n, k]
        let loss = g.negate(g.reduce_sum(g.multiply(truth, log_p)?, &[1])?)?; // [n]
        g.weighted_mean(loss, batch.weights)
    }
}

export_plugin!(PluginName);
