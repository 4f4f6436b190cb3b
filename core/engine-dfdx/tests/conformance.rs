//! The problems that every engine must pass, in both precisions, and the derivative rules by central differences.

use fer_engine::{Precision, conformance};
use fer_engine_dfdx::DfdxEngine;

mod f64 {
    use super::*;
    fer_engine::conformance_tests!(DfdxEngine::new(Precision::F64), 200);
}

mod f32 {
    use super::*;
    fer_engine::conformance_tests!(DfdxEngine::new(Precision::F32), 200);
}

#[test]
fn gradients_agree_with_differences() {
    for (group, _) in conformance::GROUPS {
        if let Err(failure) = conformance::run_gradients(&DfdxEngine::new(Precision::F64), group, 200) {
            panic!("{failure}");
        }
    }
}
