// Layer normalisation of rows: y = (x - mean) / sqrt(variance + epsilon) * weight + bias.

struct RowMoments {
    float mean;
    // 1 / sqrt(variance + epsilon).
    float factor;
};

// The mean, and then the squares of what is centred: a large mean does not cancel.
template <int TEAM, int N, int WIDE, class L>
__device__ __forceinline__ RowMoments row_moments(
    const L& line, int lane, int columns, int width, float epsilon, float* shared) {
    float sum = 0.0f;
    each_group<TEAM, N, WIDE>(lane, columns, [&](int k, int column) {
        Group<WIDE> x = line.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) sum += x.x[i];
    });
    float mean = team_sum<TEAM>(sum, shared) / (float)width;
    float squares = 0.0f;
    each_group<TEAM, N, WIDE>(lane, columns, [&](int k, int column) {
        Group<WIDE> x = line.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) squares = fmaf(x.x[i] - mean, x.x[i] - mean, squares);
    });
    float variance = team_sum<TEAM>(squares, shared) / (float)width;
    return RowMoments{mean, 1.0f / sqrtf(variance + epsilon)};
}

template <class X, class Y, int TEAM, int N, int WIDE>
__device__ __forceinline__ void layer_norm_forward(
    const X* x, RowStarts starts, const float* weight, const float* bias, Y* y, u64 rows, int width, float epsilon) {
    __shared__ float shared[32];
    TeamRow team = TeamRow::of_grid<TEAM>(rows);
    int columns = team.columns<TEAM>(width);
    Line<X, TEAM, N, WIDE> line(x + starts[team.row], team.lane, columns);
    RowMoments moments = row_moments<TEAM, N, WIDE>(line, team.lane, columns, width, epsilon, shared);
    if (!team.there) return;
    Y* to = y + team.row * width;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> v = line.at(k, column), w, b;
        load(weight + column, w);
        load(bias + column, b);
#pragma unroll
        for (int i = 0; i < WIDE; i++) v.x[i] = fmaf((v.x[i] - moments.mean) * moments.factor, w.x[i], b.x[i]);
        store(to + column, v);
    });
}

#define LAYER_NORM_FORWARD(name, X, Y, TEAM, N, WIDE)                                                                                    \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS(TEAM))                                                                      \
        name(const X* x, const u32* table, u64 first, u64 stride, const float* weight, const float* bias, Y* y, u64 rows, int width,     \
             float epsilon) {                                                                                                            \
        layer_norm_forward<X, Y, TEAM, N, WIDE>(x, RowStarts{table, first, stride}, weight, bias, y, rows, width, epsilon);              \
    }

