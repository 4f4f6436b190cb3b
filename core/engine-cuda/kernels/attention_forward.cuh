// The result of attention on tensor cores.
//
// A block has 16 rows for each of its warps, up to seven, and walks the keys tile by tile; a row's weights stay in one warp. A warp that
// has no rows goes through the motions on zeros: there are few, and a branch around them costs all others registers.
//
// KEEP says that rows leave the logarithms of their sums in `states`: the gradients would need both products again to find them.
//
// ONE says that there is one tile of keys. Windows of one block and one tile that share a bias come in runs: block i has the matrices
// `order[runs[i]]` up to `order[runs[i + 1]]`, and reads the bias once. Else `order` is null.
template <class F, class Bias, class Out, int DEPTH, int N, bool ONE, bool KEEP>
__device__ __forceinline__ void attention_forward(const Scored<F, Bias>& in, const Matrices<Out>& out, const u32* order, const u32* runs,
                                                  RowState* states) {
    EXTERN_SHARED(Four, memory);
    u32* keys = (u32*)memory;
    u32* values = keys + Keys<F, N>::ROWS * Tile<F, DEPTH>::ROW;
    float* biases = (float*)(values + Keys<F, N>::LINES * Tile<F, DEPTH>::LINE);
    const Sizes sizes = in.sizes;
    int height = blockDim.x >> 1, blocks = (sizes.queries + height - 1) / height;
    u32 member = order ? runs[blockIdx.x] : blockIdx.x / blocks, end = order ? runs[blockIdx.x + 1] : member + 1;
    int first = order ? 0 : blockIdx.x % blocks * height, own = threadIdx.x >> 5 << 4, g = (threadIdx.x & 31) >> 2;
    int rows = min(height, sizes.queries - first);
    const float* upper = biases + min(own + g, rows - 1) * BIAS_ROW + 2 * (threadIdx.x & 3);
    const float* lower = biases + min(own + g + 8, rows - 1) * BIAS_ROW + 2 * (threadIdx.x & 3);

    for (bool fresh = true; member < end; member++, fresh = false) {
        u32 matrix = order ? order[member] : member;
        Left<F, DEPTH> q;
        fragments(q, rows_of<F>(in.q, matrix, sizes.queries, sizes.width), first + own);
        auto k = rows_of<F>(in.k, matrix, sizes.keys, sizes.width), v = rows_of<F>(in.v, matrix, sizes.keys, sizes.value_width);
        float sum[DEPTH / 8][4] = {}, largest[2] = {-infinity(), -infinity()}, total[2] = {0.0f, 0.0f};
        for (int at = 0; at < (ONE ? 1 : sizes.keys); at += 8 * N) {
            int count = min(8 * N, sizes.keys - at);
            __syncthreads();
            stage<F, DEPTH, Keys<F, N>::ROWS>(k.part(at, count), keys, nullptr, v.part(at, count), nullptr, values);
            if (Exists<Bias>::IS && fresh) {
                stage_bias<64>(biases, BIAS_ROW, in.bias.at(matrix) + (first * in.bias.stride + at), in.bias.stride, rows, count, 64);
            }
            __syncthreads();

            float p[N][4];
            products<F, DEPTH, N>(p, q, keys);
            scores<N, Exists<Bias>::IS>(p, in.scale * LOG2_E, upper, lower, count);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float shrink, less = raise<N>(largest[half], shrink, p, half);
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
            for (int s = 0; s < Steps<F, N>::COUNT; s++) {
                u32 a[4];
                factor<F, N>(a, p, s);
                contract<F, DEPTH>(sum, a, values + 8 * s * Tile<F, DEPTH>::LINE);
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
#define ATTENTION_FORWARD(name, F, Bias, Out, DEPTH, N, ONE, WARPS, KEEP) \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, (Tile<F, DEPTH>::WORDS == 16 ? 20 : Tile<F, DEPTH>::WORDS == 32 ? 14 : 7) \
                                                                 / WARPS) \
    name(SCORED(F, Bias), MATRICES(Out, out), const u32* order, const u32* runs, RowState* states) { \
        attention_forward<F, Bias, Out, DEPTH, N, ONE, KEEP>(GIVEN_SCORED(F, Bias), GIVEN(Out, out), order, runs, states); \
    }
