//! An example: a loss whose terms are an op of the plugin's own, given as graph data alone.

use fer_sdk::prelude::*;

#[derive(Options)]
struct Focal {
    /// Focusing exponent; 0 gives cross entropy.
    #[option(default = 2.0, range = 0.0..=8.0)]
    gamma: f64,
}

/// The least base of a power, whose slope at 0 may be infinite.
const LEAST_BASE: f64 = 1e-12;

/// `-sum_c t_c (1 - p_c)^gamma log p_c` of each sample. `x`: log p `[n, c]`, t `[n, c]`, gamma `[]`.
fn terms(g: &GraphBuilder, x: &[Value]) -> Result<Value> {
    let [log_p, targets, gamma] = [x[0], x[1], x[2]];
    let rest = g.one_minus(g.exponential(log_p)?)?;
    let base = g.maximum(rest, g.full_like(rest, LEAST_BASE)?)?;
    let focus = g.power(base, g.broadcast_in_dim(gamma, &g.shape(log_p), &[])?)?;
    Ok(g.negate(g.reduce_sum(g.multiply(g.multiply(targets, log_p)?, focus)?, &[1])?)?)
}

impl Loss for Focal {
    const ID: &'static str = "example-focal";
    const SUMMARY: &'static str = "example of an op as graph data: the focal loss";
    const DOC: &'static str = "`-sum_c t_c (1 - p_c)^gamma log p_c`, mean over the batch (Lin et al. 2017, eq. 5, without its weights \
        per class). Its terms are one node, `example.focal_terms`.";

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        let log_p = g.log_softmax(batch.logits, -1)?;
        let gamma = g.full(&[], self.gamma)?;
        // What an option says is an operand: the op means the same whatever the options.
        let loss = g.composite("example.focal_terms", &[log_p, batch.targets, gamma], terms)?;
        g.weighted_mean(loss, batch.weights)
    }
}

export_plugin!(Focal);
