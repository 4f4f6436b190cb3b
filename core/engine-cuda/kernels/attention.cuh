// Attention: softmax(scale q k^T + bias) v of many small matrices, wherever they stand.
//
// Scores never leave a block. Where the factors are bf16, products run on tensor cores (this file and attention_backward.cuh); else in
// f32 (attention_exact.cuh, which takes any shape).

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

// Eight neighbours of a row in bf16, the unit in which tensor cores are fed -------------------------------------------------------

struct alignas(16) Chunk {
    u32 x[4];
};

__device__ __forceinline__ Chunk whole_chunk(const bf16* p) { return *(const Chunk*)p; }
__device__ __forceinline__ Chunk whole_chunk(const float* p) {
    Four a = load4(p), b = load4(p + 4);
    return Chunk{{pack_bf16(a.x[0], a.x[1]), pack_bf16(a.x[2], a.x[3]), pack_bf16(b.x[0], b.x[1]), pack_bf16(b.x[2], b.x[3])}};
}

__device__ __forceinline__ void store8(float* p, const float x[8]) {
    store4(p, Four{{x[0], x[1], x[2], x[3]}});
    store4(p + 4, Four{{x[4], x[5], x[6], x[7]}});
}
__device__ __forceinline__ void store8(bf16* p, const float x[8]) {
    *(Chunk*)p = Chunk{{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])}};
}

// Rows of a matrix from some row on; zeros beyond. They begin at multiples of a chunk, and are as wide as some chunks.
template <class T> struct Rows {
    const T* data;
    int stride, count, width;

    __device__ __forceinline__ Rows part(int row, int rows) const { return Rows{data + row * stride, stride, rows, width}; }
    __device__ __forceinline__ Chunk chunk(int row, int at) const {
        if (row >= count || at >= width) return Chunk{{0, 0, 0, 0}};
        return whole_chunk(data + (row * stride + at));
    }
};

template <class T> __device__ __forceinline__ Rows<T> rows_of(const Matrices<const T>& m, u32 matrix, int count, int width) {
    return Rows<T>{m.at(matrix), m.stride, count, width};
}

// Tiles in shared memory ---------------------------------------------------------------------------------------------------------
//
// A tile of rows, DEPTH wide (a multiple of 32), is kept for products over its columns as rows, and for products over its rows as
// pairs of rows, word i of a pair holding column i of both. In both, a lane reads 16 bytes at once and a warp meets no bank twice;
// what it reads is in the order of a fragment once columns are renamed: lane t of four has columns 8t to 8t + 7 of each 32.

template <int DEPTH> struct Tile {
    // Words from one row to the next: 16 more than a multiple of 32; and from one pair to the next: 8 more.
    static const int ROW = DEPTH / 2 + (DEPTH % 64 ? 0 : 16);
    static const int PAIR = DEPTH + 8;
};

template <int DEPTH>
__device__ __forceinline__ void put_pair(const Chunk& a, const Chunk& b, int pair, int chunk, u32* rows, u32* pairs) {
    if (rows) {
        *(Chunk*)(rows + 2 * pair * Tile<DEPTH>::ROW + 4 * chunk) = a;
        *(Chunk*)(rows + (2 * pair + 1) * Tile<DEPTH>::ROW + 4 * chunk) = b;
    }
    if (pairs) {
        u32 w[8];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            w[2 * i] = (a.x[i] & 0xffffu) | b.x[i] << 16;
            w[2 * i + 1] = a.x[i] >> 16 | (b.x[i] & 0xffff0000u);
        }
        Chunk* to = (Chunk*)(pairs + pair * Tile<DEPTH>::PAIR + 8 * chunk);
        to[0] = Chunk{{w[0], w[1], w[2], w[3]}};
        to[1] = Chunk{{w[4], w[5], w[6], w[7]}};
    }
}

