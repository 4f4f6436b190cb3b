// Max pooling and its gradient. Windows and steps are constants of a kernel, so that loops over them unroll; I is the type of an index
// into all planes.

struct Pool {
    int height, width, out_height, out_width, row_padding, column_padding;
};

// Where the winner of a window stands in it, row-major: its first NaN, else its first largest.
template <int KH, int KW, int SH, int SW, class X>
__device__ __forceinline__ int winner(const X* plane, const Pool& s, int row, int column, float& best) {
    const int top = row * SH - s.row_padding, left = column * SW - s.column_padding;
    int at = -1;
    best = 0.0f;
    for (int y = 0; y < KH; ++y) {
        if ((u32)(top + y) >= (u32)s.height) continue;
        const X* line = plane + (u64)(top + y) * s.width;
        for (int x = 0; x < KW; ++x) {
            if ((u32)(left + x) >= (u32)s.width) continue;
            float v = widen(line[left + x]);
            if (at < 0 || v > best || (v != v && best == best)) {
                best = v;
                at = y * KW + x;
            }
        }
    }
    return at;
}

// A thread has a window. Gives its largest, or where that stands.
template <int KH, int KW, int SH, int SW, class X, class Y, class I, bool PLACE>
__device__ __forceinline__ void each_window(const X* x, Y* y, u64 count, const Pool& s) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    I line = i / (u32)s.out_width;
    I plane = line / (u32)s.out_height;
    float best;
    int at = winner<KH, KW, SH, SW>(x + (u64)plane * s.height * s.width, s, (int)(line - plane * s.out_height),
                                    (int)(i - line * s.out_width), best);
    if constexpr (PLACE) y[i] = (Y)at;
    else y[i] = narrow<Y>(best);
}

#define MAX_POOL(name, X, Y, I, KH, KW, SH, SW)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) name(const X* x, Y* y, u64 count, Pool s) {                               \
        each_window<KH, KW, SH, SW, X, Y, I, false>(x, y, count, s);                                                            \
    }

#define MAX_POOL_PLACES(name, X, P, I, KH, KW, SH, SW)                                                                          \
    extern "C" __global__ void __launch_bounds__(256) name(const X* x, P* places, u64 count, Pool s) {                          \
        each_window<KH, KW, SH, SW, X, P, I, true>(x, places, count, s);                                                        \
    }

// A thread has four cells of a row: each looks at the windows that it is in, and takes what those give that it wins.
template <int KH, int KW, int SH, int SW, class P, class G, class D, class I>
__device__ __forceinline__ void pool_backward(const P* places, const G* g, D* dx, u64 count, const Pool& s) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    u32 pieces = (s.width + 3) / 4;
    I line = i / pieces;
    I plane = line / (u32)s.height;
    int row = (int)(line - plane * s.height), column = (int)(i - line * pieces) * 4;
    places += (u64)plane * s.out_height * s.out_width;
    g += (u64)plane * s.out_height * s.out_width;
    // Windows begin at step * index - padding.
    int down = row + s.row_padding, top = down < KH ? 0 : (down - KH) / SH + 1, bottom = min(down / SH, s.out_height - 1);
    float sum[4] = {};
    for (int y = top; y <= bottom; ++y) {
        const u64 start = (u64)y * s.out_width;
        const int above = (down - y * SH) * KW;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            int across = column + c + s.column_padding, left = across < KW ? 0 : (across - KW) / SW + 1;
            int right = min(across / SW, s.out_width - 1);
            for (int w = left; w <= right; ++w) {
                if ((int)places[start + w] == above + across - w * SW) sum[c] += widen(g[start + w]);
            }
        }
    }
    store_some(dx + (u64)line * s.width + column, sum, s.width - column, (s.width & 3) == 0);
}

#define MAX_POOL_GRAD(name, P, G, D, I, KH, KW, SH, SW)                                                                         \
    extern "C" __global__ void __launch_bounds__(256) name(const P* places, const G* g, D* dx, u64 count, Pool s) {             \
        pool_backward<KH, KW, SH, SW, P, G, D, I>(places, g, dx, count, s);                                                     \
    }
