// Attention and its gradients in f32, for factors of any element and matrices of any size.
//
// 256 threads work on 64 queries and 64 keys. Thread (ty, tx) of 16 x 16 has the scores of queries 4 ty + i and keys tx + 16 j, and of
// a result's columns 64 at a time rows 4 ty + i and columns 4 tx + c. Wider results take more blocks, each of which computes the scores
// anew.

// Distances of rows in shared memory: 32 or 64 columns and four more, so that neighbouring rows begin in other banks.
#define NARROW_ROW 36
#define WIDE_ROW 68

// Two narrow tiles, or a wide one; and weights.
#define EXACT_MEMORY \
    __shared__ Four tile_factors[2 * 64 * NARROW_ROW / 4], tile_weights[64 * WIDE_ROW / 4]; \
    float *factors = (float*)tile_factors, *weights = (float*)tile_weights

// 64 rows, COLUMNS of them from `at` on; zeros beyond the `rows` and the width.
template <int COLUMNS, class T>
__device__ __forceinline__ void stage_exact(float* to, const T* from, int stride, int rows, int at, int width, int aligned) {
#pragma unroll 1
    for (int i = threadIdx.x; i < 64 * COLUMNS / 4; i += 256) {
        int row = i / (COLUMNS / 4), column = i % (COLUMNS / 4) * 4, left = row < rows ? width - at - column : 0;
        const T* p = from + (u64)row * stride + at + column;
        Four f = {{0.0f, 0.0f, 0.0f, 0.0f}};
        if (aligned && left >= 4) {
            f = load4(p);
        } else {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                if (e < left) f.x[e] = widen(p[e]);
            }
        }
        store4(to + row * (COLUMNS + 4) + column, f);
    }
}

// s[i][j] = a's row 4 ty + i times b's row tx + 16 j. Begins and ends with every thread at its own pace.
template <class A, class B>
__device__ __forceinline__ void exact_products(float s[4][4], const A* a, int a_stride, int a_rows, const B* b, int b_stride, int b_rows,
                                               int width, int aligned, float* factors) {
    int ty = threadIdx.x >> 4, tx = threadIdx.x & 15;
    float* right = factors + 64 * NARROW_ROW;
#pragma unroll
    for (int i = 0; i < 4; i++) s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0.0f;
    for (int at = 0; at < width; at += 32) {
        __syncthreads();
        stage_exact<32>(factors, a, a_stride, a_rows, at, width, aligned);
        stage_exact<32>(right, b, b_stride, b_rows, at, width, aligned);
        __syncthreads();
        // A warp has eight rows.
        if (4 * (ty & ~1) >= a_rows) continue;
        int columns = min(32, width - at);
#pragma unroll 1
        for (int c = 0; c < columns; c += 4) {
            Four x[4];
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = load4(factors + (4 * ty + i) * NARROW_ROW + c);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (16 * j >= b_rows) continue;
                Four y = load4(right + (tx + 16 * j) * NARROW_ROW + c);
#pragma unroll
                for (int i = 0; i < 4; i++) {
#pragma unroll
                    for (int e = 0; e < 4; e++) s[i][j] += x[i].x[e] * y.x[e];
                }
            }
        }
    }
}

__device__ __forceinline__ void put_weights(float* weights, const float s[4][4]) {
    int ty = threadIdx.x >> 4, tx = threadIdx.x & 15;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) weights[(4 * ty + i) * WIDE_ROW + tx + 16 * j] = s[i][j];
    }
}

// sum[i][c] += the weights' row 4 ty + i, or with TRANSPOSED their column 4 ty + i, times column 4 tx + c of the wide tile: a sum of
// `count` products, for as many `rows` as there are.
template <bool TRANSPOSED>
__device__ __forceinline__ void exact_contract(float sum[4][4], const float* weights, const float* right, int count, int rows) {
    int ty = threadIdx.x >> 4, tx = threadIdx.x & 15;
    if (4 * (ty & ~1) >= rows) return;
#pragma unroll 1
    for (int k = 0; k < count; k += 4) {
        Four w[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            w[i] = load4(weights + (TRANSPOSED ? (k + i) * WIDE_ROW + 4 * ty : (4 * ty + i) * WIDE_ROW + k));
        }
#pragma unroll
        for (int e = 0; e < 4; e++) {
            Four y = load4(right + (k + e) * WIDE_ROW + 4 * tx);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x = TRANSPOSED ? w[e].x[i] : w[i].x[e];
#pragma unroll
                for (int c = 0; c < 4; c++) sum[i][c] += x * y.x[c];
            }
        }
    }
}