// COUNT rows of two matrices, each as rows, as pairs or as both; by the whole block. All loads are under way before the first store.
template <int DEPTH, int COUNT, class A, class B>
__device__ __forceinline__ void stage(const Rows<A>& a, u32* a_rows, u32* a_pairs, const Rows<B>& b, u32* b_rows, u32* b_pairs) {
    for (int i = threadIdx.x; i < COUNT / 2 * (DEPTH / 8); i += blockDim.x) {
        int pair = i / (DEPTH / 8), chunk = i % (DEPTH / 8);
        Chunk a0 = a.chunk(2 * pair, 8 * chunk), a1 = a.chunk(2 * pair + 1, 8 * chunk);
        Chunk b0 = b.chunk(2 * pair, 8 * chunk), b1 = b.chunk(2 * pair + 1, 8 * chunk);
        put_pair<DEPTH>(a0, a1, pair, chunk, a_rows, a_pairs);
        put_pair<DEPTH>(b0, b1, pair, chunk, b_rows, b_pairs);
    }
}

// Words from one row of a tile of a bias to the next: no two rows of four are in the same banks.
#define BIAS_ROW 72

// A corner of a bias, in f32 and times log2 e; -inf from `columns` up to `limit`, which is at most WIDTH. Threads side by side read side by
// side: rows of 49 are aligned to nothing.
template <int WIDTH, class Bias>
__device__ __forceinline__ void stage_bias(float* to, int to_stride, const Bias* from, int stride, int rows, int columns, int limit) {
    for (int first = threadIdx.x; first < rows * WIDTH; first += 4 * blockDim.x) {
        float x[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 at = first + i * blockDim.x, row = at / WIDTH, column = at % WIDTH;
            x[i] = row < rows && column < columns ? widen(from[row * stride + column]) * LOG2_E : -infinity();
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 at = first + i * blockDim.x, row = at / WIDTH, column = at % WIDTH;
            if (row < rows && column < limit) to[row * to_stride + column] = x[i];
        }
    }
}

// Products of a warp with a tile ---------------------------------------------------------------------------------------------------

// The left factor: 16 rows from `first` on, straight from memory.
template <int DEPTH, class T>
__device__ __forceinline__ void fragments(u32 a[DEPTH / 16][4], const Rows<T>& rows, int first) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int h = 0; h < DEPTH / 32; h++) {
        Chunk top = rows.chunk(first + g, 32 * h + 8 * t), bottom = rows.chunk(first + g + 8, 32 * h + 8 * t);
#pragma unroll
        for (int s = 0; s < 2; s++) {
            a[2 * h + s][0] = top.x[2 * s];
            a[2 * h + s][1] = bottom.x[2 * s];
            a[2 * h + s][2] = top.x[2 * s + 1];
            a[2 * h + s][3] = bottom.x[2 * s + 1];
        }
    }
}

// c[j] = a times rows 8j to 8j + 7 of the tile, transposed.
template <int DEPTH, int N>
__device__ __forceinline__ void products(float c[N][4], const u32 a[DEPTH / 16][4], const u32* rows) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int j = 0; j < N; j++) {
        c[j][0] = c[j][1] = c[j][2] = c[j][3] = 0.0f;
#pragma unroll
        for (int h = 0; h < DEPTH / 32; h++) {
            Chunk b = *(const Chunk*)(rows + (8 * j + g) * Tile<DEPTH>::ROW + 16 * h + 4 * t);
            mma_bf16(c[j], a[2 * h], b.x);
            mma_bf16(c[j], a[2 * h + 1], b.x + 2);
        }
    }
}

// The left factor of a product over the 16 columns of parts 2s and 2s + 1 that `products` gave; zeros where there is no such part.
template <int N> __device__ __forceinline__ void factor(u32 a[4], const float c[N][4], int s) {
    a[0] = pack_bf16(c[2 * s][0], c[2 * s][1]);
    a[1] = pack_bf16(c[2 * s][2], c[2 * s][3]);
    a[2] = 2 * s + 1 < N ? pack_bf16(c[2 * s + 1][0], c[2 * s + 1][1]) : 0;
    a[3] = 2 * s + 1 < N ? pack_bf16(c[2 * s + 1][2], c[2 * s + 1][3]) : 0;
}

