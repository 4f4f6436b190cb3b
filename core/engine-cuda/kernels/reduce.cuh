// Sums, sums of squares and greatest numbers over the middle of three axes, [outer, reduced, inner] to [outer, parts, inner]: where there
// are few results, the axis is cut into parts by shape alone, and another launch folds what they came to.
//
// Only the one row of a whole array may be of a length that is no multiple of WIDE.
//
// A thread folds four groups at a time in pairs, and threads are folded in pairs: no sum is a long chain.

// The thread's share of `count` neighbouring numbers, in groups of WIDE; the last one may be cut.
template <class OP, int TEAM, int WIDE, class X> __device__ __forceinline__ float fold_run(const X* x, int lane, int count) {
    float sum = OP::none();
    for (int at = lane * WIDE; at < count; at += 4 * TEAM * WIDE) {
        float four[4];
#pragma unroll
        for (int u = 0; u < 4; u++) {
            int place = at + u * TEAM * WIDE;
            four[u] = OP::none();
            if (place + WIDE <= count) {
                Group<WIDE> v;
                load(x + place, v);
                four[u] = OP::of(v.x[0]);
                if constexpr (WIDE == 4) {
                    four[u] = OP::join(OP::join(four[u], OP::of(v.x[1])), OP::join(OP::of(v.x[2]), OP::of(v.x[3])));
                }
            } else {
                for (; place < count; place++) four[u] = OP::join(four[u], OP::of(widen(x[place])));
            }
        }
        sum = OP::join(sum, OP::join(OP::join(four[0], four[1]), OP::join(four[2], four[3])));
    }
    return sum;
}

// Rows, where nothing stands within the axis: a team for each part of a row, of `share` numbers but for the last.
template <class OP, class X, class Y, int TEAM, int WIDE>
__device__ __forceinline__ void reduce_rows(const X* x, Y* y, u64 rows, u64 width, int parts, int share) {
    __shared__ float shared[32];
    constexpr int TEAMS = TEAM > 32 ? 1 : 256 / TEAM;
    u64 result = (u64)blockIdx.x * TEAMS + threadIdx.x / TEAM, results = rows * parts;
    bool there = result < results;
    if (!there) result = results - 1;
    u64 row = result / parts, first = (result - row * parts) * share;
    int count = width - first < share ? (int)(width - first) : share;
    float sum = fold_run<OP, TEAM, WIDE>(x + row * width + first, threadIdx.x % TEAM, count);
    sum = team_fold<OP, TEAM>(sum, shared);
    if (there && threadIdx.x % TEAM == 0) y[result] = narrow<Y>(sum);
}

#define REDUCE_ROWS(name, OP, X, Y, TEAM, WIDE)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256) name(const X* x, Y* y, u64 rows, u64 width, int parts, int share) {                \
        reduce_rows<OP, X, Y, TEAM, WIDE>(x, y, rows, width, parts, share);                                                              \
    }

// Columns: a block has `columns` groups of neighbouring columns and as many threads for each as 256 allow, for one part of `share` rows;
// `tiles` blocks cover the columns of a matrix.
template <class OP, class X, class Y, int WIDE>
__device__ __forceinline__ void reduce_columns(
    const X* x, Y* y, int reduced, int inner, int columns, int tiles, int parts, int share) {
    __shared__ Group<WIDE> shared[256];
    int rows = 256 / columns, row = threadIdx.x / columns;
    u32 result = blockIdx.x / tiles, outer = result / parts;
    int part = result - outer * parts;
    int column = ((blockIdx.x - result * tiles) * columns + (threadIdx.x - row * columns)) * WIDE;
    bool there = row < rows && column < inner;
    int end = reduced - part * share < share ? reduced : (part + 1) * share;
    x += (u64)outer * reduced * inner + column;
    Group<WIDE> sum = group_of<WIDE>(OP::none());
    if (there) {
        for (int i = part * share + row; i < end; i += 4 * rows) {
            Group<WIDE> four[4];
#pragma unroll
            for (int u = 0; u < 4; u++) {
                bool within = i + u * rows < end;
                if (within) load(x + (u64)(i + u * rows) * inner, four[u]);
#pragma unroll
                for (int j = 0; j < WIDE; j++) four[u].x[j] = within ? OP::of(four[u].x[j]) : OP::none();
            }
#pragma unroll
            for (int j = 0; j < WIDE; j++) {
                float pair = OP::join(four[0].x[j], four[1].x[j]), other = OP::join(four[2].x[j], four[3].x[j]);
                sum.x[j] = OP::join(sum.x[j], OP::join(pair, other));
            }
        }
    }
    sum = column_fold<OP>(sum, shared, row, rows, columns);
    if (there && row == 0) store(y + (u64)result * inner + column, sum);
}

#define REDUCE_COLUMNS(name, OP, X, Y, WIDE)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                                                                    \
        name(const X* x, Y* y, int reduced, int inner, int columns, int tiles, int parts, int share) {                                   \
        reduce_columns<OP, X, Y, WIDE>(x, y, reduced, inner, columns, tiles, parts, share);                                              \
    }

// The sums of squares of many arrays. A block has a piece of one: `pieces` says which array, where it begins, and how many numbers it is.
constexpr int MOST_ARRAYS = 128;
struct Arrays {
    const void* at[MOST_ARRAYS];
};
struct Piece {
    u32 array;
    u32 first;
    u32 count;
};

template <class X> __device__ __forceinline__ void squares_of_many(const Arrays& arrays, const Piece* pieces, float* y) {
    Piece piece = pieces[blockIdx.x];
    __shared__ float shared[32];
    const X* x = (const X*)arrays.at[piece.array] + piece.first;
    float sum = fold_run<Squares, 256, 4>(x, threadIdx.x, piece.count);
    sum = team_sum<256>(sum, shared);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

#define SQUARES_OF_MANY(name, X)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(256) name(Arrays arrays, const Piece* pieces, float* y) {                               \
        squares_of_many<X>(arrays, pieces, y);                                                                                           \
    }

// A block for each array: the sum of what its pieces came to, which stand from `firsts` of it to that of the next.
__device__ __forceinline__ void join_squares(const float* x, const u32* firsts, float* y) {
    __shared__ float shared[32];
    u32 first = firsts[blockIdx.x];
    float sum = fold_run<Sum, 256, 1>(x + first, threadIdx.x, firsts[blockIdx.x + 1] - first);
    sum = team_sum<256>(sum, shared);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

#define JOIN_SQUARES_OF_MANY(name)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) name(const float* x, const u32* firsts, float* y) { join_squares(x, firsts, y); }
