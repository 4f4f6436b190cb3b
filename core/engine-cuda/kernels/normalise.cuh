// Rows that teams of threads work on: what layer_norm, softmax and l2_normalize share. A row stays in its team's registers between the
// passes over it, as N groups of WIDE neighbours in each thread; with N = 0 it is too long for that and read anew by each pass.

// Threads of a block that works on several rows.
constexpr int BLOCK = 128;

#define ROW_THREADS(TEAM) ((TEAM) > 32 ? (TEAM) : BLOCK)

// Where rows begin: evenly spaced, or as a table says.
struct RowStarts {
    const u32* table;
    u64 first;
    u64 stride;

    __device__ __forceinline__ u64 operator[](u64 row) const { return table ? (u64)table[row] : first + row * stride; }
};

// Calls f(k, column) for each group of the thread, the k-th of its groups.
template <int TEAM, int N, int WIDE, class F> __device__ __forceinline__ void each_group(int lane, int width, F f) {
    if constexpr (N > 0) {
#pragma unroll
        for (int k = 0; k < N; k++) {
            int column = (k * TEAM + lane) * WIDE;
            if (column < width) f(k, column);
        }
    } else {
        for (int column = lane * WIDE; column < width; column += TEAM * WIDE) f(0, column);
    }
}

template <class T, int TEAM, int N, int WIDE> struct Line {
    const T* from;
    Group<WIDE> kept[N > 0 ? N : 1];

    __device__ __forceinline__ Line(const T* from, int lane, int width) : from(from) {
        if constexpr (N > 0) {
            each_group<TEAM, N, WIDE>(lane, width, [&](int k, int column) { load(from + column, kept[k]); });
        }
    }

    __device__ __forceinline__ Group<WIDE> at(int k, int column) const {
        if constexpr (N > 0) {
            return kept[k];
        } else {
            Group<WIDE> g;
            load(from + column, g);
            return g;
        }
    }
};

// The row of this thread's team, within the block's share. A team behind the end goes the same way through the last one, of which it
// neither reads nor writes anything: the team whose row that is may be writing where it reads.
struct TeamRow {
    u64 row;
    bool there;
    int lane;

    // How many columns the team works on; the only one of a block always has a row.
    template <int TEAM> __device__ __forceinline__ int columns(int width) const {
        return ROW_THREADS(TEAM) == TEAM || there ? width : 0;
    }

    template <int TEAM> static __device__ __forceinline__ TeamRow of(u64 first, u64 end) {
        TeamRow r;
        r.row = first + threadIdx.x / TEAM;
        r.there = r.row < end;
        if (!r.there) r.row = end - 1;
        r.lane = threadIdx.x % TEAM;
        return r;
    }

    template <int TEAM> static __device__ __forceinline__ TeamRow of_grid(u64 rows) {
        return of<TEAM>((u64)blockIdx.x * (ROW_THREADS(TEAM) / TEAM), rows);
    }
};
