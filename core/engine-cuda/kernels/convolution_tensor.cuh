// Convolutions on tensor cores: factors bfloat16 or tf32, sums f32. Of the products a[16 x 8 words] b[8 words x 8] the rows of a are
// channels of the result, the columns of b are points, and what is summed over are words of the image's channels, tap by tap: two channels
// of bfloat16 or one of tf32. A patch is staged as such words, so that a lane's part of b is a word of a cell.

// Threads of a block; columns of products that a warp has: 64 points.
constexpr int TENSOR_THREADS = 128, TENSOR_COLUMNS = 8;

struct alignas(16) Fragment {
    u32 word[4];
};

// `count` channels of the cells of a tile in words, `plane` of them apart; zeros outside, and in the rest of the chunk.
template <class F, class X>
__device__ __forceinline__ void stage_words(const Gather& s, const Tile& t, const X* x, int group, int first, int count, u32* patch) {
    constexpr int NUMBERS = Factor<F>::NUMBERS;
    u64 area = (u64)s.in_height * s.in_width;
    int words = s.chunk / NUMBERS;
    each_cell(s, t, [&](int at, int cell, int image) {
        int w = 0;
        if (cell >= 0) {
            const X* from = x + ((u64)image * s.groups * s.in_channels + group * s.in_channels + first) * area + cell;
#pragma unroll 4
            for (; w < count / NUMBERS; ++w, from += NUMBERS * area) {
                if constexpr (NUMBERS == 2) {
                    patch[w * s.plane + at] = pair_of(from[0], from[area]);
                } else {
                    patch[w * s.plane + at] = round_tf32(widen(from[0]));
                }
            }
            if (count % NUMBERS) patch[w++ * s.plane + at] = pair_of(from[0], narrow<X>(0.0f));
        }
        for (; w < words; ++w) patch[w * s.plane + at] = 0;
    });
}

// Weights as a warp's lanes hold them: `to` [groups, tiles of 16 channels, chunks, steps, lanes]. A step is eight words: those of a
// chunk are tap by tap, all its words of channels for each. The rest is as for conv_weights.
template <class F, class W>
__device__ __forceinline__ void conv_fragments(const W* kernel, const int* places, Fragment* to, int count, int in_channels, int taps,
                                               int out_channels, int tiles, int chunk, int steps, int group_step, int in_step,
                                               int out_step) {
    constexpr int NUMBERS = Factor<F>::NUMBERS;
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    int lane = i & 31, line = i >> 5;
    int step = line % steps, part = line / steps;
    int chunks = (in_channels + chunk - 1) / chunk;
    int first = part % chunks * chunk, tile = part / chunks;
    int group = tile / tiles;
    tile -= group * tiles;
    Fragment f;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
        int out = tile * 16 + (lane >> 2) + (w & 1) * 8;
        int word = step * 8 + (lane & 3) + (w >> 1) * 4, words = chunk / NUMBERS;
        int tap = word / words;
        int channel = first + (word - tap * words) * NUMBERS;
        float of[NUMBERS];
#pragma unroll
        for (int e = 0; e < NUMBERS; ++e) {
            bool there = out < out_channels && tap < taps && channel + e < in_channels;
            u64 at = (u64)group * group_step + (u64)(channel + e) * in_step + (u64)out * out_step;
            of[e] = there ? widen(kernel[at + places[tap]]) : 0.0f;
        }
        if constexpr (NUMBERS == 2) {
            f.word[w] = pack_bf16(of[0], of[1]);
        } else {
            f.word[w] = round_tf32(of[0]);
        }
    }
    to[i] = f;
}

#define CONV_FRAGMENTS(name, F, W)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) name(const W* kernel, const int* places, Fragment* to, int count,         \
                                                           int in_channels, int taps, int out_channels, int tiles, int chunk,   \
                                                           int steps, int group_step, int in_step, int out_step) {              \
        conv_fragments<F, W>(kernel, places, to, count, in_channels, taps, out_channels, tiles, chunk, steps, group_step,       \
                             in_step, out_step);                                                                                \
    }

// Two results that stand side by side where the second is there.
__device__ __forceinline__ void store_pair(float* to, float first, float second) {
    *(Eight*)to = Eight{{__float_as_uint(first), __float_as_uint(second)}};
}
__device__ __forceinline__ void store_pair(bf16* to, float first, float second) { *(u32*)to = pack_bf16(first, second); }

// The products of eight words. Words that are not there (`GAPS`) have zeros for weights, and are not read: they might not be finite.
template <class F, int HIGH, bool GAPS>
__device__ __forceinline__ void conv_step(const u32* patch, const int* seen, const int from[TENSOR_COLUMNS], const Fragment* weights,
                                          int apart, float sum[HIGH][TENSOR_COLUMNS][4]) {
    int first = seen[0], second = seen[4];
    Fragment a[HIGH];
#pragma unroll
    for (int h = 0; h < HIGH; ++h) a[h] = weights[(u64)h * apart];
#pragma unroll
    for (int j = 0; j < TENSOR_COLUMNS; ++j) {
        u32 b[2];
        b[0] = GAPS && first < 0 ? 0 : patch[first + from[j]];
        b[1] = GAPS && second < 0 ? 0 : patch[second + from[j]];
#pragma unroll
        for (int h = 0; h < HIGH; ++h) mma<F>(sum[h][j], a[h].word, b);
    }
}

