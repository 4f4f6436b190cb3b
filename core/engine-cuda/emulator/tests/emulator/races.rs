//! Threads that touch the same memory without waiting for each other are told so, in whatever order they happen to run.

use crate::common::{launch, replay, upload};
use fer_cuda_emulator::EmulatedDevice;
use fer_engine_cuda::device::{Device, DeviceError, Parameter::Pointer};

/// What comes of `run(float* y)`, for every seed the same; `y` has an element for each of 64 threads of each block.
fn outcome(blocks: u32, body: &str) -> Result<(), String> {
    let source = format!("extern \"C\" __global__ void run(float* y) {{ int i = threadIdx.x, l = i & 31;\n{body}\n}}");
    let mut outcomes = (0..8).map(|seed| {
        let device = EmulatedDevice::new().seed(seed);
        let y = upload(&device, &vec![0.0; 64 * blocks as usize]);
        let outcome = replay(&device, &source, launch(blocks, 64, 1024, vec![Pointer(y, 0)]));
        device.synchronise().expect("a race leaves the device as it was");
        outcome.map_err(|error| match error {
            DeviceError::Failed { what, why } if what == "kernel run" => why,
            other => panic!("{other:?}"),
        })
    });
    let first = outcomes.next().expect("eight outcomes");
    assert!(outcomes.all(|other| other.is_ok() == first.is_ok()), "it depends on the order: {first:?}");
    first
}

#[track_caller]
fn race(blocks: u32, body: &str) {
    let why = outcome(blocks, body).expect_err("a race");
    assert!(why.starts_with("a race: it "), "{why}");
}

#[track_caller]
fn fine(blocks: u32, body: &str) {
    assert_eq!(outcome(blocks, body), Ok(()));
}

const SHARED: &str = "__shared__ float s[64]; s[i] = i;";

#[test]
fn a_barrier_orders_threads_of_a_block() {
    race(1, &format!("{SHARED} y[i] = s[63 - i];"));
    fine(1, &format!("{SHARED} __syncthreads(); y[i] = s[63 - i];"));
    // What was read is written again: the second barrier is as needed as the first.
    race(1, &format!("{SHARED} __syncthreads(); y[i] = s[63 - i]; s[i] = 1;"));
    fine(1, &format!("{SHARED} __syncthreads(); y[i] = s[63 - i]; __syncthreads(); s[i] = 1;"));
    // The same in dynamic shared memory, and in the device's own.
    race(1, "EXTERN_SHARED(float, s); s[i] = i; y[i] = s[63 - i];");
    race(1, "y[i] = i; float x = y[63 - i]; if (x > 100) y[i] = x;");
    fine(1, "y[i] = i; __syncthreads(); float x = y[63 - i]; __syncthreads(); y[i] = x;");
}

#[test]
fn lanes_of_a_warp_do_not_run_in_step() {
    race(1, &format!("{SHARED} y[i] = s[i ^ 1];"));
    fine(1, &format!("{SHARED} __syncwarp(); y[i] = s[i ^ 1];"));
    race(1, &format!("{SHARED} __syncwarp(); y[i] = s[i ^ 32];"));
}

#[test]
fn a_shuffle_and_a_vote_say_nothing_of_memory() {
    race(1, &format!("{SHARED} float x = __shfl_xor_sync(~0u, 1.0f, 1); y[i] = s[i ^ 1] + x;"));
    race(1, &format!("{SHARED} int x = __any_sync(~0u, i == 3); y[i] = s[i ^ 1] + x;"));
}

#[test]
fn a_mask_orders_its_own_lanes() {
    let half = "__syncwarp(l < 16 ? 0x0000ffffu : 0xffff0000u);";
    fine(1, &format!("{SHARED} {half} y[i] = s[i ^ 1];"));
    race(1, &format!("{SHARED} {half} y[i] = s[i ^ 16];"));
    // By way of a lane that both have waited for.
    let chain = "if (l < 16) __syncwarp(0xffffu); if (l >= 15) __syncwarp(0xffff8000u);";
    fine(1, &format!("{SHARED} {chain} if (l == 20) y[i] = s[i - 20 + 3];"));
    race(1, &format!("{SHARED} {chain} if (l == 3) y[i] = s[i - 3 + 20];"));
}

#[test]
fn a_reader_of_another_warp_is_not_forgotten() {
    // Both warps read; a lane that has waited for its own warp alone writes.
    race(1, "__shared__ float s[64]; y[i] = s[0]; __syncwarp(); if (i == 0) s[0] = 1;");
    fine(1, "__shared__ float s[64]; if (i < 32) y[i] = s[0]; __syncwarp(); if (i == 0) s[0] = 1;");
}

#[test]
fn nothing_orders_blocks() {
    fine(3, "y[blockIdx.x * 64 + i] = i;");
    race(3, "y[i] = i;");
    race(
        3,
        "__syncthreads(); float x = y[(blockIdx.x * 64 + i + 64) % 192]; __syncthreads(); y[blockIdx.x * 64 + i] = x;",
    );
    // One block reads what it alone and then another one writes.
    race(2, "float x = y[i]; if (blockIdx.x == 1) y[i] = x + 1; else y[64 + i] = x;");
}

#[test]
fn launches_are_ordered() {
    let source = "extern \"C\" __global__ void run(float* y) { y[63 - threadIdx.x] = y[63 - threadIdx.x] + 1; }
                  extern \"C\" __global__ void back(float* y) { y[threadIdx.x] = y[threadIdx.x] * 2; }";
    let device = EmulatedDevice::new();
    let y = upload(&device, &[1.0; 64]);
    replay(&device, source, launch(1, 64, 0, vec![Pointer(y, 0)])).unwrap();
    let mut back = launch(1, 64, 0, vec![Pointer(y, 0)]);
    back.kernel = "back".into();
    replay(&device, source, back).unwrap();
    assert_eq!(crate::common::download(&device, y, 64), [4.0; 64]);
}

#[test]
fn atomics_are_no_race_with_each_other() {
    fine(3, "atomicAdd(y, 1.0f);");
    race(1, "atomicAdd(y, 1.0f); y[i + 0] = 1;");
    race(1, "__shared__ u32 n; if (i == 0) n = 0; atomicAdd(&n, 1u);");
    race(1, "__shared__ u32 n; if (i == 0) n = 0; __syncthreads(); atomicAdd(&n, 1u); y[i] = n;");
    fine(1, "__shared__ u32 n; if (i == 0) n = 0; __syncthreads(); atomicAdd(&n, 1u); __syncthreads(); y[i] = n;");
}

#[test]
fn neighbours_in_a_word_are_apart() {
    fine(1, "((unsigned short*)y)[i] = i;");
    fine(1, "((u8*)y)[i] = i;");
    race(1, "((unsigned short*)y)[i] = i; if (i == 9) *(u32*)((unsigned short*)y + 10) = 1;");
}

#[test]
fn it_says_who_and_where() {
    let why = outcome(1, "__shared__ float s[64];\ns[i] = i;\nif (i == 5) y[i] = s[40];").expect_err("a race");
    let [read, write] = ["it reads at test.cu:", "it writes at test.cu:"].map(|part| why.contains(part));
    assert!(read || write, "{why}");
    assert!(why.contains("shared memory; thread ("), "{why}");
    let why = outcome(2, "y[0] = i;").expect_err("a race");
    assert!(why.contains("neither waits for the other: byte 0 of an allocation of 512 bytes"), "{why}");
}
