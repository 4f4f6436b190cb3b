// Gradients of attention on tensor cores. With p the weights and o' the cotangent of the result:
//     dv = p^T o',   dp = o' v^T,   ds = p (dp - sum over the row of p dp),   dq = scale ds k,   dk = scale ds^T q,   dbias = ds.
//
// Two passes, each of which computes the scores anew: one over blocks of queries, which gives dq and two numbers for each row, and one
// over blocks of keys, which gives dk and dv. The first goes over the keys twice, as it needs the two numbers itself; once where the result
// kept the logarithms of its sums, since the sum of p dp is that of o' and the result. No sum is shared between warps, so its order is
// always the same. A window small enough for one tile goes through both in one block, so that it is read from far away once.

template <class F, class Bias, class Given> struct Backward {
    Scored<F, Bias> in;
    Matrices<const Given> given;
    RowState* states;

    typedef Rows<F, typename Factor<F>::Stored> Own;
    __device__ __forceinline__ Own q(u32 matrix) const { return rows_of<F>(in.q, matrix, in.sizes.queries, in.sizes.width); }
    __device__ __forceinline__ Own k(u32 matrix) const { return rows_of<F>(in.k, matrix, in.sizes.keys, in.sizes.width); }
    __device__ __forceinline__ Own v(u32 matrix) const { return rows_of<F>(in.v, matrix, in.sizes.keys, in.sizes.value_width); }
    __device__ __forceinline__ Rows<F, Given> o(u32 matrix) const {
        return rows_of<F>(given, matrix, in.sizes.queries, in.sizes.value_width);
    }
};

// Words of shared memory that a pass uses for its tiles.
template <class F, int DEPTH, int N> struct PassWords {
    static const int QUERIES = 2 * Keys<F, N>::ROWS * Tile<F, DEPTH>::ROW + Keys<F, N>::LINES * Tile<F, DEPTH>::LINE;
    static const int KEYS = 64 * Tile<F, DEPTH>::ROW + 64 / Factor<F>::NUMBERS * Tile<F, DEPTH>::LINE;
    static const int BOTH = QUERIES > KEYS ? QUERIES : KEYS;
};

// The product of what two words have.
template <class F> __device__ __forceinline__ float multiplied(u32 a, u32 b) {
    if constexpr (Factor<F>::NUMBERS == 2) {
        return low_half(a) * low_half(b) + high_half(a) * high_half(b);
    } else {
        return __uint_as_float(a) * __uint_as_float(b);
    }
}

// Words from one row of a window's sums to the next.
__device__ __forceinline__ int sums_row(int columns) { return columns <= 56 ? 56 : 72; }

