// Bilinear samples of images [n, c, h, w] at a grid [n, oh, ow, 2] of (x, y) in -1..1, zeros outside; and their gradients. I is the
// type of a point's index.

struct Sampled {
    int channels, height, width;
    int points;                 // of an image
    int share;                  // of the channels, that a thread takes
    float x_scale, x_shift;     // a point at g lies at pixel (g + 1) * scale + shift
    float y_scale, y_shift;
};

// The pixels before and after a point along an axis: clamped into the image, with weights that are 0 where they lie outside, and what
// the weights gain when the point moves by a pixel.
struct Beside {
    int at[2];
    float weight[2], slope[2];
};

// Operations are rounded one by one, as they are in the operation's meaning.
__device__ __forceinline__ Beside beside(float g, float scale, float shift, int size) {
    float position = __fadd_rn(__fmul_rn(__fadd_rn(g, 1.0f), scale), shift);
    float low = floorf(position), part = position - low, last = (float)(size - 1);
    Beside b;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        float index = k == 0 ? low : low + 1.0f;
        bool inside = index >= 0.0f && index <= last;
        b.weight[k] = inside ? (k == 0 ? 1.0f - part : part) : 0.0f;
        b.slope[k] = inside ? (k == 0 ? -1.0f : 1.0f) : 0.0f;
        // A coordinate that is NaN reads the first pixel; a float may hold the last index only roughly.
        b.at[k] = index >= 0.0f ? (index < last ? (int)index : size - 1) : 0;
    }
    return b;
}

// A point and its four pixels, row-major.
struct Corners {
    Beside x, y;
    int at[4];
    float weight[4];
};

template <class P> __device__ __forceinline__ Corners corners(const P* grid, u64 point, const Sampled& s) {
    Corners c;
    c.x = beside(widen(grid[2 * point]), s.x_scale, s.x_shift, s.width);
    c.y = beside(widen(grid[2 * point + 1]), s.y_scale, s.y_shift, s.height);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        c.at[k] = c.y.at[k / 2] * s.width + c.x.at[k % 2];
        c.weight[k] = c.y.weight[k / 2] * c.x.weight[k % 2];
    }
    return c;
}

// A thread has a point, and a share of its channels.
template <class X, class P, class Y, class I>
__device__ __forceinline__ void sample_forward(const X* x, const P* grid, Y* y, u64 count, const Sampled& s) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    I image = i / (u32)s.points;
    Corners c = corners(grid, i, s);
    const int begin = blockIdx.y * s.share, end = min(begin + s.share, s.channels);
    const u64 area = (u64)s.height * s.width, plane = (u64)image * s.channels + begin;
    const X* from = x + plane * area;
    Y* to = y + plane * s.points + (i - image * s.points);
    for (int channel = begin; channel < end; ++channel, from += area, to += s.points) {
        float v = widen(from[c.at[0]]) * c.weight[0] + widen(from[c.at[1]]) * c.weight[1];
        v += widen(from[c.at[2]]) * c.weight[2];
        v += widen(from[c.at[3]]) * c.weight[3];
        *to = narrow<Y>(v);
    }
}

#define GRID_SAMPLE(name, X, P, Y, I)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256) name(const X* x, const P* grid, Y* y, u64 count, Sampled s) {             \
        sample_forward<X, P, Y, I>(x, grid, y, count, s);                                                                       \
    }