// y of x by `weights` as conv_fragments lays them out. A warp has HIGH tiles of channels; ACROSS of the block's four stand side by side
// along the channels, the others along the points.
template <class F, class X, class Y, int HIGH, int ACROSS>
__device__ __forceinline__ void conv_tensor(const X* x, const Fragment* weights, const int* offsets, Y* y, const Gather& s, int tiles,
                                            int steps, const Afterwards& after) {
    EXTERN_SHARED(Four, memory);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = blockIdx.z;
    const int points = TENSOR_THREADS / 32 / ACROSS * TENSOR_COLUMNS * 8, words = s.chunk / Factor<F>::NUMBERS;
    u32* patch = (u32*)memory;                  // [words, plane]
    int* seen = (int*)(patch + words * s.plane);  // [steps, 8], where each word lies in the patch; -1 for one that is not there
    int* cells = seen + steps * 8;              // [points]
    int* stored = cells + points;               // [points], -1 for one that is not there
    const Tile t = tile_of(s, blockIdx.x);
    const int area = s.out_height * s.out_width;
    for (int i = threadIdx.x; i < steps * 8; i += TENSOR_THREADS) {
        int tap = i / words;
        seen[i] = tap < s.taps ? (i - tap * words) * s.plane + offsets[tap] : -1;
    }
    for (int i = threadIdx.x; i < points; i += TENSOR_THREADS) {
        Point p = point_of(s, t, i);
        cells[i] = cell_of(s, p);
        stored[i] = p.there ? p.image * s.groups * s.out_channels * area + stored_at(s, t, p) : -1;
    }
    __syncthreads();
    const int first_point = warp / ACROSS * TENSOR_COLUMNS * 8;
    int from[TENSOR_COLUMNS];
#pragma unroll
    for (int j = 0; j < TENSOR_COLUMNS; ++j) from[j] = cells[first_point + j * 8 + (lane >> 2)];

    const int chunks = (s.in_channels + s.chunk - 1) / s.chunk, apart = chunks * steps * 32;
    const int first_tile = (blockIdx.y * ACROSS + warp % ACROSS) * HIGH;
    const Fragment* own = weights + (u64)(group * tiles + first_tile) * apart + lane;
    const int whole = s.taps * words / 8;
    float sum[HIGH][TENSOR_COLUMNS][4] = {};
    for (int first = 0; first < s.in_channels; first += s.chunk) {
        __syncthreads();
        stage_words<F>(s, t, x, group, first, min(s.chunk, s.in_channels - first), patch);
        __syncthreads();
        const int* at = seen + (lane & 3);
        for (int step = 0; step < whole; ++step, at += 8, own += 32) conv_step<F, HIGH, false>(patch, at, from, own, apart, sum);
        if (whole < steps) {
            conv_step<F, HIGH, true>(patch, at, from, own, apart, sum);
            own += 32;
        }
    }

    const u64 base = ((u64)t.image * s.groups + group) * s.out_channels * area;
#pragma unroll
    for (int j = 0; j < TENSOR_COLUMNS; ++j) {
        int i = first_point + j * 8 + (lane & 3) * 2;
        int one = stored[i], two = stored[i + 1];
        if (one < 0 && two < 0) continue;
#pragma unroll
        for (int h = 0; h < HIGH; ++h) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int out = (first_tile + h) * 16 + half * 8 + (lane >> 2);
                if (out >= s.out_channels) continue;
                u64 at = base + (u64)out * area;
                int channel = group * s.out_channels + out;
                float of[2] = {after(sum[h][j][half * 2], channel), after(sum[h][j][half * 2 + 1], channel)};
                if (two == one + 1 && ((at + one) & 1) == 0) {
                    store_pair(y + at + one, of[0], of[1]);
                } else {
                    if (one >= 0) y[at + one] = narrow<Y>(of[0]);
                    if (two >= 0) y[at + two] = narrow<Y>(of[1]);
                }
            }
        }
    }
}

#define CONV_TENSOR(name, F, X, Y, HIGH, ACROSS)                                                                                \
    extern "C" __global__ void __launch_bounds__(TENSOR_THREADS) name(const X* x, const Fragment* weights, const int* offsets,  \
                                                                      Y* y, Gather s, int tiles, int steps, const float* bias,  \
                                                                      float slope) {                                            \
        conv_tensor<F, X, Y, HIGH, ACROSS>(x, weights, offsets, y, s, tiles, steps, Afterwards{bias, slope});                   \
    }
