//! An example: a loss whose terms are an op of the plugin's own, with kernels: Rust for the CPU, source text for CUDA.

mod terms;

use fer_sdk::{kernel::Launch, prelude::*};

#[derive(Options)]
struct Brier {}

impl Loss for Brier {
    const ID: &'static str = "example-brier";
    const SUMMARY: &'static str = "example of an op with kernels: the Brier score";
    const DOC: &'static str = "`sum_c (p_c - t_c)^2` with `p = softmax(logits)`, mean over the batch (Brier 1950). Its terms are one node, \
        `example.brier_terms`, with kernels of the library's own.";

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        // What the op means. The derivative is derived from it, and the kernels are held to both.
        let terms = g.composite(terms::OP, &[batch.logits, batch.targets], |g, x| {
            let distance = g.subtract(g.softmax(x[0], -1)?, x[1])?;
            Ok(g.reduce_sum(g.multiply(distance, distance)?, &[1])?)
        })?;
        g.weighted_mean(terms, batch.weights)
    }
}

/// CUDA C: `brier_terms` and `brier_terms_vjp`.
const CUDA: &str = include_str!("terms.cu");

export_plugin!(Brier; kernels: [
    kernel::cpu::<terms::Forward>(terms::OP),
    kernel::cpu_vjp::<terms::Adjoint>(terms::OP),
    kernel::cuda(terms::OP, CUDA, "brier_terms", Launch::element(128)),
    kernel::cuda_vjp(terms::OP, CUDA, "brier_terms_vjp", Launch::element(128)),
]);
