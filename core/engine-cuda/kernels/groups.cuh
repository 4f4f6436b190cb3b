// What normalise and reduce share: groups of neighbouring elements, teams of threads that work on a row, and columns of a block.

// WIDE neighbours as numbers; four are read and written at once.
template <int WIDE> struct alignas(4 * WIDE) Group {
    float x[WIDE];
};

template <class T> __device__ __forceinline__ void load(const T* from, Group<1>& g) { g.x[0] = widen(*from); }
template <class T> __device__ __forceinline__ void load(const T* from, Group<4>& g) {
    Four four = load4(from);
#pragma unroll
    for (int i = 0; i < 4; i++) g.x[i] = four.x[i];
}
template <class T> __device__ __forceinline__ void store(T* to, const Group<1>& g) { *to = narrow<T>(g.x[0]); }
template <class T> __device__ __forceinline__ void store(T* to, const Group<4>& g) {
    Four four;
#pragma unroll
    for (int i = 0; i < 4; i++) four.x[i] = g.x[i];
    store4(to, four);
}

template <int WIDE> __device__ __forceinline__ Group<WIDE> group_of(float x) {
    Group<WIDE> g;
#pragma unroll
    for (int i = 0; i < WIDE; i++) g.x[i] = x;
    return g;
}

// How numbers are folded. `of` prepares a number as it stands in memory; `join` folds two that are prepared.
struct Sum {
    static __device__ __forceinline__ float none() { return 0.0f; }
    static __device__ __forceinline__ float of(float x) { return x; }
    static __device__ __forceinline__ float join(float a, float b) { return a + b; }
};
struct Squares : Sum {
    static __device__ __forceinline__ float of(float x) { return x * x; }
};
struct Greatest {
    static __device__ __forceinline__ float none() { return -__int_as_float(0x7f800000); }
    static __device__ __forceinline__ float of(float x) { return x; }
    static __device__ __forceinline__ float join(float a, float b) { return larger(a, b); }
};

// Over a team of neighbouring threads, a power of two up to a warp or else the whole block, always in the same order; every thread gets
// the result. All threads of the block come here together. `shared` holds 32 floats and may be used again at once.
template <class OP, int TEAM> __device__ __forceinline__ float team_fold(float v, float* shared) {
#pragma unroll
    for (int o = (TEAM < 32 ? TEAM : 32) / 2; o > 0; o >>= 1) v = OP::join(v, __shfl_xor_sync(0xffffffffu, v, o));
    if constexpr (TEAM > 32) {
        int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
        if (lane == 0) shared[warp] = v;
        __syncthreads();
        v = lane < TEAM / 32 ? shared[lane] : OP::none();
        __syncthreads();
#pragma unroll
        for (int o = 16; o > 0; o >>= 1) v = OP::join(v, __shfl_xor_sync(0xffffffffu, v, o));
    }
    return v;
}
template <int TEAM> __device__ __forceinline__ float team_sum(float v, float* shared) { return team_fold<Sum, TEAM>(v, shared); }

// Over the threads of a block that stand in one column: thread `row * columns + column`, `rows` of them, those behind taking part
// without a number. Pairs are joined, then pairs of pairs; the threads of row 0 get the result. `shared` holds a group for each thread
// and may be used again after a barrier.
template <class OP, int WIDE>
__device__ __forceinline__ Group<WIDE> column_fold(Group<WIDE> v, Group<WIDE>* shared, int row, int rows, int columns) {
    shared[threadIdx.x] = v;
    int half = 1;
    while (2 * half < rows) half *= 2;
    for (; half > 0; half >>= 1) {
        __syncthreads();
        if (row < half && row + half < rows) {
            Group<WIDE> other = shared[threadIdx.x + half * columns];
#pragma unroll
            for (int i = 0; i < WIDE; i++) v.x[i] = OP::join(v.x[i], other.x[i]);
            shared[threadIdx.x] = v;
        }
    }
    return v;
}