// dq and the states of a block's rows from `first` on, 16 a warp. ONE says that there is one tile of keys, whose products are kept,
// whose biases are in shared memory already, and whose ds are added to `bias_sums`.
// An Out says that the states have their logarithms, and what the result is.
template <int DEPTH, int N, bool ONE, class F, class Bias, class Given, class Out, class Dq>
__device__ __forceinline__ void query_pass(const Backward<F, Bias, Given>& x, const Matrices<const Out>& result, const Matrices<Dq>& dq,
                                           u32 matrix, int first, u32* tiles, float* biases, float* bias_sums, RowState* states) {
    constexpr bool KNOWN = Exists<Out>::IS;
    const int ROWS = Keys<F, N>::ROWS, ROW = Tile<F, DEPTH>::ROW, LINE = Tile<F, DEPTH>::LINE;
    u32 *k_rows = tiles, *v_rows = k_rows + ROWS * ROW, *k_lines = v_rows + ROWS * ROW;
    const Sizes& sizes = x.in.sizes;
    int own = threadIdx.x >> 5 << 4, g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    int rows = min((int)blockDim.x >> 1, sizes.queries - first);
    const float* upper = biases + min(own + g, rows - 1) * BIAS_ROW + 2 * t;
    const float* lower = biases + min(own + g + 8, rows - 1) * BIAS_ROW + 2 * t;

    Left<F, DEPTH> q, o;
    fragments(o, x.o(matrix), first + own);
    float p[N][4], dp[N][4], largest[2] = {-infinity(), -infinity()}, total[2] = {0.0f, 0.0f}, mean[2] = {0.0f, 0.0f};
    float sum[DEPTH / 8][4] = {};
    if constexpr (KNOWN) {
        Left<F, DEPTH> r;
        fragments(r, rows_of<F>(result, matrix, sizes.queries, sizes.value_width), first + own);
#pragma unroll
        for (int i = 0; i < Tile<F, DEPTH>::WORDS / 8; i++) {
#pragma unroll
            for (int w = 0; w < 4; w++) mean[w % 2] += multiplied<F>(o.x[i][w], r.x[i][w]);
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            mean[half] = row_sum(mean[half]);
            int row = own + g + 8 * half;
            bool there = first + row < sizes.queries;
            // Beyond the last row, weights of zero.
            total[half] = there ? states[row].log_sum * LOG2_E : infinity();
            if (t == 0 && there) states[row].mean = mean[half];
        }
    }
    fragments(q, x.q(matrix), first + own);
#pragma unroll
    for (int sweep = KNOWN ? 1 : 0; sweep < 2; sweep++) {
        for (int at = 0; at < (ONE ? 1 : sizes.keys); at += 8 * N) {
            int count = min(8 * N, sizes.keys - at);
            if (!ONE || sweep == 0) {
                __syncthreads();
                u32* lines = sweep || ONE ? k_lines : nullptr;
                stage<F, DEPTH, ROWS>(x.k(matrix).part(at, count), k_rows, lines, x.v(matrix).part(at, count), v_rows, nullptr);
                if (!ONE && Exists<Bias>::IS) {
                    const Bias* bias = x.in.bias.at(matrix) + (first * x.in.bias.stride + at);
                    stage_bias<64>(biases, BIAS_ROW, bias, x.in.bias.stride, rows, count, 64);
                }
                __syncthreads();
                products<F, DEPTH, N>(p, q, k_rows);
                products<F, DEPTH, N>(dp, o, v_rows);
                scores<N, Exists<Bias>::IS>(p, x.in.scale * LOG2_E, upper, lower, count);
            }
            if (sweep == 0) {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float shrink, less = raise<N>(largest[half], shrink, p, half);
                    if (!ONE) total[half] *= shrink;
                    if (!ONE) mean[half] *= shrink;
#pragma unroll
                    for (int j = 0; j < N; j++) {
#pragma unroll
                        for (int e = 2 * half; e < 2 * half + 2; e++) {
                            float weight = power_of_two(p[j][e] - less);
                            total[half] += weight;
                            mean[half] += weight * dp[j][e];
                            if (ONE) p[j][e] = weight;
                        }
                    }
                }
                continue;
            }
#pragma unroll
            for (int s = 0; s < Steps<F, N>::COUNT; s++) {
                constexpr int PARTS = Factor<F>::NUMBERS;
#pragma unroll
                for (int j = PARTS * s; j < min(PARTS * (s + 1), N); j++) {
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        float weight = ONE ? p[j][e] * total[e / 2] : power_of_two(p[j][e] - total[e / 2]);
                        p[j][e] = weight * (dp[j][e] - mean[e / 2]);
                    }
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        int row = own + g + 8 * half;
                        if (ONE && bias_sums && row < rows) {
                            float2* to = (float2*)(bias_sums + row * sums_row(sizes.keys) + 8 * j + 2 * t);
                            float2 before = *to;
                            *to = make_float2(before.x + p[j][2 * half], before.y + p[j][2 * half + 1]);
                        }
                    }
                }
                u32 a[4];
                factor<F, N>(a, p, s);
                contract<F, DEPTH>(sum, a, k_lines + 8 * s * LINE);
            }
        }
        if (sweep == 0) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                total[half] = row_sum(total[half]);
                mean[half] = __fdividef(row_sum(mean[half]), total[half]);
                float log_sum = finite(largest[half]) + __log2f(total[half]);
                int row = own + g + 8 * half;
                if (t == 0 && row < rows) states[row] = RowState{log_sum * LN_2, mean[half]};
                // From here on what turns exponentials, or scores, to weights.
                total[half] = ONE ? __fdividef(1.0f, total[half]) : log_sum;
            }
        }
    }
    if (!dq.data) return;
    put_rows<DEPTH>(dq.at(matrix), dq.stride, first + own, sizes.queries, sizes.width, sum, x.in.scale, x.in.scale);
}

