//! The problems that every engine must pass, through lowering, kernels and all, on a device that watches every access.

use std::sync::Arc;

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::conformance::{self, Tolerance};
use fer_engine_cuda::{CudaEngine, Options, Precision};

/// Random problems for each op; each compiles kernels of its own.
const CASES: u32 = 6;

/// Every buffer has memory of its own, between pages that cannot be touched.
fn engine(precision: Precision, no_fuse: &[&str]) -> CudaEngine {
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    let options = Options { precision, no_fuse, smallest_rounded: 0, separate: true, ..Options::default() };
    CudaEngine::new(Arc::new(EmulatedDevice::new()), options)
}

/// Factors and activations of bfloat16 are off by 2^-9 of themselves at most, and their product by twice that. The problems have numbers
/// of order one, of whose products some tens are summed; a gradient goes through two of them, and a softmax makes an error of its
/// scores relative.
const ROUNDED: Tolerance = Tolerance { f64: 0.0, f32: 3e-2, elementwise: false };

fn check(group: &str) {
    for no_fuse in [&[][..], &["all"]] {
        if let Err(failure) = conformance::run_group(&engine(Precision::F32, no_fuse), group, CASES) {
            panic!("f32, without {no_fuse:?}: {failure}");
        }
    }
}

macro_rules! groups {
    ($($group:ident)*) => {
        $(#[test]
        fn $group() {
            check(stringify!($group));
        })*

        #[test]
        fn no_group_is_left_out() {
            let named = [$(stringify!($group)),*];
            assert!(conformance::GROUPS.iter().all(|(group, _)| named.contains(group)));
        }
    };
}

groups! {
    source elementwise movement reduction product convolution pooling indexing activation normalisation attention image optimiser
}

/// Factors alone are rounded, to 2^-12 of themselves.
#[test]
fn products_of_tf32_keep_to_it() {
    let tolerance = Tolerance { f32: ROUNDED.f32 / 8.0, ..ROUNDED };
    for group in ["product", "convolution", "attention"] {
        if let Err(failure) = conformance::run_group_within(&engine(Precision::Tf32, &[]), group, CASES, |_| tolerance)
        {
            panic!("tf32: {failure}");
        }
    }
}

#[test]
fn what_is_stored_in_bfloat16_keeps_to_it() {
    for group in ["product", "convolution", "attention", "activation", "normalisation"] {
        if let Err(failure) = conformance::run_group_within(&engine(Precision::Bf16, &[]), group, CASES, |_| ROUNDED) {
            panic!("bf16: {failure}");
        }
    }
}
