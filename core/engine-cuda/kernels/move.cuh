// Padding, and random numbers.

// Sizes of the result, sizes of x, elements before it, and its neighbours' distance: eight axes, the outer ones of size 1.
struct PadAxes {
    u32 result[8], shape[8], low[8], step[8];
};

template <class T> __device__ __forceinline__ T padding_of(float x) { return narrow<T>(x); }
template <> __device__ __forceinline__ int padding_of<int>(float x) { return (int)x; }
template <> __device__ __forceinline__ u8 padding_of<u8>(float x) { return (u8)x; }

// One thread an element of the result.
template <class T>
__device__ __forceinline__ void pad(const T* x, T* y, const PadAxes& axes, float value, u64 count) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    u64 rest = i, from = 0, below = 1;
    bool inside = true;
#pragma unroll
    for (int a = 7; a >= 0; a--) {
        u32 at = (u32)(rest % axes.result[a]);
        rest /= axes.result[a];
        u32 behind = at - axes.low[a];
        u32 place = behind / axes.step[a];
        inside = inside && at >= axes.low[a] && place * axes.step[a] == behind && place < axes.shape[a];
        from += place * below;
        below *= axes.shape[a];
    }
    y[i] = inside ? x[from] : padding_of<T>(value);
}
#define PAD(name, T)                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) name(const T* x, T* y, PadAxes axes, float value, u64 count) {                 \
        pad<T>(x, y, axes, value, count);                                                                                            \
    }

// Philox 4x32-10 (Salmon et al. 2011): the counter is [i, i >> 32, stream, step], the key the seed; four numbers in [0, 1) of 24 bits
// for each i.
template <class T>
__device__ __forceinline__ void rng_uniform(const int* seed, T* y, int stream, u64 count) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (4 * i >= count) return;
    u32 key[2] = {(u32)seed[0], (u32)seed[1]};
    u32 counter[4] = {(u32)i, (u32)(i >> 32), (u32)stream, (u32)seed[2]};
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 a = (u64)counter[0] * 0xD2511F53u, b = (u64)counter[2] * 0xCD9E8D57u;
        u32 first = (u32)(b >> 32) ^ counter[1] ^ key[0], third = (u32)(a >> 32) ^ counter[3] ^ key[1];
        counter[0] = first;
        counter[1] = (u32)b;
        counter[2] = third;
        counter[3] = (u32)a;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
#pragma unroll
    for (int n = 0; n < 4; n++)
        if (4 * i + n < count) y[4 * i + n] = narrow<T>((float)(counter[n] >> 8) * (1.0f / 16777216.0f));
}
#define RNG_UNIFORM(name, T)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(256) name(const int* key, T* y, int stream, u64 count) {                            \
        rng_uniform<T>(key, y, stream, count);                                                                                       \
    }