// The cotangent of the grid. A block has as many points as it has threads to a slice; the slices take the channels in turn, and their
// sums are added in their order.
template <class X, class P, class G, class D, class I>
__device__ __forceinline__ void sample_points_backward(const X* x, const P* grid, const G* g, D* dgrid, u64 count, const Sampled& s,
                                                       int slices) {
    __shared__ float parts[4][128];
    const int here = 128 / slices, slice = threadIdx.x / here;
    I i = (I)blockIdx.x * here + (threadIdx.x - slice * here);
    const bool mine = i < count;
    if (!mine) i = (I)count - 1;
    I image = i / (u32)s.points;
    Corners c = corners(grid, i, s);
    const u64 area = (u64)s.height * s.width, plane = (u64)image * s.channels;
    const X* from = x + (plane + slice) * area;
    const G* given = g + (plane + slice) * s.points + (i - image * s.points);
    float sum[4] = {};
    for (int channel = slice; channel < s.channels; channel += slices, from += slices * area, given += (u64)slices * s.points) {
        float of = widen(*given);
#pragma unroll
        for (int k = 0; k < 4; ++k) sum[k] += of * widen(from[c.at[k]]);
    }
    if (slices > 1) {
#pragma unroll
        for (int k = 0; k < 4; ++k) parts[k][threadIdx.x] = sum[k];
        __syncthreads();
        if (slice > 0) return;
        for (int other = 1; other < slices; ++other) {
#pragma unroll
            for (int k = 0; k < 4; ++k) sum[k] += parts[k][other * here + threadIdx.x];
        }
    }
    if (!mine) return;
    // A weight that is held at 0 has no gradient, not even NaN.
    float along_x = 0.0f, along_y = 0.0f;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        if (c.x.slope[k] != 0.0f) along_x += c.x.slope[k] * (sum[k] * c.y.weight[0] + sum[2 + k] * c.y.weight[1]);
        if (c.y.slope[k] != 0.0f) along_y += c.y.slope[k] * (sum[2 * k] * c.x.weight[0] + sum[2 * k + 1] * c.x.weight[1]);
    }
    dgrid[2 * (u64)i] = narrow<D>(along_x * s.x_scale);
    dgrid[2 * (u64)i + 1] = narrow<D>(along_y * s.y_scale);
}

#define GRID_SAMPLE_POINTS_GRAD(name, X, P, G, D, I)                                                                            \
    extern "C" __global__ void __launch_bounds__(128) name(const X* x, const P* grid, const G* g, D* dgrid, u64 count,          \
                                                           Sampled s, int slices) {                                             \
        sample_points_backward<X, P, G, D, I>(x, grid, g, dgrid, count, s, slices);                                             \
    }

// The cotangent of the images. Many points may add to a pixel, in any order; so that the sum is always the same it is one of integers,
// multiples of a power of two that is chosen by the largest cotangent of the plane: what is huge in one image costs no other its digits.
// What is not finite is written over the sums afterwards.

// `largest` is, word by word: whether there is anything that is not finite; and of each plane the bits of the largest finite magnitude.

__device__ __forceinline__ void clear_sums(u64* sums, u32* largest, u64 count, u64 planes) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) sums[i] = 0;
    if (i <= planes) largest[i] = 0;
}

#define SAMPLE_CLEAR(name)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(256) name(u64* sums, u32* largest, u64 count, u64 planes) {                    \
        clear_sums(sums, largest, count, planes);                                                                               \
    }

// So many blocks share a plane of `points` cotangents.
template <class G> __device__ __forceinline__ void find_largest(const G* g, u32* largest, int points, int blocks) {
    __shared__ float shared[32];
    const u32 plane = blockIdx.x / blocks, part = blockIdx.x - plane * blocks;
    const G* given = g + (u64)plane * points;
    float own = 0.0f, odd = 0.0f;
    for (u32 i = part * blockDim.x + threadIdx.x; i < (u32)points; i += blocks * blockDim.x) {
        float v = fabsf(widen(given[i]));
        if (wild(v)) odd = 1.0f;
        else own = fmaxf(own, v);
    }
    own = block_max(own, shared);
    odd = block_max(odd, shared);
    // The order of magnitudes is that of their bits.
    if (threadIdx.x == 0) {
        if (odd != 0.0f) atomicMax(largest, 1u);
        atomicMax(largest + 1 + plane, __float_as_uint(own));
    }
}

#define SAMPLE_LARGEST(name, G)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) name(const G* g, u32* largest, int points, int blocks) {                  \
        find_largest<G>(g, largest, points, blocks);                                                                            \
    }

