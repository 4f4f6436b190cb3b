//! F-PDLS: prior-distribution label smoothing with a focal factor per class (Hwang et al. 2022, eq. 2).

use fer_sdk::prelude::*;

#[derive(Options)]
struct FocalPdls {
    /// Weight of the annotated label against its prior distribution.
    #[option(default = 0.8, range = 0.0..=1.0)]
    alpha: f64,
    /// Focusing exponent; 0 gives PDLS.
    #[option(default = 2.0, min = 0.0)]
    gamma: f64,
}

/// The least base of a power below 1, whose slope at 0 is infinite.
const LEAST_BASE: f64 = 1e-12;

impl FocalPdls {
    /// `(1 - p)^gamma`, with a finite derivative everywhere.
    fn focus(&self, g: &GraphBuilder, log_p: Value) -> Result<Value> {
        let rest = g.one_minus(g.exponential(log_p)?)?;
        let base = if self.gamma < 1.0 { g.maximum(rest, g.full_like(rest, LEAST_BASE)?)? } else { rest };
        Ok(g.power_scalar(base, self.gamma)?)
    }
}

impl Loss for FocalPdls {
    const ID: &'static str = "f-pdls";
    const SUMMARY: &'static str = "focal prior-distribution label smoothing";
    const DOC: &'static str = "`-sum_c (alpha t_c + (1 - alpha) d_c) (1 - p_c)^gamma log p_c`, mean over the batch; `d` is the \
        prior's row of the label. The focal factor stands inside the sum, per class, and carries a gradient (Hwang et al. 2022, \
        eq. 2). gamma 0 is PDLS; alpha 1 besides is cross entropy.";
    const LAWS: &'static [Law] = &[Law::NonNegative, Law::ShiftInvariant, Law::ClassSymmetric];

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        let log_p = g.log_softmax(batch.logits, -1)?; // [n, c]
        let prior = batch.prior_of_target(g)?; // [n, c]
        let target = g.mix(batch.targets, prior, self.alpha)?;
        let mut terms = g.multiply(target, log_p)?;
        if self.gamma != 0.0 {
            terms = g.multiply(terms, self.focus(g, log_p)?)?;
        }
        let loss = g.negate(g.reduce_sum(terms, &[1])?)?; // [n]
        g.weighted_mean(loss, batch.weights)
    }
}

export_plugin!(FocalPdls);
