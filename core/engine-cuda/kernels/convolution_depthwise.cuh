// Convolutions of a channel with a kernel of its own: bound by memory, in f32. Planes [images * channels] stand for the images of a
// gather of one channel.

constexpr int DEPTH_THREADS = 256;

// A thread has four points. `kernel` is [channels, size]; `places` says where in it each tap lies.
template <class X, class W, class Y>
__device__ __forceinline__ void conv_depthwise(const X* x, const W* kernel, const int* places, const int* offsets, Y* y,
                                               const Gather& s, int channels, int size, const Afterwards& after) {
    EXTERN_SHARED(Four, memory);
    float* staging = (float*)memory;
    float* patch = staging;                  // [plane]
    float* weights = patch + s.plane;            // [tile_images, taps]
    int* tap_at = (int*)(weights + s.tile_images * s.taps);
    const Tile t = tile_of(s, blockIdx.x);
    stage_floats(s, t, x, 0, 0, 1, patch);
    for (int i = threadIdx.x; i < s.taps; i += DEPTH_THREADS) tap_at[i] = offsets[i];
    for (int i = threadIdx.x; i < s.tile_images * s.taps; i += DEPTH_THREADS) {
        int image = i / s.taps;
        weights[i] = widen(kernel[(u64)((t.image + image) % channels) * size + places[i - image * s.taps]]);
    }
    __syncthreads();
    int from[4], own[4];
    Point p[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        p[j] = point_of(s, t, j * DEPTH_THREADS + threadIdx.x);
        from[j] = cell_of(s, p[j]);
        own[j] = p[j].there ? p[j].image * s.taps : 0;
    }
    float sum[4] = {};
    for (int tap = 0; tap < s.taps; ++tap) {
        const float* at = patch + tap_at[tap];
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[j] = fmaf(weights[own[j] + tap], at[from[j]], sum[j]);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        if (!p[j].there) continue;
        int plane = t.image + p[j].image;
        y[(u64)plane * s.out_height * s.out_width + stored_at(s, t, p[j])] = narrow<Y>(after(sum[j], plane % channels));
    }
}

#define CONV_DEPTHWISE(name, X, W, Y)                                                                                           \
    extern "C" __global__ void __launch_bounds__(DEPTH_THREADS) name(const X* x, const W* kernel, const int* places,            \
                                                                     const int* offsets, Y* y, Gather s, int channels,          \
                                                                     int size, const float* bias, float slope) {                \
        conv_depthwise<X, W, Y>(x, kernel, places, offsets, y, s, channels, size, Afterwards{bias, slope});                     \
    }

// The kernels' gradient: a block takes one channel of some images; a warp some taps. To partial[split, channels, taps].
template <class X, class G>
__device__ __forceinline__ void conv_depthwise_grad(const X* x, const G* g, const int* offsets, float* partial, const Gather& s,
                                                    int points) {
    EXTERN_SHARED(Four, memory);
    float* staging = (float*)memory;
    float* patch = staging;                  // [plane]
    float* cotangent = patch + s.plane;          // [points]
    int* cells = (int*)(cotangent + points);     // [points], -1 for one that is not there
    float* sums = (float*)(cells + points);      // [taps]
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = DEPTH_THREADS / 32;
    const int channel = blockIdx.y;
    for (int tap = threadIdx.x; tap < s.taps; tap += DEPTH_THREADS) sums[tap] = 0.0f;
    const int tiles = (s.images + s.tile_images - 1) / s.tile_images * s.tiles_down * s.tiles_across;
    const int begin = (int)((long long)tiles * blockIdx.x / gridDim.x);
    const int end = (int)((long long)tiles * (blockIdx.x + 1) / gridDim.x);
    const u64 area = (u64)s.out_height * s.out_width;
    for (int tile = begin; tile < end; ++tile) {
        const Tile t = tile_of(s, tile);
        __syncthreads();
        stage_floats(s, t, x, channel, 0, 1, patch);
        for (int i = threadIdx.x; i < points; i += DEPTH_THREADS) {
            Point p = point_of(s, t, i);
            cells[i] = p.there ? cell_of(s, p) : -1;
            if (p.there) cotangent[i] = widen(g[((u64)(t.image + p.image) * s.groups + channel) * area + stored_at(s, t, p)]);
        }
        __syncthreads();
        for (int tap = warp; tap < s.taps; tap += warps) {
            const float* at = patch + offsets[tap];
            float sum = 0.0f;
            for (int i = lane; i < points; i += 32) {
                if (cells[i] >= 0) sum = fmaf(cotangent[i], at[cells[i]], sum);
            }
            sum = warp_sum(sum);
            if (lane == 0) sums[tap] += sum;
        }
    }
    __syncthreads();
    float* to = partial + ((u64)blockIdx.x * s.groups + channel) * s.taps;
    for (int tap = threadIdx.x; tap < s.taps; tap += DEPTH_THREADS) to[tap] = sums[tap];
}

#define CONV_DEPTHWISE_GRAD(name, X, G)                                                                                         \
    extern "C" __global__ void __launch_bounds__(DEPTH_THREADS) name(const X* x, const G* g, const int* offsets, float* partial,\
                                                                     Gather s, int points) {                                    \
        conv_depthwise_grad<X, G>(x, g, offsets, partial, s, points);                                                           \
    }