// A float whose only bit of mantissa is the first.
__device__ __forceinline__ float power_of_two(int exponent) { return __uint_as_float((u32)(exponent + 127) << 23); }

// The exponent of what sums are multiplied by: 2^room cotangents, all as the largest, stay below 2^62. Those that are almost nothing
// are not brought up to that, as the factor must be a float: they are multiples of 2^-126.
__device__ __forceinline__ int sum_exponent(u32 largest, int room) {
    // Magnitudes are below 2^(e - 126), subnormal ones too.
    return min(62 - room - ((int)(largest >> 23) - 126), 126);
}

template <class P, class G, class I>
__device__ __forceinline__ void scatter_samples(const P* grid, const G* g, const u32* largest, u64* sums, u64 count, const Sampled& s,
                                                int room) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    I image = i / (u32)s.points;
    Corners c = corners(grid, i, s);
    const int begin = blockIdx.y * s.share, end = min(begin + s.share, s.channels);
    const u64 area = (u64)s.height * s.width, plane = (u64)image * s.channels + begin;
    const G* given = g + plane * s.points + (i - image * s.points);
    const u32* magnitude = largest + 1 + plane;
    u64* to = sums + plane * area;
    for (int channel = begin; channel < end; ++channel, given += s.points, ++magnitude, to += area) {
        float of = widen(*given);
        if (wild(of)) continue;
        const float scale = power_of_two(sum_exponent(*magnitude, room));
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (c.weight[k] != 0.0f) atomicAdd(to + c.at[k], (u64)(long long)rintf(of * c.weight[k] * scale));
        }
    }
}

#define SAMPLE_SCATTER(name, P, G, I)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256) name(const P* grid, const G* g, const u32* largest, u64* sums, u64 count, \
                                                           Sampled s, int room) {                                               \
        scatter_samples<P, G, I>(grid, g, largest, sums, count, s, room);                                                       \
    }

template <class D, class I>
__device__ __forceinline__ void convert_sums(const u64* sums, const u32* largest, D* dx, u64 count, int area, int room) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    dx[i] = narrow<D>((float)(long long)sums[i] * power_of_two(-sum_exponent(largest[1 + i / (u32)area], room)));
}

#define SAMPLE_CONVERT(name, D, I)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) name(const u64* sums, const u32* largest, D* dx, u64 count, int area,     \
                                                           int room) {                                                          \
        convert_sums<D, I>(sums, largest, dx, count, area, room);                                                               \
    }

// Makes NaN of a number, whatever it is and whoever does the same.
__device__ __forceinline__ void spoil(float* p) { atomicOr((u32*)p, 0x7fc00000u); }
__device__ __forceinline__ void spoil(bf16* p) {
    u64 at = (u64)p;
    atomicOr((u32*)(at & ~(u64)3), at & 2 ? 0x7fc00000u : 0x7fc0u);
}

// NaN for every pixel beside a point whose cotangent is not finite: even a weight of 0 makes NaN of that.
template <class P, class G, class D, class I>
__device__ __forceinline__ void spoil_samples(const P* grid, const G* g, const u32* largest, D* dx, u64 count, const Sampled& s) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count || largest[0] == 0) return;
    I image = i / (u32)s.points;
    Corners c = corners(grid, i, s);
    const u64 area = (u64)s.height * s.width, plane = (u64)image * s.channels;
    const G* given = g + plane * s.points + (i - image * s.points);
    D* to = dx + plane * area;
    for (int channel = 0; channel < s.channels; ++channel, given += s.points, to += area) {
        if (!wild(widen(*given))) continue;
#pragma unroll
        for (int k = 0; k < 4; ++k) spoil(to + c.at[k]);
    }
}

#define SAMPLE_SPOIL(name, P, G, D, I)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256) name(const P* grid, const G* g, const u32* largest, D* dx, u64 count,     \
                                                           Sampled s) {                                                         \
        spoil_samples<P, G, D, I>(grid, g, largest, dx, count, s);                                                              \
    }