// c += a times eight pairs of rows. Part 4h + j of c has columns 32h + 4i + j, i < 8.
template <int DEPTH>
__device__ __forceinline__ void contract(float c[DEPTH / 8][4], const u32 a[4], const u32* pairs) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int h = 0; h < DEPTH / 32; h++) {
        Chunk low = *(const Chunk*)(pairs + t * Tile<DEPTH>::PAIR + 32 * h + 4 * g);
        Chunk high = *(const Chunk*)(pairs + (t + 4) * Tile<DEPTH>::PAIR + 32 * h + 4 * g);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            u32 b[2] = {low.x[j], high.x[j]};
            mma_bf16(c[4 * h + j], a, b);
        }
    }
}

// Writes 16 rows that `contract` gave, from `first` on, as far as there are rows; the upper and lower eight times a factor each row.
template <int DEPTH, class T>
__device__ __forceinline__ void put_rows(T* to, int stride, int first, int rows, int width, const float c[DEPTH / 8][4],
                                         float upper, float lower) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = first + g + 8 * half;
        float f = half ? lower : upper;
#pragma unroll
        for (int h = 0; h < DEPTH / 32; h++) {
            int at = 32 * h + 8 * t;
            if (row >= rows || at >= width) continue;
            float x[8];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                x[j] = c[4 * h + j][2 * half] * f;
                x[4 + j] = c[4 * h + j][2 * half + 1] * f;
            }
            store8(to + (row * stride + at), x);
        }
    }
}

// Over the four lanes that share a row.
__device__ __forceinline__ float row_sum(float v) {
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}
__device__ __forceinline__ float row_max(float v) {
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

// Products to scores, times log2 e; -inf from column `count` on. A tile of biases has that already: `upper` and `lower` are where this lane
// begins in its two rows.
template <int N, bool BIASED>
__device__ __forceinline__ void scores(float c[N][4], float scale, const float* upper, const float* lower, int count) {
#pragma unroll
    for (int j = 0; j < N; j++) {
        float2 a = make_float2(0.0f, 0.0f), b = a;
        if (BIASED) {
            a = *(const float2*)(upper + 8 * j);
            b = *(const float2*)(lower + 8 * j);
        }
        c[j][0] = c[j][0] * scale + a.x;
        c[j][1] = c[j][1] * scale + a.y;
        c[j][2] = c[j][2] * scale + b.x;
        c[j][3] = c[j][3] * scale + b.y;
    }
    if (BIASED || count >= 8 * N) return;
    int t = threadIdx.x & 3;
#pragma unroll
    for (int j = 0; j < N; j++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            if (8 * j + 2 * t + e % 2 >= count) c[j][e] = -infinity();
        }
    }
}

// The rows of a tile of keys, and of values, that is N times eight keys wide: products over keys take 16 at a time.
template <int N> struct Keys {
    static const int ROWS = (N + 1) / 2 * 16;
};

// The result ---------------------------------------------------------------------------------------------------------------------

