//! What kernels may do comes out as on a card.

use crate::common::{download, launch, replay, upload};
use fer_cuda_emulator::EmulatedDevice;
use fer_engine_cuda::device::{Device, Parameter::*};

/// `run(float* y)` with a block of this many threads; y has `count` elements, which are NaN at first.
fn output(source: &str, block: u32, count: usize) -> Vec<f32> {
    let device = EmulatedDevice::new();
    let y = device.allocate(count * 4).unwrap();
    replay(&device, source, launch(1, block, 0, vec![Pointer(y, 0)])).unwrap();
    download(&device, y, count)
}

#[test]
fn blocks_sum_what_they_are_given() {
    const SUM: &str = r#"
        template <class T> __device__ void sum(const T* x, float* y, int n) {
            __shared__ float shared[32];
            float v = 0;
            for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += widen(x[i]);
            v = block_sum(v, shared);
            if (threadIdx.x == 0) y[blockIdx.x] = v;
        }
        #define SUM(name, T) extern "C" __global__ void __launch_bounds__(256) name(const T* x, float* y, int n) { sum<T>(x, y, n); }
        SUM(run, float)
        SUM(other, bf16)
    "#;
    let device = EmulatedDevice::new();
    let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let (x, y) = (upload(&device, &x), device.allocate(12).unwrap());
    replay(&device, SUM, launch(3, 256, 0, vec![Pointer(x, 0), Pointer(y, 0), I32(1000)])).unwrap();
    let sums = download(&device, y, 3);
    let expected = |b: usize| (0..1000).filter(|i| i / 256 % 3 == b).sum::<usize>() as f32;
    assert_eq!(sums, [expected(0), expected(1), expected(2)]);
    // From the third element on: where a pointer with an offset leads.
    replay(&device, SUM, launch(1, 32, 0, vec![Pointer(x, 8), Pointer(y, 4), I32(2)])).unwrap();
    assert_eq!(download(&device, y, 3), [expected(0), 5.0, expected(2)]);
}

/// The memory of one sum is the next one's: a warp that runs ahead must not write what another one still reads.
#[test]
fn blocks_sum_again_and_again() {
    let source = r#"extern "C" __global__ void run(float* y) {
        __shared__ float shared[32];
        float v = threadIdx.x + 1;
        for (int i = 0; i < 4; i++) y[threadIdx.x + i * 128] = block_sum(v * (i + 1), shared);
        for (int i = 4; i < 8; i++) y[threadIdx.x + i * 128] = block_max(v * (i + 1), shared);
    }"#;
    for seed in 0..10 {
        let device = EmulatedDevice::new().seed(seed);
        let y = device.allocate(4 * 1024).unwrap();
        replay(&device, source, launch(1, 128, 0, vec![Pointer(y, 0)])).unwrap();
        for (i, got) in download(&device, y, 1024).into_iter().enumerate() {
            let (case, n) = (i / 128, 128.0);
            let one = if case < 4 { n * (n + 1.0) / 2.0 } else { n };
            assert_eq!(got, one * (case + 1) as f32, "seed {seed}, case {case}, thread {}", i % 128);
        }
    }
}

#[test]
fn lanes_shuffle_and_vote() {
    let y = output(
        r#"extern "C" __global__ void run(float* y) {
            int l = threadIdx.x;
            y[l] = __shfl_up_sync(~0u, (float)l, 3);
            y[32 + l] = __shfl_down_sync(~0u, l, 3u, 8);
            y[64 + l] = (float)__shfl_sync(~0u, (u64)l << 40, 5, 16) / (1ull << 40);
            y[96 + l] = __ballot_sync(~0u, l % 3 == 0) == 0x49249249u && __any_sync(~0u, l == 7) && !__all_sync(~0u, l != 7);
            if (l < 16) y[128 + l] = __shfl_xor_sync(0xffffu, (double)l, 1);
            else y[128 + l] = __shfl_xor_sync(0xffff0000u, l, 2);
        }"#,
        32,
        160,
    );
    for l in 0..32 {
        let expected = [
            if l >= 3 { l - 3 } else { l },
            if l % 8 + 3 < 8 { l + 3 } else { l },
            l / 16 * 16 + 5,
            1,
            if l < 16 { l ^ 1 } else { l ^ 2 },
        ];
        for (i, expected) in expected.into_iter().enumerate() {
            assert_eq!(y[i * 32 + l], expected as f32, "lane {l}, case {i}");
        }
    }
}

#[test]
fn a_value_of_a_lane_that_is_gone_is_a_nan() {
    let y = output(
        r#"extern "C" __global__ void run(float* y) {
            if (threadIdx.x == 3) { y[3] = 1; return; }
            y[threadIdx.x] = __shfl_xor_sync(~0u, 2.0f, 1);
        }"#,
        32,
        32,
    );
    assert!(y[2].is_nan());
    assert_eq!((y[1], y[3], y[31]), (2.0, 1.0, 2.0));
}

