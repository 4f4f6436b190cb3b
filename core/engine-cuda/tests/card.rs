//! What the engine must pass, on a card.
//!
//! `cargo test --release -p fer-engine-cuda --test card -- --ignored`; the program that this builds can be taken to a machine with a card
//! and run there, as `tests/bench/card.sh --conformance` does. Where there is no card the same passes run on the library that stands for
//! NVIDIA's driver, in `emulator/driver/tests/card.rs`, and none of these is needed: they would only say that there is no card.

mod passes;

use std::sync::{Arc, LazyLock};

use fer_engine::Engine;
use fer_engine_cuda::{Precision, cuda::CudaDevice, device::Device};

/// Random problems for each op; each compiles kernels of its own.
const CASES: u32 = 12;

/// The first card, opened once: tests run side by side.
static CARD: LazyLock<Arc<dyn Device>> = LazyLock::new(|| match CudaDevice::open(0, None) {
    Ok(card) => Arc::new(card),
    Err(error) => panic!("{error}\n{}\n{}", error.notes.join("\n"), error.help),
});

#[test]
#[ignore = "needs a card; without one, see emulator/driver/tests/card.rs"]
fn all_problems_in_f32() {
    passes::all_problems_in_f32(&CARD, CASES);
}

#[test]
#[ignore = "needs a card; without one, see emulator/driver/tests/card.rs"]
fn problems_with_rounded_factors() {
    passes::problems_with_rounded_factors(&CARD, CASES);
}

#[test]
#[ignore = "needs a card; without one, see emulator/driver/tests/card.rs"]
fn steps_agree_with_the_reference() {
    passes::steps_agree_with_the_reference(&CARD);
}

#[test]
#[ignore = "needs a card; without one, see emulator/driver/tests/card.rs"]
fn steps_ahead_and_timed_are_steps() {
    passes::steps_ahead_and_timed_are_steps(&CARD);
}

#[test]
#[ignore = "needs a card: the emulator's limits are none of a card's"]
fn limits_are_those_of_a_card() {
    let limits = passes::engine(&CARD, Precision::Bf16, &[]).limits().unwrap().expect("a card has limits");
    println!("{:.1} TFLOP/s in {}, {:.0} GB/s copied", limits.flops / 1e12, limits.of, limits.bandwidth / 1e9);
    // The smallest card of Ampere has more than that.
    assert!(limits.flops > 1e12 && limits.bandwidth > 5e10, "{limits:?}");
}
