// Bilinear resizing of images, and its gradient. Planes are [images * channels]; I is the type of an index into all of them.

// The two cells that a result is interpolated from along an axis.
struct alignas(16) Taps {
    int low, high;
    float low_weight, high_weight;
};

// Results of a row, and rows, that a thread computes.
constexpr int RESIZE_WIDE = 4, RESIZE_ROWS = 8;

// Results that stand side by side, as many as there are; `whole` if they begin at a multiple of four.
template <class T> __device__ __forceinline__ void store_some(T* to, const float v[4], int count, bool whole) {
    if (whole) {
        store4(to, Four{{v[0], v[1], v[2], v[3]}});
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (i < count) to[i] = narrow<T>(v[i]);
        }
    }
}

template <class X> __device__ __forceinline__ void interpolate(const X* row, const Taps taps[RESIZE_WIDE], float v[RESIZE_WIDE]) {
#pragma unroll
    for (int j = 0; j < RESIZE_WIDE; ++j) {
        v[j] = taps[j].low_weight * widen(row[taps[j].low]) + taps[j].high_weight * widen(row[taps[j].high]);
    }
}

// Rows are interpolated along themselves once, and kept for as long as results lie between them.
template <class X, class Y, class I>
__device__ __forceinline__ void resize_forward(const X* x, const Taps* down, const Taps* across, Y* y, u64 count, int height, int width,
                                               int out_height, int out_width) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    u32 pieces = (out_width + RESIZE_WIDE - 1) / RESIZE_WIDE, bands = (out_height + RESIZE_ROWS - 1) / RESIZE_ROWS;
    I line = i / pieces;
    int column = (int)(i - line * pieces) * RESIZE_WIDE;
    I plane = line / bands;
    int first = (int)(line - plane * bands) * RESIZE_ROWS;
    Taps taps[RESIZE_WIDE];
#pragma unroll
    for (int j = 0; j < RESIZE_WIDE; ++j) taps[j] = across[min(column + j, out_width - 1)];
    const X* from = x + (u64)plane * height * width;
    Y* to = y + ((u64)plane * out_height + first) * out_width + column;
    bool whole = (out_width & (RESIZE_WIDE - 1)) == 0;
    int last = min(RESIZE_ROWS, out_height - first), low = -1, high = -1;
    float above[RESIZE_WIDE], below[RESIZE_WIDE];
    for (int r = 0; r < last; ++r, to += out_width) {
        Taps t = down[first + r];
        if (t.low != low) {
            if (t.low == high) {
#pragma unroll
                for (int j = 0; j < RESIZE_WIDE; ++j) above[j] = below[j];
            } else {
                interpolate(from + (u64)t.low * width, taps, above);
            }
            low = t.low;
        }
        if (t.high != high) {
            interpolate(from + (u64)t.high * width, taps, below);
            high = t.high;
        }
        float v[RESIZE_WIDE];
#pragma unroll
        for (int j = 0; j < RESIZE_WIDE; ++j) v[j] = t.low_weight * above[j] + t.high_weight * below[j];
        store_some(to, v, out_width - column, whole);
    }
}

#define RESIZE_FORWARD(name, X, Y, I)                                                                                           \
    extern "C" __global__ void __launch_bounds__(128) name(const X* x, const Taps* down, const Taps* across, Y* y, u64 count,   \
                                                           int height, int width, int out_height, int out_width) {              \
        resize_forward<X, Y, I>(x, down, across, y, count, height, width, out_height, out_width);                               \
    }

// Which results a cell goes into along an axis: a run of them, whose weights stand one after the other from `weights` on.
struct alignas(16) Reach {
    int first, count, weights, unused;
};

constexpr int REACH_THREADS = 128, REACH_COLUMNS = 1024;

// A block computes some rows of cells, `lanes` cells of each, a thread one cell: the cotangent's rows that a row reaches are added up
// in shared memory first, some columns at a time. `pieces` of `lanes` cells make a row, and `count` rows all planes.
template <class G, class D>
__device__ __forceinline__ void resize_backward(const G* g, const Reach* down, const float* down_weights, const Reach* across,
                                                const float* across_weights, D* dx, int count, int height, int width, int out_height,
                                                int out_width, int lanes, int pieces) {
    __shared__ float added[REACH_COLUMNS];
    const int each = REACH_THREADS / lanes, own_row = threadIdx.x / lanes;
    const int piece = blockIdx.x % pieces, first = blockIdx.x / pieces * each, rows = min(each, count - first);
    const int column = piece * lanes + threadIdx.x - own_row * lanes, last = min((piece + 1) * lanes, width) - 1;
    const bool mine = own_row < rows && column < width;
    Reach own = {};
    if (mine) own = across[column];
    // Runs begin and end in the order of the cells.
    const Reach from = across[piece * lanes], until = across[last];
    const int end = until.first + until.count, step = REACH_COLUMNS / each;
    float sum = 0.0f;
    for (int at = from.first; at < end; at += step) {
        const int wide = min(step, end - at);
        __syncthreads();
        for (int i = threadIdx.x; i < rows * wide; i += REACH_THREADS) {
            int r = i / wide, offset = i - r * wide, plane = (first + r) / height;
            Reach reach = down[first + r - plane * height];
            const G* cells = g + ((u64)plane * out_height + reach.first) * out_width + at + offset;
            float v = 0.0f;
            for (int k = 0; k < reach.count; ++k, cells += out_width) v += down_weights[reach.weights + k] * widen(*cells);
            added[r * step + offset] = v;
        }
        __syncthreads();
        const float* line = added + own_row * step;
        const int to = min(own.first + own.count, at + wide);
        if (mine) {
            for (int i = max(own.first, at); i < to; ++i) sum += across_weights[own.weights + i - own.first] * line[i - at];
        }
    }
    if (mine) dx[(u64)(first + own_row) * width + column] = narrow<D>(sum);
}

#define RESIZE_BACKWARD(name, G, D)                                                                                             \
    extern "C" __global__ void __launch_bounds__(128) name(const G* g, const Reach* down, const float* down_weights,            \
                                                           const Reach* across, const float* across_weights, D* dx, int count,  \
                                                           int height, int width, int out_height, int out_width, int lanes,     \
                                                           int pieces) {                                                        \
        resize_backward<G, D>(g, down, down_weights, across, across_weights, dx, count, height, width, out_height, out_width,   \
                              lanes, pieces);                                                                                   \
    }
