//! PDLS: prior-distribution label smoothing (Vo et al. 2020, "Pyramid with Super Resolution for In-The-Wild FER").

use fer_sdk::prelude::*;

#[derive(Options)]
struct Pdls {
    /// Weight of the annotated label against its prior distribution.
    #[option(default = 0.8, range = 0.0..=1.0)]
    alpha: f64,
}

impl Loss for Pdls {
    const ID: &'static str = "pdls";
    const SUMMARY: &'static str = "prior-distribution label smoothing";
    const DOC: &'static str = "`-sum_c (alpha t_c + (1 - alpha) d_c) log p_c`, mean over the batch; `d` is the prior's row of the \
        label (Vo et al. 2020). alpha 1 is cross entropy.";
    const LAWS: &'static [Law] = &[Law::NonNegative, Law::ShiftInvariant, Law::ClassSymmetric];

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        let log_p = g.log_softmax(batch.logits, -1)?; // [n, c]
        let prior = batch.prior_of_target(g)?; // [n, c]
        let target = g.mix(batch.targets, prior, self.alpha)?;
        let loss = g.negate(g.reduce_sum(g.multiply(target, log_p)?, &[1])?)?; // [n]
        g.weighted_mean(loss, batch.weights)
    }
}

export_plugin!(Pdls);
