// What the kernels that are written for a plan are made of.

__device__ __forceinline__ float fetch(float x) { return x; }
__device__ __forceinline__ float fetch(bf16 x) { return widen(x); }
__device__ __forceinline__ int fetch(int x) { return x; }
__device__ __forceinline__ int fetch(u8 x) { return x; }
__device__ __forceinline__ bool fetch(bool8 x) { return x.byte != 0; }

__device__ __forceinline__ void put(float* p, float x) { *p = x; }
__device__ __forceinline__ void put(bf16* p, float x) { *p = round_bf16(x); }
__device__ __forceinline__ void put(int* p, int x) { *p = x; }
__device__ __forceinline__ void put(u8* p, int x) { *p = (u8)x; }
__device__ __forceinline__ void put(bool8* p, bool x) { p->byte = x ? 1 : 0; }

template <class T> __device__ __forceinline__ void fetch4(float* v, const T* p) {
    Four f = load4(p);
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = f.x[i];
}
__device__ __forceinline__ void fetch4(bool* v, const bool8* p) {
    u32 word = *(const u32*)p;
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = (word >> (8 * i) & 0xff) != 0;
}
template <class T> __device__ __forceinline__ void put4(T* p, const float* v) {
    Four f;
#pragma unroll
    for (int i = 0; i < 4; i++) f.x[i] = v[i];
    store4(p, f);
}
__device__ __forceinline__ void put4(bool8* p, const bool* v) {
    *(u32*)p = (u32)v[0] | (u32)v[1] << 8 | (u32)v[2] << 16 | (u32)v[3] << 24;
}

// The exact form: x (1 + erf(x / sqrt 2)) / 2.
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

__device__ __forceinline__ float gelu_slope(float x) {
    float share = 0.5f * (1.0f + erff(x * 0.70710678118654752f));
    return share + x * 0.39894228040143268f * expf(-0.5f * x * x);
}

// Towards zero, and to the nearest bound; a NaN becomes 0.
__device__ __forceinline__ int to_int(float x) {
    if (!(x == x)) return 0;
    if (x >= 2147483648.0f) return 2147483647;
    if (x <= -2147483648.0f) return -2147483647 - 1;
    return (int)x;
}
__device__ __forceinline__ int to_u8(float x) { return !(x > 0.0f) ? 0 : x >= 255.0f ? 255 : (int)x; }

// Division by zero gives zero.
__device__ __forceinline__ int divide_int(int x, int y) {
    return y == 0 ? 0 : y == -1 ? (int)(0u - (u32)x) : x / y;
}

// Wrapping; what has no whole power is 1.
__device__ __forceinline__ int power_int(int x, int y) {
    u32 result = 1, base = (u32)x;
    for (u32 n = y < 0 ? 0 : (u32)y; n > 0; n >>= 1) {
        if (n & 1) result *= base;
        base *= base;
    }
    return (int)result;
}
