//! What every engine must pass, on a card.
//!
//! `cargo test --release -p fer-engine-cuda --test card -- --ignored`; the program that this builds can be taken to a machine with a card
//! and run there, as `tests/bench/card.sh --conformance` does.

use std::sync::{Arc, LazyLock};

use fer_engine::{
    Engine, Precision as Floats,
    conformance::{
        self, Tolerance,
        steps::{entries, feeds, prepare, train, training_step},
    },
};
use fer_engine_cuda::{CudaEngine, Options, Precision, cuda::CudaDevice, device::Device};
use fer_engine_dfdx::DfdxEngine;

/// Random problems for each op; each compiles kernels of its own.
const CASES: u32 = 12;

/// Factors of bfloat16 are off by 2^-9 of themselves at most and those of tf32 by 2^-11, and so are what is kept in bfloat16. Some tens of
/// products of numbers of order one are summed; a gradient goes through two of them.
const ROUNDED: [(Precision, f64); 2] = [(Precision::Tf32, 1e-2), (Precision::Bf16, 3e-2)];

/// The first card, opened once: tests run side by side.
static CARD: LazyLock<Arc<dyn Device>> = LazyLock::new(|| match CudaDevice::open(0, None) {
    Ok(card) => Arc::new(card),
    Err(error) => panic!("{error}\n{}\n{}", error.notes.join("\n"), error.help),
});

fn engine(precision: Precision, no_fuse: &[&str]) -> CudaEngine {
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    CudaEngine::new(CARD.clone(), Options { precision, no_fuse, smallest_rounded: 0, ..Options::default() })
}

#[test]
#[ignore = "needs a card"]
fn all_problems_in_f32_fused_and_not() {
    for no_fuse in [&[][..], &["all"]] {
        for (group, _) in conformance::GROUPS {
            if let Err(failure) = conformance::run_group(&engine(Precision::F32, no_fuse), group, CASES) {
                panic!("without {no_fuse:?}: {failure}");
            }
        }
    }
}

#[test]
#[ignore = "needs a card"]
fn problems_with_rounded_factors() {
    for (precision, f32) in ROUNDED {
        let tolerance = Tolerance { f64: 0.0, f32, elementwise: false };
        for group in ["product", "convolution", "attention", "activation", "normalisation"] {
            let engine = engine(precision, &[]);
            if let Err(failure) = conformance::run_group_within(&engine, group, CASES, |_| tolerance) {
                panic!("{precision:?}: {failure}");
            }
        }
    }
}

#[test]
#[ignore = "needs a card"]
fn steps_agree_with_the_reference_and_have_the_same_bits_each_time() {
    let (truth, _) = train(&DfdxEngine::new(Floats::F64), 5).unwrap();
    // Five steps of f32; of factors off by 2^-11 and 2^-9, whose errors cancel in a mean over a thousand.
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Tf32, 3e-3), (Precision::Bf16, 1e-2)] {
        let once = train(&engine(precision, &[]), 5).unwrap();
        for (a, b) in once.0.iter().zip(&truth) {
            assert!((a - b).abs() <= tolerance * b.abs(), "{precision:?}: {:?} and {truth:?}", once.0);
        }
        assert!(once == train(&engine(precision, &[]), 5).unwrap(), "{precision:?}: other bits the second time");
    }
}

/// However a step is run, it is the same step.
#[test]
#[ignore = "needs a card"]
fn steps_ahead_and_timed_are_steps() {
    let graph = training_step().unwrap();
    let engine = engine(Precision::F32, &[]);
    let (losses, after) = train(&engine, 6).unwrap();
    let executable = engine.compile(&graph).unwrap();
    let (mut ahead, mut timed) = (prepare(&engine, &graph), prepare(&engine, &graph));
    let mut now = Arc::new(feeds(1));
    for (step, loss) in (1..=6).zip(losses) {
        let next = Arc::new(feeds(step + 1));
        let outputs = executable.run_ahead(ahead.as_mut(), &now, &mut || Some(next.clone())).unwrap();
        assert_eq!(outputs["loss"].item(), Some(loss), "step {step}");
        let mut calls = 0;
        executable.run_timed(timed.as_mut(), &now, &mut |_, _| calls += 1).unwrap();
        assert_eq!(executable.summary().map(|s| s.calls), Some(calls));
        now = next;
    }
    assert!(entries(ahead.as_ref()) == after && entries(timed.as_ref()) == after);
}

#[test]
#[ignore = "needs a card"]
fn limits_are_those_of_a_card() {
    let limits = engine(Precision::Bf16, &[]).limits().unwrap().expect("a card has limits");
    println!("{:.1} TFLOP/s in {}, {:.0} GB/s copied", limits.flops / 1e12, limits.of, limits.bandwidth / 1e9);
    // The smallest card of Ampere has more than that.
    assert!(limits.flops > 1e12 && limits.bandwidth > 5e10, "{limits:?}");
}
