// Convolutions. Forward and the gradient of the image are one thing here: points are laid over an image at a step, and each gathers
// what its taps see. A tile of points stages the cells that it sees in shared memory, some channels at a time, and computes from
// there. What is summed is f32; the order of sums depends on shapes alone.

// Points over images, and how they are cut into tiles.
struct Gather {
    int images, groups;
    int in_channels, out_channels;  // of a group
    int in_height, in_width;
    int rows, columns;              // points
    int row_step, column_step;      // cells from one point to the next
    int first_row, first_column;    // the first cell that the first point sees; negative in the padding
    int out_height, out_width;
    int out_row, out_column;        // where the first point's result is stored
    int out_row_step, out_column_step;
    int taps;
    int tile_images, tile_rows, tile_columns;
    int tiles_down, tiles_across;
    int patch_rows, patch_columns;  // cells that a tile sees
    int plane;                      // numbers from one channel of a patch to the next
    int chunk;                      // channels that are staged at a time
    u32 tile_rows_part, tile_columns_part, patch_rows_part, patch_columns_part;  // see quotient
};

// n / d for n and d below 2^16, where `part` is 2^32 / d, rounded up to more than that; 0 for a d of 1.
__device__ __forceinline__ int quotient(int n, u32 part) { return part == 0 ? n : (int)__umulhi((u32)n, part); }

// Where a tile begins.
struct Tile {
    int image, row, column;
};

__device__ __forceinline__ Tile tile_of(const Gather& s, int tile) {
    int line = tile / s.tiles_across;
    Tile t;
    t.column = (tile - line * s.tiles_across) * s.tile_columns;
    t.image = line / s.tiles_down * s.tile_images;
    t.row = line % s.tiles_down * s.tile_rows;
    return t;
}

// A point of a tile.
struct Point {
    int image, row, column;  // within the tile
    bool there;
};

__device__ __forceinline__ Point point_of(const Gather& s, const Tile& t, int index) {
    Point p;
    int line = quotient(index, s.tile_columns_part);
    p.column = index - line * s.tile_columns;
    p.image = quotient(line, s.tile_rows_part);
    p.row = line - p.image * s.tile_rows;
    p.there = p.image < s.tile_images && t.image + p.image < s.images && t.row + p.row < s.rows && t.column + p.column < s.columns;
    return p;
}

// The first cell of the patch that a point sees; one that is not there sees what is.
__device__ __forceinline__ int cell_of(const Gather& s, const Point& p) {
    return p.there ? (p.image * s.patch_rows + p.row * s.row_step) * s.patch_columns + p.column * s.column_step : 0;
}

// Where a point's result is stored within a channel.
__device__ __forceinline__ int stored_at(const Gather& s, const Tile& t, const Point& p) {
    int row = s.out_row + (t.row + p.row) * s.out_row_step;
    return row * s.out_width + s.out_column + (t.column + p.column) * s.out_column_step;
}

// The cells of a patch, shared by the threads of a block: calls `see(place in the patch, cell in an image's channel or -1, image)`.
template <class See> __device__ __forceinline__ void each_cell(const Gather& s, const Tile& t, See see) {
    int cells = s.tile_images * s.patch_rows * s.patch_columns;
    int top = t.row * s.row_step + s.first_row, left = t.column * s.column_step + s.first_column;
    for (int at = threadIdx.x; at < cells; at += blockDim.x) {
        int line = quotient(at, s.patch_columns_part);
        int column = left + at - line * s.patch_columns;
        int image = quotient(line, s.patch_rows_part);
        int row = top + line - image * s.patch_rows;
        image += t.image;
        bool inside = image < s.images && row >= 0 && row < s.in_height && column >= 0 && column < s.in_width;
        see(at, inside ? row * s.in_width + column : -1, image);
    }
}

// Some channels of the cells of a tile, f32, `plane` numbers apart; zeros outside.
template <class X>
__device__ __forceinline__ void stage_floats(const Gather& s, const Tile& t, const X* x, int group, int first, int count, float* patch) {
    u64 area = (u64)s.in_height * s.in_width;
    each_cell(s, t, [&](int at, int cell, int image) {
        if (cell < 0) {
            for (int c = 0; c < count; ++c) patch[c * s.plane + at] = 0.0f;
            return;
        }
        const X* from = x + ((u64)image * s.groups * s.in_channels + group * s.in_channels + first) * area + cell;
#pragma unroll 4
        for (int c = 0; c < count; ++c) patch[c * s.plane + at] = widen(from[c * area]);
    });
}

// Weights as kernels read them: `to` [groups, in, taps, padded] f32, zeros behind the last channel, of the kernel at
// group * group_step + in * in_step + out * out_step + places[tap].
template <class W>
__device__ __forceinline__ void conv_weights(const W* kernel, const int* places, float* to, int count, int in_channels, int taps,
                                             int out_channels, int padded, int group_step, int in_step, int out_step) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    int out = i % padded, line = i / padded;
    int tap = line % taps, channel = line / taps;
    int group = channel / in_channels;
    channel -= group * in_channels;
    u64 at = (u64)group * group_step + (u64)channel * in_step + (u64)out * out_step + places[tap];
    to[i] = out < out_channels ? widen(kernel[at]) : 0.0f;
}

#define CONV_WEIGHTS(name, W)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) name(const W* kernel, const int* places, float* to, int count,            \
                                                           int in_channels, int taps, int out_channels, int padded,             \
                                                           int group_step, int in_step, int out_step) {                         \
        conv_weights<W>(kernel, places, to, count, in_channels, taps, out_channels, padded, group_step, in_step, out_step);     \
    }

// Sums `parts` arrays of `count` numbers, in this order: eight runs of parts, then the runs.
template <class Y> __device__ __forceinline__ void conv_sum(const float* from, Y* to, int count, int parts) {
    __shared__ float runs[8][33];
    int lane = threadIdx.x & 31, run = threadIdx.x >> 5;
    int i = blockIdx.x * 32 + lane;
    int each = (parts + 7) / 8;
    int last = min(parts, (run + 1) * each);
    float sum = 0.0f;
    if (i < count) {
#pragma unroll 8
        for (int p = run * each; p < last; ++p) sum += from[(u64)p * count + i];
    }
    runs[run][lane] = sum;
    __syncthreads();
    if (run == 0 && i < count) {
        for (int r = 1; r < 8; ++r) sum += runs[r][lane];
        to[i] = narrow<Y>(sum);
    }
}

#define CONV_SUM(name, Y)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) name(const float* from, Y* to, int count, int parts) {                    \
        conv_sum<Y>(from, to, count, parts);                                                                                    \
    }

// What becomes of a sum on its way: a number of its channel is added, if there are any, and it goes through a leaky rectifier, whose slope
// is 1 where there is none.
struct Afterwards {
    const float* bias;
    float slope;

    __device__ __forceinline__ float operator()(float sum, int channel) const {
        if (bias) sum += bias[channel];
        return sum > 0.0f ? sum : slope * sum;
    }
};