// dk and dv of a block's keys from `first` on, 16 a warp. With ONE, biases are in shared memory already.
template <int DEPTH, bool ONE, class F, class Bias, class Given, class Dk, class Dv>
__device__ __forceinline__ void key_pass(const Backward<F, Bias, Given>& x, const Matrices<Dk>& dk, const Matrices<Dv>& dv, u32 matrix,
                                         int first, u32* tiles, float* biases, const RowState* states) {
    const int NUMBERS = Factor<F>::NUMBERS, ROW = Tile<F, DEPTH>::ROW, LINE = Tile<F, DEPTH>::LINE;
    u32 *q_rows = tiles, *o_rows = q_rows + 32 * ROW, *q_lines = o_rows + 32 * ROW, *o_lines = q_lines + 32 / NUMBERS * LINE;
    const Sizes& sizes = x.in.sizes;
    int own = threadIdx.x >> 5 << 4, g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    int columns = min((int)blockDim.x >> 1, sizes.keys - first);
    int stride = ONE ? BIAS_ROW : (blockDim.x >> 1) + 8;
    float scale = x.in.scale * LOG2_E;

    Left<F, DEPTH> k, v;
    fragments(k, x.k(matrix), first + own);
    fragments(v, x.v(matrix), first + own);
    float key_sum[DEPTH / 8][4] = {}, value_sum[DEPTH / 8][4] = {};
    for (int at = 0; at < sizes.queries; at += 32) {
        int count = min(32, sizes.queries - at);
        __syncthreads();
        stage<F, DEPTH, 32>(x.q(matrix).part(at, count), q_rows, q_lines, x.o(matrix).part(at, count), o_rows, o_lines);
        if (!ONE && Exists<Bias>::IS) {
            const Bias* from = x.in.bias.at(matrix) + (at * x.in.bias.stride + first);
            stage_bias<128>(biases, stride, from, x.in.bias.stride, count, columns, columns);
        }
        __syncthreads();
        const float* bias = ONE ? biases + at * stride : biases;
#pragma unroll 1
        for (int from = 0; from < count; from += 16) {
            // Transposed: a lane has two rows of keys, and of the queries columns 2t and 2t + 1 of eight.
            float p[2][4], ds[2][4];
            products<F, DEPTH, 2>(p, k, q_rows + from * ROW);
            products<F, DEPTH, 2>(ds, v, o_rows + from * ROW);
#pragma unroll
            for (int j = 0; j < 2; j++) {
#pragma unroll
                for (int side = 0; side < 2; side++) {
                    int query = from + 8 * j + 2 * t + side;
                    // Beyond the last, weights of zero.
                    RowState state = query < count ? states[at + query] : RowState{infinity(), 0.0f};
                    float log_sum = state.log_sum * LOG2_E;
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        int key = own + g + 8 * half, e = 2 * half + side;
                        float b = Exists<Bias>::IS && query < count && key < columns ? bias[query * stride + key] : 0.0f;
                        float weight = power_of_two(p[j][e] * scale + b - log_sum);
                        p[j][e] = weight;
                        ds[j][e] = weight * (ds[j][e] - state.mean);
                    }
                }
            }
#pragma unroll
            for (int s = 0; s < Steps<F, 2>::COUNT; s++) {
                u32 a[4];
                int line = (from / NUMBERS + 8 * s) * LINE;
                factor<F, 2>(a, p, s);
                contract<F, DEPTH>(value_sum, a, o_lines + line);
                factor<F, 2>(a, ds, s);
                contract<F, DEPTH>(key_sum, a, q_lines + line);
            }
        }
    }
    if (dk.data) put_rows<DEPTH>(dk.at(matrix), dk.stride, first + own, sizes.keys, sizes.width, key_sum, x.in.scale, x.in.scale);
    if (dv.data) put_rows<DEPTH>(dv.at(matrix), dv.stride, first + own, sizes.keys, sizes.value_width, value_sum, 1.0f, 1.0f);
}