#[test]
fn barriers_count() {
    let y = output(
        r#"extern "C" __global__ void run(float* y) {
            int i = threadIdx.x, n = __syncthreads_count(i % 5 == 0);
            y[i] = 100 * __syncthreads_and(i < 99) + 10 * __syncthreads_or(i == 70) + n;
        }"#,
        100,
        100,
    );
    assert_eq!(y, vec![30.0; 100]);
}

#[test]
fn atomics_add_up() {
    let source = r#"extern "C" __global__ void run(float* sum, u64* count, int* most, u32* old) {
        atomicAdd(sum, 0.5f);
        atomicAdd(count, 1ull << 33);
        atomicMax(most, (int)(blockIdx.x * blockDim.x + threadIdx.x));
        if (threadIdx.x == 0 && atomicCAS(old, 0xffffffffu, 7u) == 0xffffffffu) atomicExch(old + 1, 9u);
    }"#;
    let device = EmulatedDevice::new();
    let [sum, count, most, old] = [4, 8, 4, 8].map(|bytes| device.allocate(bytes).unwrap());
    for address in [sum, most] {
        device.upload(address, &[0; 4]).unwrap();
    }
    device.upload(count, &[0; 8]).unwrap();
    let parameters = vec![Pointer(sum, 0), Pointer(count, 0), Pointer(most, 0), Pointer(old, 0)];
    replay(&device, source, launch(5, 100, 0, parameters)).unwrap();
    assert_eq!(download(&device, sum, 1), [250.0]);
    assert_eq!(download(&device, count, 2).map_bits(), [0, 1000]);
    assert_eq!(download(&device, most, 1).map_bits(), [499]);
    assert_eq!(download(&device, old, 2).map_bits(), [7, 9]);
}

trait MapBits {
    fn map_bits(self) -> Vec<u32>;
}

impl MapBits for Vec<f32> {
    fn map_bits(self) -> Vec<u32> {
        self.into_iter().map(f32::to_bits).collect()
    }
}

#[test]
fn shared_memory_is_a_nan_before_it_is_written() {
    let source = r#"extern "C" __global__ void run(float* y) {
        EXTERN_SHARED(float, some);
        EXTERN_SHARED(int, same);
        __shared__ float other[8];
        int i = threadIdx.x;
        bool fresh = isnan(some[i]) && isnan(other[i]);
        some[i] = other[i] = (float)i;
        __syncthreads();
        y[blockIdx.x * 8 + i] = fresh ? some[7 - i] + other[i] + (same[i] == __float_as_int((float)i) ? 0.0f : 100.0f) : -1.0f;
    }"#;
    let device = EmulatedDevice::new();
    let y = device.allocate(64).unwrap();
    replay(&device, source, launch(2, 8, 32, vec![Pointer(y, 0)])).unwrap();
    assert_eq!(download(&device, y, 16), [7.0; 16]);
}

#[test]
fn structures_and_places_in_three_dimensions() {
    let source = r#"
        struct Sizes { u32 n[3]; };
        struct Places { float* p[2]; };
        extern "C" __global__ void run(Sizes s, Places p, float scale, u64 base, const float* nothing) {
            int t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
            int b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
            int i = b * s.n[2] + t;
            p.p[i & 1][i / 2] = nothing == nullptr ? scale * i + (float)base : 0.0f;
        }
    "#;
    let device = EmulatedDevice::new();
    let [even, odd] = [(); 2].map(|()| device.allocate(24 * 12 * 2).unwrap());
    let parameters = vec![Words(vec![2, 3, 24]), Pointers(vec![even, odd]), F32(2.0), U64(10), Null];
    let mut launch = launch(1, 1, 0, parameters);
    (launch.grid, launch.block) = ([2, 3, 2], [2, 3, 4]);
    replay(&device, source, launch).unwrap();
    let expected = |odd: usize| (0..144).map(|i| (2 * (2 * i + odd) + 10) as f32).collect::<Vec<_>>();
    assert_eq!(download(&device, even, 144), expected(0));
    assert_eq!(download(&device, odd, 144), expected(1));
}

