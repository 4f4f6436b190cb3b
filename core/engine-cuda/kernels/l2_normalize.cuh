// Vectors along an axis to length 1: y = x / sqrt(max(sum(x^2), epsilon^2)), and the gradient. `least` is epsilon^2.

// 1 / norm, and the factor of x in the gradient, from the sum of squares and that of g x. Where epsilon is the norm nothing comes
// through the sum; where both are alike each has half of the maximum's gradient. A NaN stays.
struct Length {
    float factor;
    float along;

    static __device__ __forceinline__ Length of(float squares, float dot, float least) {
        float factor = 1.0f / sqrtf(squares < least ? least : squares);
        float share = squares < least ? 0.0f : squares == least ? 0.5f : 1.0f;
        return Length{factor, share == 0.0f ? 0.0f : share * (dot * factor * factor) * factor};
    }
};

// Rows, where the axis is the last.
template <class X, class Y, int TEAM, int N, int WIDE>
__device__ __forceinline__ void l2_normalize_rows(const X* x, Y* y, u64 rows, int width, float least) {
    __shared__ float shared[32];
    TeamRow team = TeamRow::of_grid<TEAM>(rows);
    int columns = team.columns<TEAM>(width);
    Line<X, TEAM, N, WIDE> line(x + team.row * width, team.lane, columns);
    float squares = 0.0f;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> v = line.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) squares = fmaf(v.x[i], v.x[i], squares);
    });
    Length length = Length::of(team_sum<TEAM>(squares, shared), 0.0f, least);
    if (!team.there) return;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> v = line.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) v.x[i] *= length.factor;
        store(y + team.row * width + column, v);
    });
}

#define L2_NORMALIZE_ROWS(name, X, Y, TEAM, N, WIDE)                                                                                     \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS(TEAM)) name(const X* x, Y* y, u64 rows, int width, float least) {           \
        l2_normalize_rows<X, Y, TEAM, N, WIDE>(x, y, rows, width, least);                                                                \
    }

template <class X, class G, class D, int TEAM, int N, int WIDE>
__device__ __forceinline__ void l2_normalize_rows_backward(const X* x, const G* g, D* dx, u64 rows, int width, float least) {
    __shared__ float shared[32];
    TeamRow team = TeamRow::of_grid<TEAM>(rows);
    int columns = team.columns<TEAM>(width);
    Line<X, TEAM, N, WIDE> line(x + team.row * width, team.lane, columns);
    Line<G, TEAM, N, WIDE> grad(g + team.row * width, team.lane, columns);
    float squares = 0.0f, dot = 0.0f;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> v = line.at(k, column), h = grad.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) {
            squares = fmaf(v.x[i], v.x[i], squares);
            dot = fmaf(v.x[i], h.x[i], dot);
        }
    });
    squares = team_sum<TEAM>(squares, shared);
    Length length = Length::of(squares, team_sum<TEAM>(dot, shared), least);
    if (!team.there) return;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> v = line.at(k, column), h = grad.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) v.x[i] = h.x[i] * length.factor - v.x[i] * length.along;
        store(dx + team.row * width + column, v);
    });
}

#define L2_NORMALIZE_ROWS_BACKWARD(name, X, G, D, TEAM, N, WIDE)                                                                         \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS(TEAM))                                                                      \
        name(const X* x, const G* g, D* dx, u64 rows, int width, float least) {                                                          \
        l2_normalize_rows_backward<X, G, D, TEAM, N, WIDE>(x, g, dx, rows, width, least);                                                \
    }

// Columns, where `inner` numbers stand within the axis. A block has `columns` groups of neighbouring columns and as many threads for each
// as 256 allow; `tiles` blocks cover the columns of one matrix. `g` is the gradient of the result, and then that of x is written; or null.
template <class X, class G, class Y, int WIDE>
__device__ __forceinline__ void l2_normalize_columns(
    const X* x, const G* g, Y* y, int axis, int inner, int columns, int tiles, float least) {
    __shared__ Group<WIDE> shared[256];
    int rows = 256 / columns, row = threadIdx.x / columns;
    u32 outer = blockIdx.x / tiles;
    int column = ((blockIdx.x - outer * tiles) * columns + (threadIdx.x - row * columns)) * WIDE;
    bool there = row < rows && column < inner;
    u64 base = (u64)outer * axis * inner + column;
    Group<WIDE> squares = group_of<WIDE>(0.0f), dot = squares;
    if (there) {
#pragma unroll 4
        for (int i = row; i < axis; i += rows) {
            Group<WIDE> v, h;
            load(x + base + (u64)i * inner, v);
            if (g) load(g + base + (u64)i * inner, h);
#pragma unroll
            for (int j = 0; j < WIDE; j++) {
                squares.x[j] = fmaf(v.x[j], v.x[j], squares.x[j]);
                if (g) dot.x[j] = fmaf(v.x[j], h.x[j], dot.x[j]);
            }
        }
    }
    // What the threads of row 0 know, all learn.
    squares = column_fold<Sum>(squares, shared, row, rows, columns);
    __syncthreads();
    if (row == 0) shared[threadIdx.x] = squares;
    __syncthreads();
    squares = shared[threadIdx.x % columns];
    if (g) {
        __syncthreads();
        dot = column_fold<Sum>(dot, shared, row, rows, columns);
        __syncthreads();
        if (row == 0) shared[threadIdx.x] = dot;
        __syncthreads();
        dot = shared[threadIdx.x % columns];
    }
    if (!there) return;
    Length length[WIDE];
#pragma unroll
    for (int j = 0; j < WIDE; j++) length[j] = Length::of(squares.x[j], dot.x[j], least);
#pragma unroll 4
    for (int i = row; i < axis; i += rows) {
        Group<WIDE> v, h;
        load(x + base + (u64)i * inner, v);
        if (g) load(g + base + (u64)i * inner, h);
#pragma unroll
        for (int j = 0; j < WIDE; j++) {
            v.x[j] = g ? h.x[j] * length[j].factor - v.x[j] * length[j].along : v.x[j] * length[j].factor;
        }
        store(y + base + (u64)i * inner, v);
    }
}

#define L2_NORMALIZE_COLUMNS(name, X, G, Y, WIDE)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                                                    \
        name(const X* x, const G* g, Y* y, int axis, int inner, int columns, int tiles, float least) {                                   \
        l2_normalize_columns<X, G, Y, WIDE>(x, g, y, axis, inner, columns, tiles, least);                                                \
    }
