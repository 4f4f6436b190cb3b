//! Cross entropy: `-sum_c t_c log p_c`, with label smoothing.

use fer_sdk::prelude::*;

#[derive(Options)]
struct CrossEntropy {
    /// Share of each target that is spread evenly over all classes (Szegedy et al. 2016).
    #[option(default = 0.0, range = 0.0..=1.0)]
    label_smoothing: f64,
}

impl Loss for CrossEntropy {
    const ID: &'static str = "cross-entropy";
    const SUMMARY: &'static str = "cross entropy, with label smoothing";
    const DOC: &'static str = "`-sum_c t_c log p_c`, mean over the batch. `t` is the label as one-hot or, with soft labels, the \
        vote distribution.";
    const LAWS: &'static [Law] = &[Law::NonNegative, Law::ShiftInvariant, Law::ClassSymmetric, Law::LeastAtTruth];

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        let log_p = g.log_softmax(batch.logits, -1)?; // [n, c]
        let even = g.full_like(batch.targets, 1.0 / batch.classes as f64)?;
        let target = match self.label_smoothing {
            0.0 => batch.targets,
            share => g.mix(even, batch.targets, share)?,
        };
        let loss = g.negate(g.reduce_sum(g.multiply(target, log_p)?, &[1])?)?; // [n]
        g.weighted_mean(loss, batch.weights)
    }
}

export_plugin!(CrossEntropy);