// A block has 16 rows for each of its warps, up to seven, and walks the keys tile by tile; a row's weights stay in one warp. A warp that
// has no rows goes through the motions on zeros: there are few, and a branch around them costs all others registers.
//
// KEEP says that rows leave the logarithms of their sums in `states`: the gradients would need both products again to find them.
//
// ONE says that there is one tile of keys. Windows of one block and one tile that share a bias come in runs: block i has the matrices
// `order[runs[i]]` up to `order[runs[i + 1]]`, and reads the bias once. Else `order` is null.
template <class Bias, class Out, int DEPTH, int N, bool ONE, bool KEEP>
__device__ __forceinline__ void attention_forward(const Inputs<bf16, bf16, bf16, Bias>& in, const Matrices<Out>& out, const u32* order,
                                                  const u32* runs, RowState* states) {
    EXTERN_SHARED(Four, memory);
    u32* keys = (u32*)memory;
    u32* values = keys + Keys<N>::ROWS * Tile<DEPTH>::ROW;
    float* biases = (float*)(values + Keys<N>::ROWS / 2 * Tile<DEPTH>::PAIR);
    const Sizes sizes = in.sizes;
    int height = blockDim.x >> 1, blocks = (sizes.queries + height - 1) / height;
    u32 member = order ? runs[blockIdx.x] : blockIdx.x / blocks, end = order ? runs[blockIdx.x + 1] : member + 1;
    int first = order ? 0 : blockIdx.x % blocks * height, own = threadIdx.x >> 5 << 4, g = (threadIdx.x & 31) >> 2;
    int rows = min(height, sizes.queries - first);
    const float* upper = biases + min(own + g, rows - 1) * BIAS_ROW + 2 * (threadIdx.x & 3);
    const float* lower = biases + min(own + g + 8, rows - 1) * BIAS_ROW + 2 * (threadIdx.x & 3);

    for (bool fresh = true; member < end; member++, fresh = false) {
        u32 matrix = order ? order[member] : member, q[DEPTH / 16][4];
        fragments<DEPTH>(q, rows_of(in.q, matrix, sizes.queries, sizes.width), first + own);
        Rows<bf16> k = rows_of(in.k, matrix, sizes.keys, sizes.width);
        Rows<bf16> v = rows_of(in.v, matrix, sizes.keys, sizes.value_width);
        float sum[DEPTH / 8][4] = {}, largest[2] = {-infinity(), -infinity()}, total[2] = {0.0f, 0.0f};
        for (int at = 0; at < (ONE ? 1 : sizes.keys); at += 8 * N) {
            int count = min(8 * N, sizes.keys - at);
            __syncthreads();
            stage<DEPTH, Keys<N>::ROWS>(k.part(at, count), keys, nullptr, v.part(at, count), nullptr, values);
            if (Exists<Bias>::IS && fresh) {
                stage_bias<64>(biases, BIAS_ROW, in.bias.at(matrix) + (first * in.bias.stride + at), in.bias.stride, rows, count, 64);
            }
            __syncthreads();

            float p[N][4];
            products<DEPTH, N>(p, q, keys);
            scores<N, Exists<Bias>::IS>(p, in.scale * LOG2_E, upper, lower, count);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float now = largest[half];
#pragma unroll
                for (int j = 0; j < N; j++) now = fmaxf(now, fmaxf(p[j][2 * half], p[j][2 * half + 1]));
                now = row_max(now);
                float less = finite(now), shrink = power_of_two(largest[half] - less);
                largest[half] = now;
                if (!ONE) total[half] *= shrink;
#pragma unroll
                for (int j = 0; j < N; j++) {
#pragma unroll
                    for (int e = 2 * half; e < 2 * half + 2; e++) {
                        p[j][e] = power_of_two(p[j][e] - less);
                        total[half] += p[j][e];
                    }
                }
#pragma unroll
                for (int j = 0; j < (ONE ? 0 : DEPTH / 8); j++) {
                    sum[j][2 * half] *= shrink;
                    sum[j][2 * half + 1] *= shrink;
                }
            }
#pragma unroll
            for (int s = 0; s < (N + 1) / 2; s++) {
                u32 a[4];
                factor<N>(a, p, s);
                contract<DEPTH>(sum, a, values + 8 * s * Tile<DEPTH>::PAIR);
            }
        }
        float inverse[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float all = row_sum(total[half]);
            inverse[half] = __fdividef(1.0f, all);
            int row = first + own + g + 8 * half;
            if (KEEP && (threadIdx.x & 3) == 0 && row < sizes.queries) {
                states[(u64)matrix * sizes.queries + row].log_sum = (finite(largest[half]) + __log2f(all)) * LN_2;
            }
        }
        put_rows<DEPTH>(out.at(matrix), out.stride, first + own, sizes.queries, sizes.value_width, sum, inverse[0], inverse[1]);
    }
}
// A tile has 8N keys. WARPS is the most that blocks have: 4 or 7.
#define ATTENTION_FORWARD(name, Bias, Out, DEPTH, N, ONE, WARPS, KEEP) \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, DEPTH == 32 ? 20 / WARPS : DEPTH == 64 ? 14 / WARPS : 7 / WARPS) \
    name(INPUTS(bf16, bf16, bf16, Bias), MATRICES(Out, out), const u32* order, const u32* runs, RowState* states) { \
        attention_forward<Bias, Out, DEPTH, N, ONE, KEEP>(GIVEN_INPUTS(bf16, bf16, bf16, Bias), GIVEN(Out, out), order, runs, states); \
    }