// Small windows, both passes. Block i takes the matrices `order[runs[i]]` up to `order[runs[i + 1]]`, which share a bias, and leaves
// the sum of their ds in `sums[i]`; without an order, matrix i.
template <int DEPTH, int N, class F, class Bias, class Given, class Dq, class Dk, class Dv>
__device__ __forceinline__ void attention_window_backward(const Backward<F, Bias, Given>& x, const Matrices<Dq>& dq, const Matrices<Dk>& dk,
                                                          const Matrices<Dv>& dv, const u32* order, const u32* runs, float* sums) {
    EXTERN_SHARED(Four, memory);
    RowState* states = (RowState*)memory;
    u32* tiles = (u32*)(states + 64);
    float* biases = (float*)(tiles + PassWords<F, DEPTH, N>::BOTH);
    const Sizes& sizes = x.in.sizes;
    int stride = sums_row(sizes.keys), area = sizes.queries * stride;
    u32 at = order ? runs[blockIdx.x] : blockIdx.x, end = order ? runs[blockIdx.x + 1] : at + 1;
    float* bias_sums = sums ? biases + (Exists<Bias>::IS ? sizes.queries * BIAS_ROW : 0) : nullptr;
    if (Exists<Bias>::IS) {
        const Bias* bias = x.in.bias.at(order ? order[at] : at);
        stage_bias<64>(biases, BIAS_ROW, bias, x.in.bias.stride, sizes.queries, sizes.keys, 64);
    }
    if (sums) {
        for (int i = threadIdx.x; i < area; i += blockDim.x) bias_sums[i] = 0.0f;
    }
    for (; at < end; at++) {
        u32 matrix = order ? order[at] : at;
        query_pass<DEPTH, N, true>(x, Matrices<const None>{nullptr, nullptr, 0}, dq, matrix, 0, tiles, biases, bias_sums, states);
        if (dk.data || dv.data) key_pass<DEPTH, true>(x, dk, dv, matrix, 0, tiles, biases, states);
    }
    if (!sums) return;
    __syncthreads();
    float* to = sums + (u64)blockIdx.x * sizes.queries * sizes.keys;
    for (int i = threadIdx.x; i < sizes.queries * sizes.keys; i += blockDim.x) {
        to[i] = bias_sums[i / sizes.keys * stride + i % sizes.keys];
    }
}
#define ATTENTION_WINDOW_BACKWARD(name, F, Bias, Given, Dq, Dk, Dv, DEPTH, N) \
    extern "C" __global__ void __launch_bounds__(128, Tile<F, DEPTH>::WORDS == 16 ? 4 : 2) \
    name(SCORED(F, Bias), MATRICES(const Given, given), MATRICES(Dq, dq), MATRICES(Dk, dk), MATRICES(Dv, dv), \
         const u32* order, const u32* runs, float* sums) { \
        Backward<F, Bias, Given> x = {GIVEN_SCORED(F, Bias), GIVEN(const Given, given), nullptr}; \
        attention_window_backward<DEPTH, N>(x, GIVEN(Dq, dq), GIVEN(Dk, dk), GIVEN(Dv, dv), order, runs, sums); \
    }

template <int DEPTH, int N, class F, class Bias, class Given, class Out, class Dq>
__device__ __forceinline__ void attention_query_gradient(const Backward<F, Bias, Given>& x, const Matrices<const Out>& result,
                                                         const Matrices<Dq>& dq) {
    EXTERN_SHARED(Four, memory);
    u32* tiles = (u32*)memory;
    float* biases = (float*)(tiles + PassWords<F, DEPTH, N>::QUERIES);
    int queries = x.in.sizes.queries, height = blockDim.x >> 1, blocks = (queries + height - 1) / height;
    u32 matrix = blockIdx.x / blocks;
    int first = blockIdx.x % blocks * height;
    query_pass<DEPTH, N, false>(x, result, dq, matrix, first, tiles, biases, nullptr, x.states + (u64)matrix * queries + first);
}
#define ATTENTION_QUERY_GRADIENT(name, F, Bias, Given, Out, Dq, DEPTH, N) \
    extern "C" __global__ void __launch_bounds__(224, Tile<F, DEPTH>::WORDS <= 32 ? 2 : 1) \
    name(SCORED(F, Bias), MATRICES(const Given, given), MATRICES(const Out, result), MATRICES(Dq, dq), \
         RowState* states) { \
        Backward<F, Bias, Given> x = {GIVEN_SCORED(F, Bias), GIVEN(const Given, given), states}; \
        attention_query_gradient<DEPTH, N>(x, GIVEN(const Out, result), GIVEN(Dq, dq)); \
    }

template <int DEPTH, class F, class Bias, class Given, class Dk, class Dv>
__device__ __forceinline__ void attention_key_gradient(const Backward<F, Bias, Given>& x, const Matrices<Dk>& dk, const Matrices<Dv>& dv) {
    EXTERN_SHARED(Four, memory);
    u32* tiles = (u32*)memory;
    float* biases = (float*)(tiles + PassWords<F, DEPTH, 1>::KEYS);
    int keys = x.in.sizes.keys, height = blockDim.x >> 1, blocks = (keys + height - 1) / height;
    u32 matrix = blockIdx.x / blocks;
    key_pass<DEPTH, false>(x, dk, dv, matrix, blockIdx.x % blocks * height, tiles, biases, x.states + (u64)matrix * x.in.sizes.queries);
}
#define ATTENTION_KEY_GRADIENT(name, F, Bias, Given, Dk, Dv, DEPTH) \
    extern "C" __global__ void __launch_bounds__(224, Tile<F, DEPTH>::WORDS <= 32 ? 2 : 1) \
    name(SCORED(F, Bias), MATRICES(const Given, given), MATRICES(Dk, dk), MATRICES(Dv, dv), RowState* states) { \
        Backward<F, Bias, Given> x = {GIVEN_SCORED(F, Bias), GIVEN(const Given, given), states}; \
        attention_key_gradient<DEPTH>(x, GIVEN(Dk, dk), GIVEN(Dv, dv)); \
    }
