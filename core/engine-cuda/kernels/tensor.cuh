// Tensor cores. They are fed words, which are two bf16 or one number of tf32, and add up in f32; what is multiplied by which lane is the
// same in both, word by word.

// What numbers are rounded to before they are multiplied.
struct tf32 {};

template <class F> struct Factor;
template <> struct Factor<bf16> {
    // As which they are in memory, and how many a word has.
    typedef bf16 Stored;
    static const int NUMBERS = 2;
};
template <> struct Factor<tf32> {
    typedef float Stored;
    static const int NUMBERS = 1;
};

// To ten bits of mantissa: the nearest, ties away from zero.
__device__ __forceinline__ u32 round_tf32(float x) {
#ifdef FER_EMULATED
    u32 bits = __float_as_uint(x);
    return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
#else
    u32 r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
    return r;
#endif
}

__device__ __forceinline__ u32 pair_of(float low, float high) { return pack_bf16(low, high); }
__device__ __forceinline__ u32 pair_of(bf16 low, bf16 high) { return (u32)low.bits | (u32)high.bits << 16; }

// c[16 x 8] += a[16 x 8 words] b[8 words x 8], of a warp. Lane l, with g = l / 4 and t = l % 4, holds
//     a: rows g, g + 8, g, g + 8 at word t, the last two at word t + 4;
//     b: words t and t + 4 of column g;
//     c: row g at columns 2t and 2t + 1, then row g + 8.
// Word i of bf16 has what is summed over at 2i and 2i + 1.
#ifndef FER_EMULATED
__device__ __forceinline__ void mma_bf16(float c[4], const u32 a[4], const u32 b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_tf32(float c[4], const u32 a[4], const u32 b[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

template <class F> __device__ __forceinline__ void mma(float c[4], const u32 a[4], const u32 b[2]) {
    if constexpr (Factor<F>::NUMBERS == 2) {
        mma_bf16(c, a, b);
    } else {
        mma_tf32(c, a, b);
    }
}