template <class T>
__device__ __forceinline__ void put_exact(T* to, int stride, int rows, int at, int width, int aligned, const float sum[4][4],
                                          const float factors[4]) {
    int ty = threadIdx.x >> 4, tx = threadIdx.x & 15, column = at + 4 * tx;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (4 * ty + i >= rows) continue;
        T* p = to + (u64)(4 * ty + i) * stride + column;
        if (aligned && column + 4 <= width) {
            store4(p, Four{{sum[i][0] * factors[i], sum[i][1] * factors[i], sum[i][2] * factors[i], sum[i][3] * factors[i]}});
            continue;
        }
#pragma unroll
        for (int c = 0; c < 4; c++) {
            if (column + c < width) p[c] = narrow<T>(sum[i][c] * factors[i]);
        }
    }
}

// Over the 16 threads that share rows.
__device__ __forceinline__ float exact_sum(float v) {
#pragma unroll
    for (int o = 8; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}
__device__ __forceinline__ float exact_max(float v) {
#pragma unroll
    for (int o = 8; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

// A block's queries and one tile of its keys.
template <class Q, class K, class V, class Bias>
__device__ __forceinline__ void exact_scores(float s[4][4], const Inputs<Q, K, V, Bias>& in, u32 matrix, int query, int key,
                                             float* factors) {
    const Sizes& sizes = in.sizes;
    int ty = threadIdx.x >> 4, tx = threadIdx.x & 15, queries = sizes.queries - query, keys = sizes.keys - key;
    exact_products(s, in.q.at(matrix) + (u64)query * in.q.stride, in.q.stride, queries, in.k.at(matrix) + (u64)key * in.k.stride,
                   in.k.stride, keys, sizes.width, sizes.aligned, factors);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const Bias* bias = nullptr;
        if (Exists<Bias>::IS && 4 * ty + i < queries) bias = in.bias.at(matrix) + (u64)(query + 4 * ty + i) * in.bias.stride + key;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int at = tx + 16 * j;
            s[i][j] = at < keys ? s[i][j] * in.scale + (bias ? widen(bias[at]) : 0.0f) : -infinity();
        }
    }
}

// The result: blocks of 64 queries of each matrix by 64 columns.
template <class Q, class K, class V, class Bias, class Out>
__device__ __forceinline__ void exact_forward(const Inputs<Q, K, V, Bias>& in, const Matrices<Out>& out) {
    EXACT_MEMORY;
    const Sizes& sizes = in.sizes;
    int blocks = (sizes.queries + 63) / 64, query = blockIdx.x % blocks * 64, column = blockIdx.y * 64;
    u32 matrix = blockIdx.x / blocks;
    float s[4][4], sum[4][4] = {}, largest[4], total[4] = {};
#pragma unroll
    for (int i = 0; i < 4; i++) largest[i] = -infinity();
    for (int key = 0; key < sizes.keys; key += 64) {
        exact_scores(s, in, matrix, query, key, factors);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float now = exact_max(fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3])));
            now = fmaxf(now, largest[i]);
            float less = finite(now), shrink = expf(largest[i] - less);
            largest[i] = now;
            total[i] *= shrink;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                sum[i][j] *= shrink;
                s[i][j] = expf(s[i][j] - less);
                total[i] += s[i][j];
            }
        }
        put_weights(weights, s);
        __syncthreads();
        stage_exact<64>(factors, in.v.at(matrix) + (u64)key * in.v.stride, in.v.stride, sizes.keys - key, column, sizes.value_width,
                        sizes.aligned);
        __syncthreads();
        exact_contract<false>(sum, weights, factors, min(64, sizes.keys - key), sizes.queries - query);
    }
    float inverse[4];
#pragma unroll
    for (int i = 0; i < 4; i++) inverse[i] = 1.0f / exact_sum(total[i]);
    put_exact(out.at(matrix) + (u64)query * out.stride, out.stride, sizes.queries - query, column, sizes.value_width, sizes.aligned, sum,
              inverse);
}
#define EXACT_ATTENTION_FORWARD(name, Q, K, V, Bias, Out) \
    extern "C" __global__ void __launch_bounds__(256) name(INPUTS(Q, K, V, Bias), MATRICES(Out, out)) { \
        exact_forward(GIVEN_INPUTS(Q, K, V, Bias), GIVEN(Out, out)); \
    }

