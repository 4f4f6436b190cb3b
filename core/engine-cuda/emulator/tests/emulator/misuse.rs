//! What kernels must not do is an error that says so.

use crate::common::{download, launch, replay, unit, upload};
use fer_cuda_emulator::EmulatedDevice;
use fer_engine_cuda::device::{Command, Device, DeviceError, Parameter::*};

/// What comes of `run(float* y)` with 64 threads and an y of 64 elements.
fn outcome(body: &str) -> DeviceError {
    let device = EmulatedDevice::new();
    let y = upload(&device, &[0.0; 64]);
    let source = format!("extern \"C\" __global__ void run(float* y) {{ int i = threadIdx.x;\n{body}\n}}");
    let error = replay(&device, &source, launch(1, 64, 16, vec![Pointer(y, 0)])).unwrap_err();
    let lost = matches!(error, DeviceError::Lost { .. });
    assert_eq!(device.synchronise().is_err(), lost, "{error}");
    error
}

#[track_caller]
fn misuse(body: &str, why: &str) {
    match outcome(body) {
        DeviceError::Failed { what, why: said } => {
            assert_eq!(what, "kernel run");
            assert!(said.contains(why), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn lost(body: &str, why: &str) {
    match outcome(body) {
        DeviceError::Lost { why: said, .. } => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn threads_that_end_without_a_barrier() {
    misuse("if (i < 40) __syncthreads();", "end");
    misuse("if (i == 40) return; __syncthreads();", "end");
}

#[test]
fn threads_at_different_barriers() {
    misuse("if (i < 40) __syncthreads(); else\n__syncthreads();", "different barriers");
}

#[test]
fn lanes_that_wait_for_others_for_ever() {
    misuse("if (i < 40) __syncthreads(); else if (i < 50) __syncwarp();\nelse __syncthreads();", "different barriers");
    misuse("if (i & 1) __syncthreads(); else __syncwarp();", "no thread can go on");
    misuse("__syncwarp(i & 1 ? 0xffffffffu : 0x55555555u); __syncthreads();", "no thread can go on");
    misuse("if (i & 1) y[i] = __shfl_xor_sync(~0u, y[i], 1); else __syncthreads();", "no thread can go on");
}

#[test]
fn lanes_outside_their_mask() {
    misuse("y[i] = __shfl_xor_sync(0xffffu, y[i], 1);", "is not in the mask 0x0000ffff");
}

#[test]
fn lanes_that_do_different_things() {
    misuse("if (i & 1) __syncwarp();\nelse y[i] = __ballot_sync(~0u, 1);", "different things");
}

#[test]
fn a_matrix_product_without_all_lanes() {
    misuse(
        "if (i == 3) return; u32 a[4] = {}, b[2] = {}; float c[4]; mma_bf16(c, a, b); y[i] = c[0];",
        "matrix product",
    );
}

#[test]
fn an_index_past_the_end_of_an_array() {
    misuse("__shared__ float s[64]; s[i + 1] = i;", "an index past the end of an array");
    misuse("float s[4]; s[i & 3] = i; y[i] = s[i & 7];", "an index past the end of an array");
}

#[test]
fn a_misaligned_address() {
    misuse("y[i] = ((float4*)(y + 4))->x + ((float4*)(y + 1))->y;", "a misaligned address");
    misuse("*(u32*)((u8*)y + 4 * i + (i == 9)) = 1;", "a misaligned address; thread (9, 0, 0)");
}

#[test]
fn writes_beside_dynamic_shared_memory() {
    misuse("EXTERN_SHARED(float, s); s[-1 - i] = 0;", "before its dynamic shared memory");
    lost("EXTERN_SHARED(float, s); s[i] = 1.0f; y[i] = s[3];", "an illegal address");
}

#[test]
fn writes_outside_all_memory() {
    lost("y[i + 1] = i;", "0 bytes behind the end of an allocation of 256 bytes; thread (63, 0, 0) of block (0, 0, 0)");
    lost("y[i] = y[-2000];", "before an allocation of 256 bytes");
    lost("y[i] = *(float*)0;", "in no allocation");
}

#[test]
fn an_integer_divided_by_zero() {
    lost("y[i] = i / (int)(y[i] * 2.0f);", "an integer divided by zero");
}

#[test]
fn a_thread_that_keeps_more_than_its_stack_holds() {
    let source = r#"extern "C" __global__ void run(float* y, int n) {
        volatile float many[30000];
        for (int i = 0; i < n; i++) many[i] = y[i & 1];
        y[0] = many[n - 1];
    }"#;
    let device = EmulatedDevice::new();
    let y = upload(&device, &[0.0; 2]);
    let error = replay(&device, source, launch(1, 1, 0, vec![Pointer(y, 0), I32(30000)])).unwrap_err();
    assert!(error.to_string().contains("an illegal address"), "{error}");
}

#[test]
fn assertions_and_traps() {
    misuse("assert(i < 50);", "test.cu:");
    misuse("if (i == 7) __trap();", "a trap; thread (7, 0, 0)");
}

#[test]
fn writes_beside_an_allocation() {
    let source = r#"extern "C" __global__ void run(float* y, int i) { y[i] = 1; }"#;
    for (i, place) in [(3, "0 bytes behind the end of the 12 bytes"), (-1, "4 bytes before the 12 bytes")] {
        let device = EmulatedDevice::new();
        let y = upload(&device, &[0.0; 3]);
        let error = replay(&device, source, launch(1, 1, 0, vec![Pointer(y, 0), I32(i)])).unwrap_err();
        assert!(matches!(&error, DeviceError::Failed { why, .. } if why.contains(place)), "{error}");
    }
}

#[test]
fn a_released_allocation_is_out_of_reach() {
    let source = r#"extern "C" __global__ void run(float* y) { y[0] = 1; }"#;
    let device = EmulatedDevice::new();
    let y = upload(&device, &[0.0; 3]);
    device.release(y);
    let error = replay(&device, source, launch(1, 1, 0, vec![Pointer(y, 0)])).unwrap_err();
    assert!(error.to_string().contains("byte 0 of a released allocation of 12 bytes"), "{error}");
}

#[test]
fn a_seed_decides_the_order() {
    let source =
        r#"extern "C" __global__ void run(float* y, u32* n) { y[atomicAdd(n, 1u)] = blockIdx.x * 64 + threadIdx.x; }"#;
    let order = |seed: u64| {
        let device = EmulatedDevice::new().seed(seed);
        let (y, n) = (device.allocate(1024).unwrap(), upload(&device, &[0.0]));
        replay(&device, source, launch(4, 64, 0, vec![Pointer(y, 0), Pointer(n, 0)])).unwrap();
        download(&device, y, 256)
    };
    assert_eq!(order(5), order(5));
    assert_ne!(order(5), order(6));
    let mut sorted = order(7);
    sorted.sort_by(f32::total_cmp);
    assert_eq!(sorted, (0..256).map(|i| i as f32).collect::<Vec<_>>());
}

#[test]
fn launches_that_a_card_refuses() {
    let source = r#"extern "C" __global__ void __launch_bounds__(2 * 64) run(float* y, int n, float x) {}"#;
    let device = EmulatedDevice::new();
    let y = device.allocate(4).unwrap();
    let good = launch(1, 128, 0, vec![Pointer(y, 0), I32(1), F32(1.0)]);
    let with = |change: &dyn Fn(&mut fer_engine_cuda::device::Launch<u64>)| {
        let mut launch = good.clone();
        change(&mut launch);
        device.record(&[unit(source)], &[Command::Launch(launch)]).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(with(&|_| ()), Ok(()));
    let refused = |change: &dyn Fn(&mut fer_engine_cuda::device::Launch<u64>), why: &str| {
        let error = with(change).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(&|l| l.kernel = "other".into(), "no unit has a kernel other");
    refused(&|l| l.grid = [1, 0, 1], "a grid of [1, 0, 1] blocks");
    refused(&|l| l.grid = [1, 65536, 1], "a grid of");
    refused(&|l| l.block = [129, 1, 1], "launch bounds say 128");
    refused(&|l| l.block = [1025, 1, 1], "blocks of [1025, 1, 1] threads");
    refused(&|l| l.block = [0, 1, 1], "blocks of [0, 1, 1] threads");
    refused(&|l| l.block = [1, 1, 65], "blocks of [1, 1, 65] threads");
    refused(&|l| l.shared = 200_000, "200000 bytes of shared memory");
    refused(&|l| drop(l.parameters.pop()), "2 parameters are given, it has 3");
    refused(&|l| l.parameters[0] = U64(1), "parameter 0 is a pointer of 8 bytes, given is U64(1)");
    refused(&|l| l.parameters[1] = F32(1.0), "parameter 1 is an integer of 4 bytes");
    refused(&|l| l.parameters[2] = Words(vec![1]), "parameter 2 is a floating-point number of 4 bytes");
}
