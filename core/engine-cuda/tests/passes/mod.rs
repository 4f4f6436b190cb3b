//! What the engine must pass on a device that is reached by the driver: on a card (`card.rs` beside this), and on the library that stands
//! for NVIDIA's where there is none (`emulator/driver/tests/card.rs`).

use std::sync::Arc;

use fer_engine::{
    Engine, Precision as Floats,
    conformance::{
        self, Tolerance,
        steps::{entries, feeds, prepare, train, training_step},
    },
};
use fer_engine_cuda::{CudaEngine, Options, Precision, device::Device};
use fer_engine_dfdx::DfdxEngine;

/// Factors of bfloat16 are off by 2^-9 of themselves at most and those of tf32 by 2^-11, and so are what is kept in bfloat16. Some tens of
/// products of numbers of order one are summed; a gradient goes through two of them.
const ROUNDED: [(Precision, f64); 2] = [(Precision::Tf32, 1e-2), (Precision::Bf16, 3e-2)];

pub fn engine(device: &Arc<dyn Device>, precision: Precision, no_fuse: &[&str]) -> CudaEngine {
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    CudaEngine::new(device.clone(), Options { precision, no_fuse, smallest_rounded: 0, ..Options::default() })
}

/// `cases` random problems for each op, fused and not.
pub fn all_problems_in_f32(device: &Arc<dyn Device>, cases: u32) {
    for no_fuse in [&[][..], &["all"]] {
        for (group, _) in conformance::GROUPS {
            if let Err(failure) = conformance::run_group(&engine(device, Precision::F32, no_fuse), group, cases) {
                panic!("without {no_fuse:?}: {failure}");
            }
        }
    }
}

pub fn problems_with_rounded_factors(device: &Arc<dyn Device>, cases: u32) {
    for (precision, f32) in ROUNDED {
        let tolerance = Tolerance { f64: 0.0, f32, elementwise: false };
        for group in ["product", "convolution", "attention", "activation", "normalisation"] {
            let engine = engine(device, precision, &[]);
            if let Err(failure) = conformance::run_group_within(&engine, group, cases, |_| tolerance) {
                panic!("{precision:?}: {failure}");
            }
        }
    }
}

/// And have the same bits each time.
pub fn steps_agree_with_the_reference(device: &Arc<dyn Device>) {
    let (truth, _) = train(&DfdxEngine::new(Floats::F64), 5).unwrap();
    // Five steps of f32; of factors off by 2^-11 and 2^-9, whose errors cancel in a mean over a thousand.
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Tf32, 3e-3), (Precision::Bf16, 1e-2)] {
        let once = train(&engine(device, precision, &[]), 5).unwrap();
        for (a, b) in once.0.iter().zip(&truth) {
            assert!((a - b).abs() <= tolerance * b.abs(), "{precision:?}: {:?} and {truth:?}", once.0);
        }
        assert!(
            once == train(&engine(device, precision, &[]), 5).unwrap(),
            "{precision:?}: other bits the second time"
        );
    }
}

/// However a step is run, it is the same step: by itself, with the next one's inputs coming in, and command by command for its times.
pub fn steps_ahead_and_timed_are_steps(device: &Arc<dyn Device>) {
    let graph = training_step().unwrap();
    let engine = engine(device, Precision::F32, &[]);
    let (losses, after) = train(&engine, 6).unwrap();
    let executable = engine.compile(&graph).unwrap();
    let (mut ahead, mut timed) = (prepare(&engine, &graph), prepare(&engine, &graph));
    let mut now = Arc::new(feeds(1));
    for (step, loss) in (1..=6).zip(losses) {
        let next = Arc::new(feeds(step + 1));
        let outputs = executable.run_ahead(ahead.as_mut(), &now, &mut || Some(next.clone())).unwrap();
        assert_eq!(outputs["loss"].item(), Some(loss), "step {step}");
        now = next;
    }
    assert!(entries(ahead.as_ref()) == after, "what came in ahead led elsewhere");
    for step in 1..=6 {
        let mut times = vec![];
        executable.run_timed(timed.as_mut(), &feeds(step), &mut |_, time| times.push(time)).unwrap();
        assert_eq!(executable.summary().map(|s| s.calls), Some(times.len()));
        assert!(times.iter().any(|time| !time.is_zero()), "{times:?}");
    }
    assert!(entries(timed.as_ref()) == after, "what was timed led elsewhere");
}