// The weights' cotangents, of a block's queries and one tile of its keys.
template <class Q, class K, class V, class Bias, class Given>
__device__ __forceinline__ void exact_cotangents(float dp[4][4], const Inputs<Q, K, V, Bias>& in, const Matrices<const Given>& given,
                                                 u32 matrix, int query, int key, float* factors) {
    const Sizes& sizes = in.sizes;
    exact_products(dp, given.at(matrix) + (u64)query * given.stride, given.stride, sizes.queries - query,
                   in.v.at(matrix) + (u64)key * in.v.stride, in.v.stride, sizes.keys - key, sizes.value_width, sizes.aligned, factors);
}

// Weights and ds of what the last two gave; zeros for queries that there are not.
__device__ __forceinline__ void exact_weights(float s[4][4], float dp[4][4], const RowState* states, int queries) {
    int ty = threadIdx.x >> 4;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        bool there = 4 * ty + i < queries;
        RowState state = there ? states[4 * ty + i] : RowState{0.0f, 0.0f};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            s[i][j] = there ? expf(s[i][j] - state.log_sum) : 0.0f;
            dp[i][j] = s[i][j] * (dp[i][j] - state.mean);
        }
    }
}

// Adds up ds of one tile of scores, for the gradient of the bias.
__device__ __forceinline__ void put_bias_sum(float* to, const float sum[4][4], int query, int key, const Sizes& sizes) {
    int ty = threadIdx.x >> 4, tx = threadIdx.x & 15;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int row = query + 4 * ty + i;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int column = key + tx + 16 * j;
            if (row < sizes.queries && column < sizes.keys) to[(u64)row * sizes.keys + column] = sum[i][j];
        }
    }
}

// dq, blocks as for the result; and the rows' states. Matrices of one tile whose bias wants its gradient come in runs: block i has the
// matrices `order[runs[i]]` up to `order[runs[i + 1]]`, and leaves the sum of their ds in `sums[i]`. Else `order` is null.
template <class Q, class K, class V, class Bias, class Given, class Dq>
__device__ __forceinline__ void exact_query_gradient(const Inputs<Q, K, V, Bias>& in, const Matrices<const Given>& given,
                                                     const Matrices<Dq>& dq, RowState* states, const u32* order, const u32* runs,
                                                     float* sums) {
    EXACT_MEMORY;
    const Sizes& sizes = in.sizes;
    int blocks = (sizes.queries + 63) / 64, query = order ? 0 : blockIdx.x % blocks * 64, column = blockIdx.y * 64;
    int ty = threadIdx.x >> 4;
    u32 member = order ? runs[blockIdx.x] : blockIdx.x / blocks, end = order ? runs[blockIdx.x + 1] : member + 1;
    float bias_sum[4][4] = {};
#pragma unroll 1
    for (; member < end; member++) {
        u32 matrix = order ? order[member] : member;
        float s[4][4], dp[4][4], sum[4][4] = {}, largest[4], total[4] = {}, mean[4] = {};
#pragma unroll
        for (int i = 0; i < 4; i++) largest[i] = -infinity();
        for (int key = 0; key < sizes.keys; key += 64) {
            exact_scores(s, in, matrix, query, key, factors);
            exact_cotangents(dp, in, given, matrix, query, key, factors);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float now = exact_max(fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3])));
                now = fmaxf(now, largest[i]);
                float less = finite(now), shrink = expf(largest[i] - less);
                largest[i] = now;
                total[i] *= shrink;
                mean[i] *= shrink;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    float weight = expf(s[i][j] - less);
                    total[i] += weight;
                    mean[i] += weight * dp[i][j];
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            total[i] = exact_sum(total[i]);
            mean[i] = exact_sum(mean[i]) / total[i];
            largest[i] = finite(largest[i]);
            total[i] = 1.0f / total[i];
            if (blockIdx.y == 0 && (threadIdx.x & 15) == 0 && 4 * ty + i < sizes.queries - query) {
                states[(u64)matrix * sizes.queries + query + 4 * ty + i] = RowState{largest[i] - logf(total[i]), mean[i]};
            }
        }
        if (!dq.data && !order) return;
        for (int key = 0; key < sizes.keys; key += 64) {
            // The products of a single tile are still there.
            if (sizes.keys > 64) {
                exact_scores(s, in, matrix, query, key, factors);
                exact_cotangents(dp, in, given, matrix, query, key, factors);
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    s[i][j] = expf(s[i][j] - largest[i]) * total[i] * (dp[i][j] - mean[i]);
                    bias_sum[i][j] += s[i][j];
                }
            }
            put_weights(weights, s);
            __syncthreads();
            stage_exact<64>(factors, in.k.at(matrix) + (u64)key * in.k.stride, in.k.stride, sizes.keys - key, column, sizes.width,
                            sizes.aligned);
            __syncthreads();
            exact_contract<false>(sum, weights, factors, min(64, sizes.keys - key), sizes.queries - query);
        }
        float scales[4] = {in.scale, in.scale, in.scale, in.scale};
        if (dq.data) {
            put_exact(dq.at(matrix) + (u64)query * dq.stride, dq.stride, sizes.queries - query, column, sizes.width, sizes.aligned, sum,
                      scales);
        }
    }
    if (order && blockIdx.y == 0) put_bias_sum(sums + (u64)blockIdx.x * sizes.queries * sizes.keys, bias_sum, 0, 0, sizes);
}
#define EXACT_ATTENTION_QUERY_GRADIENT(name, Q, K, V, Bias, Given, Dq) \
    extern "C" __global__ void __launch_bounds__(256) \
    name(INPUTS(Q, K, V, Bias), MATRICES(const Given, given), MATRICES(Dq, dq), RowState* states, const u32* order, const u32* runs, \
         float* sums) { \
        exact_query_gradient(GIVEN_INPUTS(Q, K, V, Bias), GIVEN(const Given, given), GIVEN(Dq, dq), states, order, runs, sums); \
    }

