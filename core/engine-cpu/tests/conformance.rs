//! The problems that every engine must pass: with every instruction set that this machine has, whole and by decomposition.

use fer_engine::conformance::{self, Tolerance};
use fer_engine_cpu::{CpuEngine, Factors, Isa, Options};

/// Random problems for each op.
const CASES: u32 = 64;

fn engine(isa: Isa, no_fuse: &[&str]) -> CpuEngine {
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    CpuEngine::new(Options { isa, no_fuse, ..Options::default() })
}

fn check(group: &str) {
    for isa in Isa::available() {
        for no_fuse in [&[][..], &["all"]] {
            if let Err(failure) = conformance::run_group(&engine(isa, no_fuse), group, CASES) {
                panic!("{isa}, without {no_fuse:?}: {failure}");
            }
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

/// Factors of bfloat16 are off by 2^-9 of themselves at most, and their product by twice that. The problems have numbers of order one,
/// of whose products some tens are summed; a gradient goes through two of them, and a softmax makes an error of its scores relative.
const ROUNDED: Tolerance = Tolerance { f64: 0.0, f32: 3e-2, elementwise: false };

#[test]
fn what_has_factors_keeps_to_it_when_they_are_rounded() {
    for isa in Isa::available() {
        for group in ["product", "convolution", "attention"] {
            let engine = CpuEngine::new(Options { isa, factors: Factors::Bf16, ..Options::default() });
            if let Err(failure) = conformance::run_group_within(&engine, group, CASES, |_| ROUNDED) {
                panic!("{isa}, bf16: {failure}");
            }
        }
    }
}
