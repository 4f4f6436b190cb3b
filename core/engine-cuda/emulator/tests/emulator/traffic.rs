//! How memory is reached is counted as a card would.

use crate::common::{launch, replay, upload};
use fer_cuda_emulator::{EmulatedDevice, Traffic};
use fer_engine_cuda::device::{Device, Parameter::Pointer};

/// What is told of `run(float* x, float* y)` with so many blocks of 64 threads, by line; two blocks are run.
fn traffic(blocks: u32, body: &str) -> Vec<Traffic> {
    let source = format!("extern \"C\" __global__ void run(float* x, float* y) {{ int i = threadIdx.x;\n{body}\n}}");
    let device = EmulatedDevice::new().sampling(2);
    let (x, y) = (upload(&device, &vec![1.0; 1 << 14]), device.allocate(4 << 14).unwrap());
    replay(&device, &source, launch(blocks, 64, 8192, vec![Pointer(x, 0), Pointer(y, 0)])).unwrap();
    let mut all = device.traffic();
    assert!(device.traffic().is_empty(), "it is told once");
    all.retain(|t| !t.lines.is_empty());
    all
}

/// Requests, what was moved and what had to be, of the only access of a kind.
#[track_caller]
fn only(all: &[Traffic], shared: bool, writes: bool) -> [f64; 3] {
    let found: Vec<&Traffic> = all.iter().filter(|t| (t.shared, t.writes) == (shared, writes)).collect();
    let [t] = found[..] else { panic!("{found:?}") };
    assert_eq!(t.kernel, "run");
    [t.requests, t.moved, t.least]
}

const STORE: &str = "y[blockIdx.x * 64 + i] = v;";

#[test]
fn sectors_are_those_that_a_warp_touches() {
    // 32 neighbours of four bytes are four sectors; of two blocks with two warps each.
    let all = traffic(2, &format!("float v = x[i]; {STORE}"));
    assert_eq!(only(&all, false, false), [4.0, 16.0, 16.0]);
    assert_eq!(only(&all, false, true), [4.0, 16.0, 16.0]);
    // Each in a sector of its own; all the same; from the middle of a sector on.
    let read = |place: &str| only(&traffic(2, &format!("float v = x[{place}]; {STORE}")), false, false);
    assert_eq!(read("i * 8"), [4.0, 128.0, 16.0]);
    assert_eq!(read("7"), [4.0, 4.0, 4.0]);
    assert_eq!(read("i + 4"), [4.0, 20.0, 16.0]);
    // Four at a time.
    let all = traffic(2, &format!("Four f = load4(x + 4 * i); float v = f.x[0] + f.x[1] + f.x[2] + f.x[3]; {STORE}"));
    assert_eq!(only(&all, false, false), [4.0, 64.0, 64.0]);
}

#[test]
fn a_sample_stands_for_all_blocks() {
    let all = traffic(10, &format!("float v = x[i]; {STORE}"));
    assert_eq!(only(&all, false, true), [20.0, 80.0, 80.0]);
}

#[test]
fn lanes_that_meet_in_a_bank_take_turns() {
    let read = |place: &str| {
        let body = format!("EXTERN_SHARED(float, s); float v = s[{place}]; {STORE}");
        only(&traffic(2, &body), true, false)
    };
    assert_eq!(read("i"), [4.0, 4.0, 4.0]);
    assert_eq!(read("(i & 31) * 32"), [4.0, 128.0, 4.0]);
    assert_eq!(read("(i & 31) * 33"), [4.0, 4.0, 4.0]);
    assert_eq!(read("(i & 31) * 2"), [4.0, 8.0, 4.0]);
    // One word for all is one pass.
    assert_eq!(read("5"), [4.0, 4.0, 4.0]);
    // Sixteen bytes a lane go in quarters of a warp, whose rows of 36 words meet nowhere, and of 32 all.
    let wide = |row: u32| {
        let body =
            format!("EXTERN_SHARED(float, s); Four f = load4(s + (i & 7) * {row}); float v = f.x[0] + f.x[3]; {STORE}");
        only(&traffic(2, &body), true, false)
    };
    assert_eq!(wide(36), [4.0, 16.0, 16.0]);
    assert_eq!(wide(32), [4.0, 128.0, 16.0]);
}

/// Lanes that take part in a few turns of a loop, or in none.
#[test]
fn lanes_that_are_not_there_ask_for_nothing() {
    let all =
        traffic(2, &format!("float v = 0; for (int k = 0; k < (i & 31) / 8; k++) v += x[32 * k + (i & 31)]; {STORE}"));
    // Of each warp 24, 16 and 8 lanes: three, two and one sector.
    assert_eq!(only(&all, false, false), [12.0, 24.0, 24.0]);
}