// dk and dv: blocks of 64 keys of each matrix by 64 columns of both.
template <class Q, class K, class V, class Bias, class Given, class Dk, class Dv>
__device__ __forceinline__ void exact_key_gradient(const Inputs<Q, K, V, Bias>& in, const Matrices<const Given>& given,
                                                   const Matrices<Dk>& dk, const Matrices<Dv>& dv, const RowState* states) {
    EXACT_MEMORY;
    const Sizes& sizes = in.sizes;
    int blocks = (sizes.keys + 63) / 64, key = blockIdx.x % blocks * 64, column = blockIdx.y * 64;
    u32 matrix = blockIdx.x / blocks;
    states += (u64)matrix * sizes.queries;
    float s[4][4], dp[4][4], key_sum[4][4] = {}, value_sum[4][4] = {};
    for (int query = 0; query < sizes.queries; query += 64) {
        int left = sizes.queries - query;
        exact_scores(s, in, matrix, query, key, factors);
        exact_cotangents(dp, in, given, matrix, query, key, factors);
        exact_weights(s, dp, states + query, left);
        if (dv.data && column < sizes.value_width) {
            put_weights(weights, s);
            __syncthreads();
            stage_exact<64>(factors, given.at(matrix) + (u64)query * given.stride, given.stride, left, column, sizes.value_width,
                            sizes.aligned);
            __syncthreads();
            exact_contract<true>(value_sum, weights, factors, min(64, left), sizes.keys - key);
            __syncthreads();
        }
        if (dk.data && column < sizes.width) {
            put_weights(weights, dp);
            __syncthreads();
            stage_exact<64>(factors, in.q.at(matrix) + (u64)query * in.q.stride, in.q.stride, left, column, sizes.width, sizes.aligned);
            __syncthreads();
            exact_contract<true>(key_sum, weights, factors, min(64, left), sizes.keys - key);
        }
    }
    float scales[4] = {in.scale, in.scale, in.scale, in.scale}, ones[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    int keys = sizes.keys - key;
    if (dk.data) put_exact(dk.at(matrix) + (u64)key * dk.stride, dk.stride, keys, column, sizes.width, sizes.aligned, key_sum, scales);
    if (!dv.data) return;
    put_exact(dv.at(matrix) + (u64)key * dv.stride, dv.stride, keys, column, sizes.value_width, sizes.aligned, value_sum, ones);
}
#define EXACT_ATTENTION_KEY_GRADIENT(name, Q, K, V, Bias, Given, Dk, Dv) \
    extern "C" __global__ void __launch_bounds__(256) \
    name(INPUTS(Q, K, V, Bias), MATRICES(const Given, given), MATRICES(Dk, dk), MATRICES(Dv, dv), const RowState* states) { \
        exact_key_gradient(GIVEN_INPUTS(Q, K, V, Bias), GIVEN(const Given, given), GIVEN(Dk, dk), GIVEN(Dv, dv), states); \
    }