// The gradients: of x, with xhat = (x - mean) * factor,
//     factor (g w - mean(g w) - xhat mean(g w xhat)),
// to which `add`, where there is one, is added: what comes by the way around the norm;
// of the weight and of the bias the sums of g xhat and of g over the block's `share` rows, side by side in its part of `sums`. A thread
// keeps those of its columns in registers, or in `sums` itself where there are no registers for a row.
template <class X, class G, class A, class D, int TEAM, int N, int WIDE>
__device__ __forceinline__ void layer_norm_backward(
    const X* x, RowStarts x_starts, const G* g, RowStarts g_starts, const A* add, RowStarts add_starts, const float* weight, D* dx,
    float* sums, u64 rows, u64 share, int width, float epsilon) {
    constexpr int TEAMS = ROW_THREADS(TEAM) / TEAM;
    __shared__ float shared[32];
    u64 first = blockIdx.x * share, end = first + share < rows ? first + share : rows;
    if (sums) sums += (u64)blockIdx.x * 2 * width;
    Group<WIDE> of_weight[N > 0 ? N : 1], of_bias[N > 0 ? N : 1];
#pragma unroll
    for (int k = 0; k < (N > 0 ? N : 1); k++) of_weight[k] = of_bias[k] = group_of<WIDE>(0.0f);
    if constexpr (N == 0) {
        each_group<TEAM, N, WIDE>(threadIdx.x, sums ? width : 0, [&](int k, int column) {
            store(sums + column, of_weight[k]);
            store(sums + width + column, of_bias[k]);
        });
    }

    for (; first < end; first += TEAMS) {
        TeamRow team = TeamRow::of<TEAM>(first, end);
        int columns = team.columns<TEAM>(width);
        Line<X, TEAM, N, WIDE> line(x + x_starts[team.row], team.lane, columns);
        Line<G, TEAM, N, WIDE> grad(g + g_starts[team.row], team.lane, columns);
        RowMoments moments = row_moments<TEAM, N, WIDE>(line, team.lane, columns, width, epsilon, shared);
        float flat = 0.0f, along = 0.0f;
        each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
            Group<WIDE> v = line.at(k, column), h = grad.at(k, column), w;
            load(weight + column, w);
            if constexpr (N == 0) {
                if (sums) {
                    load(sums + column, of_weight[k]);
                    load(sums + width + column, of_bias[k]);
                }
            }
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                float hat = (v.x[i] - moments.mean) * moments.factor, weighted = h.x[i] * w.x[i];
                flat += weighted;
                along = fmaf(weighted, hat, along);
                of_weight[k].x[i] = fmaf(h.x[i], hat, of_weight[k].x[i]);
                of_bias[k].x[i] += h.x[i];
            }
            if constexpr (N == 0) {
                if (sums) {
                    store(sums + column, of_weight[k]);
                    store(sums + width + column, of_bias[k]);
                }
            }
        });
        if (!dx) continue;
        flat = team_sum<TEAM>(flat, shared) / (float)width;
        along = team_sum<TEAM>(along, shared) / (float)width;
        if (!team.there) continue;
        D* to = dx + team.row * width;
        const A* other = add ? add + add_starts[team.row] : add;
        each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
            Group<WIDE> v = line.at(k, column), h = grad.at(k, column), w, around = group_of<WIDE>(0.0f);
            load(weight + column, w);
            if (add) load(other + column, around);
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                float hat = (v.x[i] - moments.mean) * moments.factor;
                v.x[i] = (h.x[i] * w.x[i] - flat - hat * along) * moments.factor + around.x[i];
            }
            store(to + column, v);
        });
    }

    if constexpr (N > 0) {
        if (!sums) return;
        if constexpr (TEAMS == 1) {
            each_group<TEAM, N, WIDE>(threadIdx.x, width, [&](int k, int column) {
                store(sums + column, of_weight[k]);
                store(sums + width + column, of_bias[k]);
            });
        } else {
            // Teams of a warp add theirs, and then warps one after the other.
#pragma unroll
            for (int o = TEAM; o < 32; o *= 2) {
                each_group<TEAM, N, WIDE>(0, N * TEAM * WIDE, [&](int k, int) {
#pragma unroll
                    for (int i = 0; i < WIDE; i++) {
                        of_weight[k].x[i] += __shfl_xor_sync(0xffffffffu, of_weight[k].x[i], o);
                        of_bias[k].x[i] += __shfl_xor_sync(0xffffffffu, of_bias[k].x[i], o);
                    }
                });
            }
            __shared__ Group<WIDE> whole[2][N * TEAM];
            for (int turn = 0; turn < BLOCK / 32; turn++) {
                if (threadIdx.x / 32 == turn && threadIdx.x % 32 < TEAM) {
                    each_group<TEAM, N, WIDE>(threadIdx.x % TEAM, width, [&](int k, int column) {
                        Group<WIDE>*w = &whole[0][column / WIDE], *b = &whole[1][column / WIDE];
#pragma unroll
                        for (int i = 0; i < WIDE; i++) {
                            w->x[i] = turn ? w->x[i] + of_weight[k].x[i] : of_weight[k].x[i];
                            b->x[i] = turn ? b->x[i] + of_bias[k].x[i] : of_bias[k].x[i];
                        }
                    });
                }
                __syncthreads();
            }
            for (int i = threadIdx.x; i < width / WIDE; i += ROW_THREADS(TEAM)) {
                store(sums + i * WIDE, whole[0][i]);
                store(sums + width + i * WIDE, whole[1][i]);
            }
        }
    }
}

#define LAYER_NORM_BACKWARD(name, X, G, A, D, TEAM, N, WIDE)                                                                             \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS(TEAM))                                                                      \
        name(const X* x, const u32* x_table, u64 x_first, u64 x_stride, const G* g, const u32* g_table, u64 g_first, u64 g_stride,       \
             const A* add, const u32* add_table, u64 add_first, u64 add_stride, const float* weight, D* dx, float* sums, u64 rows,       \
             u64 share, int width, float epsilon) {                                                                                      \
        layer_norm_backward<X, G, A, D, TEAM, N, WIDE>(x, RowStarts{x_table, x_first, x_stride}, g,                                      \
                                                       RowStarts{g_table, g_first, g_stride}, add,                                       \
                                                       RowStarts{add_table, add_first, add_stride}, weight, dx, sums, rows, share,       \
                                                       width, epsilon);                                                                  \
    }

// What the blocks summed up, `blocks` times two rows of `width`, added: the gradients of the weight and of the bias, those that are
// wanted. A block has 32 columns and 32 threads for each, which have eight numbers on the way at a time.
__device__ __forceinline__ void join_layer_norm_sums(const float* sums, float* of_weight, float* of_bias, int blocks, int width) {
    __shared__ Group<1> shared[1024];
    int lane = threadIdx.x % 32, row = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
    Group<1> sum = group_of<1>(0.0f);
    if (column < 2 * width) {
        for (int first = row; first < blocks; first += 8 * 32) {
            float eight[8];
#pragma unroll
            for (int u = 0; u < 8; u++) {
                int i = first + u * 32;
                eight[u] = i < blocks ? sums[(u64)i * 2 * width + column] : 0.0f;
            }
            sum.x[0] += ((eight[0] + eight[1]) + (eight[2] + eight[3])) + ((eight[4] + eight[5]) + (eight[6] + eight[7]));
        }
    }
    sum = column_fold<Sum>(sum, shared, row, 32, 32);
    if (row != 0 || column >= 2 * width) return;
    float* to = column < width ? of_weight : of_bias;
    if (to) to[column % width] = sum.x[0];
}

#define LAYER_NORM_JOIN(name)                                                                                                            \
    extern "C" __global__ void __launch_bounds__(1024)                                                                                   \
        name(const float* sums, float* of_weight, float* of_bias, int blocks, int width) {                                               \
        join_layer_norm_sums(sums, of_weight, of_bias, blocks, width);                                                                   \
    }
