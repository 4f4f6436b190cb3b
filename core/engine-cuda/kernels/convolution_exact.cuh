// Convolutions in f32 throughout: a thread has four points and some channels in registers.

// Threads of a block, and points that a warp has.
constexpr int EXACT_THREADS = 128, EXACT_POINTS = 128;

// y of x by `weights` [groups, in, taps, padded]. Of the block's four warps `across` stand side by side along the channels, WIDE each;
// the others along the points. `offsets` says where in a patch each tap lies.
template <class X, class Y, int WIDE>
__device__ __forceinline__ void conv_exact(const X* x, const float* weights, const int* offsets, Y* y, const Gather& s, int across,
                                           int padded, const Afterwards& after) {
    EXTERN_SHARED(Four, memory);
    float* staging = (float*)memory;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int width = WIDE * across, first_out = blockIdx.y * width, group = blockIdx.z;
    float* patch = staging;                       // [chunk, plane]
    float* staged = patch + s.chunk * s.plane;        // [chunk, taps, width]
    int* tap_at = (int*)(staged + s.chunk * s.taps * width);
    const float* own = staged + warp % across * WIDE;
    const Tile t = tile_of(s, blockIdx.x);
    for (int i = threadIdx.x; i < s.taps; i += EXACT_THREADS) tap_at[i] = offsets[i];

    int from[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) from[j] = cell_of(s, point_of(s, t, warp / across * EXACT_POINTS + j * 32 + lane));
    float sum[WIDE][4] = {};
    for (int first = 0; first < s.in_channels; first += s.chunk) {
        int count = min(s.chunk, s.in_channels - first);
        __syncthreads();
        stage_floats(s, t, x, group, first, count, patch);
        const float* rows = weights + (u64)(group * s.in_channels + first) * s.taps * padded + first_out;
        for (int i = threadIdx.x * 4; i < count * s.taps * width; i += EXACT_THREADS * 4) {
            int row = i / width;
            *(Four*)(staged + i) = load4(rows + (u64)row * padded + (i - row * width));
        }
        __syncthreads();
        const float* w = own;
        for (int c = 0; c < count; ++c) {
            const float* seen = patch + c * s.plane;
            for (int tap = 0; tap < s.taps; ++tap, w += width) {
                const float* at = seen + tap_at[tap];
                float v[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) v[j] = at[from[j]];
#pragma unroll
                for (int o = 0; o < WIDE; o += 4) {
                    Four four = load4(w + o);
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
#pragma unroll
                        for (int j = 0; j < 4; ++j) sum[o + i][j] = fmaf(four.x[i], v[j], sum[o + i][j]);
                    }
                }
            }
        }
    }
    const int out = first_out + warp % across * WIDE;
    const u64 area = (u64)s.out_height * s.out_width;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        Point p = point_of(s, t, warp / across * EXACT_POINTS + j * 32 + lane);
        if (!p.there) continue;
        u64 channel = ((u64)(t.image + p.image) * s.groups + group) * s.out_channels + out;
        Y* to = y + channel * area + stored_at(s, t, p);
#pragma unroll
        for (int o = 0; o < WIDE; ++o) {
            if (out + o < s.out_channels) to[o * area] = narrow<Y>(after(sum[o][j], group * s.out_channels + out + o));
        }
    }
}

#define CONV_EXACT(name, X, Y, WIDE)                                                                                            \
    extern "C" __global__ void __launch_bounds__(EXACT_THREADS, 4) name(const X* x, const float* weights, const int* offsets,   \
                                                                        Y* y, Gather s, int across, int padded,                 \
                                                                        const float* bias, float slope) {                       \
        conv_exact<X, Y, WIDE>(x, weights, offsets, y, s, across, padded, Afterwards{bias, slope});                             \
    }

