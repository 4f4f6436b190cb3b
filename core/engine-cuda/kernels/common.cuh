// What all kernels share. A unit is this file, one family of kernels, and the instances that a plan needs; it includes nothing, so
// that the driver and NVRTC are all that a machine must have.
//
// A kernel is a template in namespace-free device code and a macro in capitals that makes an instance of it:
//     LAYER_NORM_FORWARD(name, float, bf16)    ->    extern "C" __global__ void name(...)
//
// FER_EMULATED is defined where kernels run on a CPU for tests; what it leaves out is inline PTX.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

// Dynamic shared memory; in a unit it has one name and type.
#ifndef FER_EMULATED
#define EXTERN_SHARED(T, name) extern __shared__ T name[]
#endif

// Numbers ----------------------------------------------------------------------------------------------------------------------

struct bf16 {
    unsigned short bits;
};

// A truth value in memory: a byte, 0 or 1.
struct bool8 {
    u8 byte;
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ __forceinline__ float widen(u8 x) { return (float)x; }
__device__ __forceinline__ float widen(int x) { return (float)x; }
__device__ __forceinline__ float widen(bool8 x) { return (float)x.byte; }

// To the nearest, ties to even; a NaN stays one.
__device__ __forceinline__ bf16 round_bf16(float x) {
    bf16 r;
#ifdef FER_EMULATED
    u32 bits = __float_as_uint(x);
    r.bits = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fff : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
#else
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
#endif
    return r;
}

template <class T> struct Narrow;
template <> struct Narrow<float> {
    static __device__ __forceinline__ float of(float x) { return x; }
};
template <> struct Narrow<bf16> {
    static __device__ __forceinline__ bf16 of(float x) { return round_bf16(x); }
};
template <> struct Narrow<bool8> {
    static __device__ __forceinline__ bool8 of(float x) { return bool8{(u8)(x != 0.0f)}; }
};
template <class T> __device__ __forceinline__ T narrow(float x) { return Narrow<T>::of(x); }

// Whether a number is infinite or NaN.
__device__ __forceinline__ bool wild(float v) { return (__float_as_uint(v) & 0x7f800000u) == 0x7f800000u; }

// Two bf16 in a word, the first in the lower half.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
    return (u32)round_bf16(low).bits | (u32)round_bf16(high).bits << 16;
}

__device__ __forceinline__ float low_half(u32 word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_half(u32 word) { return __uint_as_float(word & 0xffff0000u); }

// Four neighbours; the first at a multiple of four elements.
struct alignas(16) Four {
    float x[4];
};
struct alignas(8) Eight {
    u32 x[2];
};
__device__ __forceinline__ Four load4(const float* p) { return *(const Four*)p; }
__device__ __forceinline__ Four load4(const bf16* p) {
    Eight e = *(const Eight*)p;
    Four f;
    f.x[0] = low_half(e.x[0]);
    f.x[1] = high_half(e.x[0]);
    f.x[2] = low_half(e.x[1]);
    f.x[3] = high_half(e.x[1]);
    return f;
}
__device__ __forceinline__ void store4(float* p, Four f) { *(Four*)p = f; }
__device__ __forceinline__ void store4(bf16* p, Four f) {
    Eight e;
    e.x[0] = pack_bf16(f.x[0], f.x[1]);
    e.x[1] = pack_bf16(f.x[2], f.x[3]);
    *(Eight*)p = e;
}

// Sums over threads, always in the same order ----------------------------------------------------------------------------------

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

// A NaN wins.
__device__ __forceinline__ float larger(float a, float b) { return a != a || a > b ? a : b; }

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) v = larger(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

// Over a block of whole warps; `shared` holds 32 floats and may be used again at once. Every thread gets the result.
__device__ __forceinline__ float block_sum(float v, float* shared) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = warp_sum(v);
    if (lane == 0) shared[warp] = v;
    __syncthreads();
    v = warp_sum(lane < warps ? shared[lane] : 0.0f);
    __syncthreads();
    return v;
}

__device__ __forceinline__ float block_max(float v, float* shared) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = warp_max(v);
    if (lane == 0) shared[warp] = v;
    __syncthreads();
    v = warp_max(lane < warps ? shared[lane] : -__int_as_float(0x7f800000));
    __syncthreads();
    return v;
}