/// Two warps with different factors, so that one that took the other's would be seen.
#[test]
fn a_warp_multiplies_matrices_of_bf16() {
    let source = r#"extern "C" __global__ void run(const float* a, const float* b, float* c) {
        int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        a += warp * 256; b += warp * 128; c += warp * 128;
        u32 x[4], y[2];
        for (int i = 0; i < 4; i++) { const float* p = a + (g + 8 * (i & 1)) * 16 + 2 * t + 8 * (i >> 1); x[i] = pack_bf16(p[0], p[1]); }
        for (int i = 0; i < 2; i++) { const float* p = b + (2 * t + 8 * i) * 8 + g; y[i] = pack_bf16(p[0], p[8]); }
        float z[4] = {1, 1, 1, 1};
        mma_bf16(z, x, y);
        for (int i = 0; i < 4; i++) c[(g + 8 * (i >> 1)) * 8 + 2 * t + (i & 1)] = z[i];
    }"#;
    // Small whole numbers: all sums are exact.
    let a: Vec<f32> = (0..512).map(|i| (i * 7 % 23) as f32 - 11.0).collect();
    let b: Vec<f32> = (0..256).map(|i| (i * 5 % 19) as f32 - 9.0).collect();
    let device = EmulatedDevice::new();
    let (pa, pb, pc) = (upload(&device, &a), upload(&device, &b), device.allocate(1024).unwrap());
    replay(&device, source, launch(1, 64, 0, vec![Pointer(pa, 0), Pointer(pb, 0), Pointer(pc, 0)])).unwrap();
    let c = download(&device, pc, 256);
    for (i, got) in c.into_iter().enumerate() {
        let (warp, row, column) = (i / 128, i / 8 % 16, i % 8);
        let sum: f32 = (0..16).map(|k| a[warp * 256 + row * 16 + k] * b[warp * 128 + k * 8 + column]).sum();
        assert_eq!(got, sum + 1.0, "warp {warp}, row {row}, column {column}");
    }
}

/// Numbers of which tf32 keeps all, but for bits that no card reads.
#[test]
fn a_warp_multiplies_matrices_of_tf32() {
    let source = r#"extern "C" __global__ void run(const float* a, const float* b, float* c) {
        int g = threadIdx.x / 4, t = threadIdx.x % 4;
        u32 x[4], y[2];
        for (int i = 0; i < 4; i++) x[i] = __float_as_uint(a[(g + 8 * (i & 1)) * 8 + t + 4 * (i >> 1)]) | 0x1fff;
        for (int i = 0; i < 2; i++) y[i] = __float_as_uint(b[(t + 4 * i) * 8 + g]) | 0x1000;
        float z[4] = {1, 1, 1, 1};
        mma_tf32(z, x, y);
        for (int i = 0; i < 4; i++) c[(g + 8 * (i >> 1)) * 8 + 2 * t + (i & 1)] = z[i];
    }"#;
    // Eleven significant bits: more than bf16 has.
    let a: Vec<f32> = (0..128).map(|i| (i * 71 % 2047) as f32 - 1023.0).collect();
    let b: Vec<f32> = (0..64).map(|i| (i * 5 % 19) as f32 - 9.0).collect();
    let device = EmulatedDevice::new();
    let (pa, pb, pc) = (upload(&device, &a), upload(&device, &b), device.allocate(512).unwrap());
    replay(&device, source, launch(1, 32, 0, vec![Pointer(pa, 0), Pointer(pb, 0), Pointer(pc, 0)])).unwrap();
    for (i, got) in download(&device, pc, 128).into_iter().enumerate() {
        let (row, column) = (i / 8, i % 8);
        let sum: f32 = (0..8).map(|k| a[row * 8 + k] * b[k * 8 + column]).sum();
        assert_eq!(got, sum + 1.0, "row {row}, column {column}");
    }
}

#[test]
fn intrinsics_are_what_they_are_called() {
    let y = output(
        r#"extern "C" __global__ void run(float* y) {
            y[0] = __umulhi(0x80000000u, 6u);
            y[1] = __clz(0x00ffffff) + 100 * __popc(0xf0f0u);
            y[2] = min(3, -4) + max(2u, 5u);
            y[3] = __float2int_rn(2.5f) + 10 * __float2int_rn(3.5f);
            y[4] = fminf(__int_as_float(0x7fc00000), 1.0f);
            y[5] = __expf(0.0f) + rsqrtf(0.25f) + fmaf(2.0f, 3.0f, 4.0f) + __fdividef(1.0f, 4.0f);
            y[6] = isfinite(1.0f / (y[0] - 3.0f)) + 2 * isnan(0.0f / 0.0f);
            float4 v = make_float4(1, 2, 3, 4);
            *(float4*)(y + 8) = v;
            y[7] = warpSize;
            y[12] = widen(round_bf16(1.00390625f)) + widen(round_bf16(1.01171875f));
            y[13] = __uint_as_float(__float_as_uint(-2.5f));
            assert(y[7] == 32);
            y[14] = erff(0.0f) + tanhf(0.0f) + __activemask();
            y[15] = __ldg(y + 9);
        }"#,
        1,
        16,
    );
    let expected = [3.0, 808.0, 1.0, 42.0, 1.0, 13.25, 2.0, 32.0, 1.0, 2.0, 3.0, 4.0, 2.015625, -2.5, 1.0, 2.0];
    assert_eq!(y, expected);
}