// The kernel's gradient: each block sums the points of some tiles for a piece of it, 4 * out_threads channels of the result by
// 4 * tap_threads taps of the image's channels; threads that are left over share the points. To partial[split, groups, out, in * taps].
template <class X, class G>
__device__ __forceinline__ void conv_kernel_grad_exact(const X* x, const G* g, const int* offsets, float* partial, const Gather& s,
                                                       int out_threads, int tap_threads, int points, int tiles) {
    EXTERN_SHARED(Four, memory);
    float* staging = (float*)memory;
    const int kept = s.in_channels * s.taps;
    // Points lie four numbers further apart than they need, so that a warp that writes one channel of many points reaches all banks.
    const int wide = out_threads * 4, line = wide + 4;
    const int out_blocks = (s.out_channels + wide - 1) / wide;
    const int group = blockIdx.z, first_out = blockIdx.y % out_blocks * wide;
    const int first_kept = blockIdx.y / out_blocks * tap_threads * 4;
    const int first_channel = first_kept / s.taps;
    const int count = min(s.chunk, s.in_channels - first_channel);
    float* patch = staging;                           // [chunk, plane]
    float* cotangent = patch + s.chunk * s.plane;         // [points, line]
    int* cells = (int*)(cotangent + points * line);       // [points]
    const int own_kept = threadIdx.x % tap_threads;
    const int own_out = threadIdx.x / tap_threads % out_threads;
    const int share = threadIdx.x / (tap_threads * out_threads), shares = EXACT_THREADS / (tap_threads * out_threads);

    int at[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        int k = first_kept + own_kept + j * tap_threads;
        int channel = k / s.taps;
        at[j] = k < kept ? (channel - first_channel) * s.plane + offsets[k - channel * s.taps] : 0;
    }
    float sum[4][4] = {};
    const int from = (int)((long long)tiles * blockIdx.x / gridDim.x), to = (int)((long long)tiles * (blockIdx.x + 1) / gridDim.x);
    const u64 area = (u64)s.out_height * s.out_width;
    for (int tile = from; tile < to; ++tile) {
        const Tile t = tile_of(s, tile);
        __syncthreads();
        stage_floats(s, t, x, group, first_channel, count, patch);
        for (int i = threadIdx.x; i < points; i += EXACT_THREADS) {
            Point p = point_of(s, t, i);
            cells[i] = p.there ? cell_of(s, p) : -1;
            u64 channel = ((u64)(t.image + p.image) * s.groups + group) * s.out_channels + first_out;
            const G* seen = g + channel * area + stored_at(s, t, p);
            for (int o = 0; o < wide; o += 4) {
                Four four;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    four.x[j] = p.there && first_out + o + j < s.out_channels ? widen(seen[(o + j) * area]) : 0.0f;
                }
                store4(cotangent + i * line + o, four);
            }
        }
        __syncthreads();
        for (int i = share; i < points; i += shares) {
            int cell = cells[i];
            if (cell < 0) continue;
            Four of = load4(cotangent + i * line + own_out * 4);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                float v = patch[at[j] + cell];
#pragma unroll
                for (int o = 0; o < 4; ++o) sum[o][j] = fmaf(of.x[o], v, sum[o][j]);
            }
        }
    }
    // Shares are added in their order.
    if (shares > 1) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 16; ++i) staging[i * EXACT_THREADS + threadIdx.x] = sum[i / 4][i % 4];
        __syncthreads();
        if (share > 0) return;
        for (int other = 1; other < shares; ++other) {
            int place = threadIdx.x + other * tap_threads * out_threads;
#pragma unroll
            for (int i = 0; i < 16; ++i) sum[i / 4][i % 4] += staging[i * EXACT_THREADS + place];
        }
    }
    float* piece = partial + ((u64)blockIdx.x * s.groups + group) * s.out_channels * kept;
#pragma unroll
    for (int o = 0; o < 4; ++o) {
        int out = first_out + own_out * 4 + o;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            int k = first_kept + own_kept + j * tap_threads;
            if (out < s.out_channels && k < kept) piece[(u64)out * kept + k] = sum[o][j];
        }
    }
}

#define CONV_KERNEL_GRAD_EXACT(name, X, G)                                                                                      \
    extern "C" __global__ void __launch_bounds__(EXACT_THREADS, 6) name(const X* x, const G* g, const int* offsets,             \
                                                                        float* partial, Gather s, int out_threads,              \
                                                                        int tap_threads, int points, int tiles) {               \
        conv_kernel_grad_exact<X, G>(x, g, offsets, partial, s, out_threads, tap_threads, points, tiles);                       \
    }
