//! Losses with kernels of their own: a sound one, one whose gradient lacks a factor, one that is wrong itself, one that panics.

use fer_sdk::{
    kernel::{Call, CpuKernel, Refusal},
    prelude::*,
};

/// `sum_c (x_c - t_c)^2` of each sample, `OFF` times what it should be; panics where it is zero.
struct Distance<const OFF: i32>;

impl<const OFF: i32> CpuKernel for Distance<OFF> {
    fn run(call: &mut Call<'_>) -> Result<(), Refusal> {
        assert!(OFF != 0, "a kernel that is not written");
        let ([x, t], [out]) = (&call.inputs[..], &mut call.outputs[..]) else { return Err(Refusal) };
        let &[samples, classes] = x.shape() else { return Err(Refusal) };
        for row in 0..samples {
            let square = |c: usize| (x.at(&[row, c]) - t.at(&[row, c])).powi(2);
            out.set(&[row], OFF as f32 * (0..classes).map(square).sum::<f32>());
        }
        Ok(())
    }
}

/// Its adjoint: `TIMES g (x - t)` for x, where 2 is right, and the same below zero for t.
struct Adjoint<const TIMES: i32>;

impl<const TIMES: i32> CpuKernel for Adjoint<TIMES> {
    fn run(call: &mut Call<'_>) -> Result<(), Refusal> {
        let wanted = [call.wanted(0), call.wanted(1)];
        let [x, t, g] = &call.inputs[..] else { return Err(Refusal) };
        let &[samples, classes] = x.shape() else { return Err(Refusal) };
        for row in 0..samples {
            for c in 0..classes {
                let slope = TIMES as f32 * g.at(&[row]) * (x.at(&[row, c]) - t.at(&[row, c]));
                for (at, sign) in wanted.iter().zip([1.0, -1.0]) {
                    if let Some(at) = *at {
                        call.outputs[at].set(&[row, c], sign * slope);
                    }
                }
            }
        }
        Ok(())
    }
}

macro_rules! loss {
    ($name:ident, $id:expr, $op:expr) => {
        #[derive(Options)]
        struct $name {}

        impl Loss for $name {
            const ID: &'static str = $id;
            const SUMMARY: &'static str = "the squared distance of logits and targets, by a kernel";
            const LAWS: &'static [Law] = &[Law::NonNegative, Law::ClassSymmetric];

            fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
                let distance = g.composite($op, &[batch.logits, batch.targets], |g, x| {
                    let difference = g.subtract(x[0], x[1])?;
                    Ok(g.reduce_sum(g.multiply(difference, difference)?, &[1])?)
                })?;
                g.weighted_mean(distance, batch.weights)
            }
        }
    };
}

loss!(Sound, "sound-kernel", "mutant.sound");
loss!(WrongGradient, "wrong-gradient", "mutant.wrong_gradient");
loss!(WrongValue, "wrong-value", "mutant.wrong_value");
loss!(Panics, "panicking-kernel", "mutant.panics");

export_plugin!(Sound, WrongGradient, WrongValue, Panics; kernels: [
    kernel::cpu::<Distance<1>>("mutant.sound"),
    kernel::cpu_vjp::<Adjoint<2>>("mutant.sound"),
    kernel::cpu::<Distance<1>>("mutant.wrong_gradient"),
    kernel::cpu_vjp::<Adjoint<1>>("mutant.wrong_gradient"),
    kernel::cpu::<Distance<3>>("mutant.wrong_value"),
    kernel::cpu::<Distance<0>>("mutant.panics"),
]);
