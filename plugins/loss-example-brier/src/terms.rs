//! The kernels of `example.brier_terms` for the CPU.

use fer_sdk::kernel::{Call, CpuKernel, Input, Refusal};

pub const OP: &str = "example.brier_terms";

/// `softmax(logits)` of a row, into `p`.
fn softmax(logits: &Input<'_>, row: usize, p: &mut [f32]) {
    let top = (0..p.len()).fold(f32::NEG_INFINITY, |top, c| top.max(logits.at(&[row, c])));
    let mut sum = 0.0;
    for (c, p) in p.iter_mut().enumerate() {
        *p = (logits.at(&[row, c]) - top).exp();
        sum += *p;
    }
    p.iter_mut().for_each(|p| *p /= sum);
}

/// logits, targets `[n, c]` to `[n]`.
pub struct Forward;

impl CpuKernel for Forward {
    fn run(call: &mut Call<'_>) -> Result<(), Refusal> {
        let ([logits, targets], [out]) = (&call.inputs[..], &mut call.outputs[..]) else { return Err(Refusal) };
        let &[samples, classes] = logits.shape() else { return Err(Refusal) };
        let mut p = vec![0.0; classes];
        for row in 0..samples {
            softmax(logits, row, &mut p);
            let square = |(c, p): (usize, &f32)| (p - targets.at(&[row, c])).powi(2);
            out.set(&[row], p.iter().enumerate().map(square).sum());
        }
        Ok(())
    }
}

/// With `e = p - t` and `g` the cotangent of a sample: `2 g p (e - sum(p e))` for the logits, `-2 g e` for the targets.
pub struct Adjoint;

impl CpuKernel for Adjoint {
    fn run(call: &mut Call<'_>) -> Result<(), Refusal> {
        let (of_logits, of_targets) = (call.wanted(0), call.wanted(1));
        let [logits, targets, g] = &call.inputs[..] else { return Err(Refusal) };
        let &[samples, classes] = logits.shape() else { return Err(Refusal) };
        let mut p = vec![0.0; classes];
        for row in 0..samples {
            softmax(logits, row, &mut p);
            let error: Vec<f32> = p.iter().enumerate().map(|(c, p)| p - targets.at(&[row, c])).collect();
            let mean: f32 = p.iter().zip(&error).map(|(p, e)| p * e).sum();
            let twice = 2.0 * g.at(&[row]);
            for (c, (p, e)) in p.iter().zip(&error).enumerate() {
                if let Some(at) = of_logits {
                    call.outputs[at].set(&[row, c], twice * p * (e - mean));
                }
                if let Some(at) = of_targets {
                    call.outputs[at].set(&[row, c], -twice * e);
                }
            }
        }
        Ok(())
    }
}
