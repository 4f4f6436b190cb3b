// The gradient of attention's bias: sums of ds over the matrices that share a bias. Each run of such matrices leaves a sum, in the order
// of its members; runs are then added in theirs.

// Run i has the matrices `order[runs[i]]` up to `order[runs[i + 1]]`, and a block for each 64 queries and 64 keys.
template <class Q, class K, class V, class Bias, class Given>
__device__ __forceinline__ void bias_gradient(const Inputs<Q, K, V, Bias>& in, const Matrices<const Given>& given, const RowState* states,
                                              const u32* order, const u32* runs, float* sums) {
    EXACT_MEMORY;
    (void)weights;
    const Sizes& sizes = in.sizes;
    u32 down = (sizes.queries + 63) / 64, across = (sizes.keys + 63) / 64, run = blockIdx.x / (down * across);
    int query = blockIdx.x / across % down * 64, key = blockIdx.x % across * 64;
    float sum[4][4] = {};
    for (u32 at = runs[run]; at < runs[run + 1]; at++) {
        u32 matrix = order[at];
        float s[4][4], dp[4][4];
        exact_scores(s, in, matrix, query, key, factors);
        exact_cotangents(dp, in, given, matrix, query, key, factors);
        exact_weights(s, dp, states + (u64)matrix * sizes.queries + query, sizes.queries - query);
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) sum[i][j] += dp[i][j];
        }
    }
    put_bias_sum(sums + (u64)run * sizes.queries * sizes.keys, sum, query, key, sizes);
}
#define ATTENTION_BIAS_GRADIENT(name, Q, K, V, Bias, Given) \
    extern "C" __global__ void __launch_bounds__(256) name(INPUTS(Q, K, V, Bias), MATRICES(const Given, given), const RowState* states, \
                                                           const u32* order, const u32* runs, float* sums) { \
        bias_gradient(GIVEN_INPUTS(Q, K, V, Bias), GIVEN(const Given, given), states, order, runs, sums); \
    }

// Matrix i is the sum of the runs `members[groups[i]]` up to `members[groups[i + 1]]`. A block has 32 elements, and eight threads for each,
// which take every eighth member.
template <class Out>
__device__ __forceinline__ void add_runs(const float* sums, const u32* members, const u32* groups, const Matrices<Out>& out, int columns,
                                         int elements) {
    __shared__ float parts[8][32];
    int lane = threadIdx.x & 31, part = threadIdx.x >> 5;
    u32 blocks = (elements + 31) / 32, matrix = blockIdx.x / blocks;
    int element = blockIdx.x % blocks * 32 + lane;
    float sum = 0.0f;
    if (element < elements) {
#pragma unroll 8
        for (u32 at = groups[matrix] + part; at < groups[matrix + 1]; at += 8) sum += sums[(u64)members[at] * elements + element];
    }
    parts[part][lane] = sum;
    __syncthreads();
    if (part > 0 || element >= elements) return;
#pragma unroll
    for (int i = 1; i < 8; i++) sum += parts[i][lane];
    out.at(matrix)[(u64)(element / columns) * out.stride + element % columns] = narrow<Out>(sum);
}
#define ATTENTION_ADD_RUNS(name, Out) \
    extern "C" __global__ void __launch_bounds__(256) \
    name(const float* sums, const u32* members, const u32* groups, MATRICES(Out, out), int columns, int elements) { \
        add_runs(sums, members, groups, GIVEN(Out, out), columns, elements); \
    }
