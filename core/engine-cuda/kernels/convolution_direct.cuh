// Convolutions whose kernels are too large for what a tile sees to be staged: each sum by itself, from global memory.

// Where a tap of a point lies in its channel; -1 in the padding. Offsets are those within a patch of one point.
__device__ __forceinline__ int direct_cell(const Gather& s, int row, int column, int offset) {
    int down = offset / s.patch_columns;
    int y = row * s.row_step + s.first_row + down, x = column * s.column_step + s.first_column + offset - down * s.patch_columns;
    return y >= 0 && y < s.in_height && x >= 0 && x < s.in_width ? y * s.in_width + x : -1;
}

// A thread has a point of a channel; the kernel's steps are those of conv_weights.
template <class X, class W, class Y>
__device__ __forceinline__ void conv_direct(const X* x, const W* kernel, const int* places, const int* offsets, Y* y, u64 count,
                                            const Gather& s, int group_step, int in_step, int out_step,
                                            const Afterwards& after) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    u64 line = i / (u32)s.columns;
    int column = (int)(i - line * s.columns);
    u64 channel = line / (u32)s.rows;
    int row = (int)(line - channel * s.rows);
    u64 part = channel / (u32)s.out_channels;
    int out = (int)(channel - part * s.out_channels), group = (int)(part % s.groups);
    u64 area = (u64)s.in_height * s.in_width;
    const X* from = x + part * s.in_channels * area;
    const W* w = kernel + (u64)group * group_step + (u64)out * out_step;
    float sum = 0.0f;
    for (int c = 0; c < s.in_channels; ++c, from += area, w += in_step) {
        for (int tap = 0; tap < s.taps; ++tap) {
            int cell = direct_cell(s, row, column, offsets[tap]);
            if (cell >= 0) sum = fmaf(widen(w[places[tap]]), widen(from[cell]), sum);
        }
    }
    int at = (s.out_row + row * s.out_row_step) * s.out_width + s.out_column + column * s.out_column_step;
    y[channel * s.out_height * s.out_width + at] = narrow<Y>(after(sum, (int)(channel % (u32)(s.groups * s.out_channels))));
}

#define CONV_DIRECT(name, X, W, Y)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) name(const X* x, const W* kernel, const int* places, const int* offsets,  \
                                                           Y* y, u64 count, Gather s, int group_step, int in_step,              \
                                                           int out_step, const float* bias, float slope) {                      \
        conv_direct<X, W, Y>(x, kernel, places, offsets, y, count, s, group_step, in_step, out_step,                            \
                             Afterwards{bias, slope});                                                                          \
    }

// A block has an element of the kernel.
template <class X, class G, class Y>
__device__ __forceinline__ void conv_kernel_grad_direct(const X* x, const G* g, const int* offsets, Y* y, const Gather& s) {
    __shared__ float shared[32];
    int tap = blockIdx.x % s.taps, line = blockIdx.x / s.taps;
    int channel = line % s.in_channels, out = line / s.in_channels;
    int group = out / s.out_channels, channels = s.groups * s.out_channels;
    int points = s.rows * s.columns;
    u64 area = (u64)s.in_height * s.in_width;
    float sum = 0.0f;
    for (int image = 0; image < s.images; ++image) {
        const X* from = x + ((u64)image * s.groups * s.in_channels + group * s.in_channels + channel) * area;
        const G* given = g + ((u64)image * channels + out) * points;
        for (int i = threadIdx.x; i < points; i += blockDim.x) {
            int cell = direct_cell(s, i / s.columns, i % s.columns, offsets[tap]);
            if (cell >= 0) sum = fmaf(widen(given[i]), widen(from[cell]), sum);
        }
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) y[blockIdx.x] = narrow<Y>(sum);
}

#define CONV_KERNEL_GRAD_DIRECT(name, X, G, Y)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) name(const X* x, const G* g, const int* offsets, Y* y, Gather s) {        \
        conv_kernel_grad_direct<X, G, Y>(x, g, offsets, y, s);                                                                  \
    }
