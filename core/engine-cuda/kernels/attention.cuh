// Attention: softmax(scale q k^T + bias) v of many small matrices, wherever they stand.
//
// Scores never leave a block. Where factors are bf16, or are rounded to tf32, products run on tensor cores
// (attention_tiles.cuh, attention_forward.cuh and attention_backward.cuh); else in f32 (attention_exact.cuh, which takes any shape).

// Matrices of one size in a buffer: where each begins, and how far apart rows are.
template <class T> struct Matrices {
    T* data;
    const u32* starts;
    int stride;
    __device__ __forceinline__ T* at(u32 matrix) const { return data + starts[matrix]; }
};
#define MATRICES(T, name) T *name, const u32 *name##_starts, int name##_stride
#define GIVEN(T, name) Matrices<T>{name, name##_starts, name##_stride}

struct Sizes {
    int queries, keys, width, value_width;
    // Whether rows begin at multiples of four elements. For tensor cores it is eight, always.
    int aligned;
};

// Stands for a bias's element where there is no bias.
struct None {};
__device__ __forceinline__ float widen(None) { return 0.0f; }
template <class Bias> struct Exists {
    static const bool IS = true;
};
template <> struct Exists<None> {
    static const bool IS = false;
};

// What the result is made of.
template <class Q, class K, class V, class Bias> struct Inputs {
    Matrices<const Q> q;
    Matrices<const K> k;
    Matrices<const V> v;
    // Broadcast to the scores by its starts.
    Matrices<const Bias> bias;
    Sizes sizes;
    float scale;
};

#define INPUTS(Q, K, V, Bias) \
    MATRICES(const Q, q), MATRICES(const K, k), MATRICES(const V, v), MATRICES(const Bias, bias), Sizes sizes, float scale
#define GIVEN_INPUTS(Q, K, V, Bias) \
    Inputs<Q, K, V, Bias> { GIVEN(const Q, q), GIVEN(const K, k), GIVEN(const V, v), GIVEN(const Bias, bias), sizes, scale }

// The same for tensor cores, whose factors are stored alike.
template <class Stored, class Bias> using Alike = Inputs<Stored, Stored, Stored, Bias>;
template <class F, class Bias> using Scored = Alike<typename Factor<F>::Stored, Bias>;
#define SCORED(F, Bias) INPUTS(Factor<F>::Stored, Factor<F>::Stored, Factor<F>::Stored, Bias)
#define GIVEN_SCORED(F, Bias) GIVEN_INPUTS(Factor<F>::Stored, Factor<F>::Stored, Factor<F>::Stored, Bias)

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

// What the gradients need to know of a row: the logarithm of its exponentials' sum, and the sum of its weights' cotangents, weighed.
struct alignas(8) RowState {
    float log_sum, mean;
};

// On tensor cores' scores, exponentials are powers of two of what was multiplied by this.
#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f

__device__ __forceinline__ float power_of_two(float x) {
#ifdef FER_EMULATED
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// What to subtract from a row's scores. A row that has only minus infinities so far keeps zero weights; if it ends so, their sum is
// zero, and the division gives NaN.
__device__ __forceinline__ float finite(float largest) { return largest == -infinity() ? 0.0f : largest; }
