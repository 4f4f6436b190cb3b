//! The problems that every engine must pass: with every instruction set that this machine has, whole and by decomposition.

use fer_engine::conformance;
use fer_engine_cpu::{CpuEngine, Isa, Options};

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
