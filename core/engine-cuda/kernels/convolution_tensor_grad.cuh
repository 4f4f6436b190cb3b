// The gradient of a kernel on tensor cores: rows of a are channels of the result, columns of b are taps of the image's channels, and what
// is summed over are words of points: two in bfloat16, one in tf32. A patch is staged as a word for each cell: its number, and in bfloat16
// that of the cell a step to the right too, so that a word has the cells that two neighbouring points see through one tap.

// `count` channels of the cells of a tile, `plane` words apart; zeros outside. The last cells' right halves stay what they are.
template <class X>
__device__ __forceinline__ void stage_neighbours(const Gather& s, const Tile& t, const X* x, int group, int first, int count, u32* patch) {
    u64 area = (u64)s.in_height * s.in_width;
    each_cell(s, t, [&](int at, int cell, int image) {
        const X* from = x + ((u64)image * s.groups * s.in_channels + group * s.in_channels + first) * area + cell;
        bf16* word = (bf16*)(patch + at);
        int back = 2 * s.column_step - 1;
        bool left = at >= s.column_step;
#pragma unroll 4
        for (int c = 0; c < count; ++c, word += 2 * s.plane) {
            bf16 v = narrow<bf16>(cell < 0 ? 0.0f : widen(from[c * area]));
            word[0] = v;
            if (left) word[-back] = v;
        }
    });
}

// What to keep of a word of points: those that are not there have zeros for cotangents, but what they see might not be finite.
template <class F> __device__ __forceinline__ u32 kept_of(const int* stored) {
    if constexpr (Factor<F>::NUMBERS == 2) {
        return (stored[0] < 0 ? 0 : 0xffffu) | (stored[1] < 0 ? 0 : 0xffff0000u);
    } else {
        return stored[0] < 0 ? 0 : 0xffffffffu;
    }
}

// A word of the cotangents of points, whose places are negative where there is none.
template <class F, class G> __device__ __forceinline__ u32 cotangents_of(const G* from, bool there, int one, int two) {
    G none = narrow<G>(0.0f), first = there && one >= 0 ? from[one] : none;
    if constexpr (Factor<F>::NUMBERS == 2) {
        return pair_of(first, there && two >= 0 ? from[two] : none);
    } else {
        return round_tf32(widen(first));
    }
}

// Words from one row of what is staged of the cotangent to the next: eight rows by four words are then in 32 banks.
__device__ __forceinline__ int cotangent_pitch(int words) { return (words + 27) / 32 * 32 + 4; }

// Each block sums the points of some tiles for HIGH tiles of channels by four times WIDE tiles of taps, a quarter of these in each warp;
// tiles have `steps` times eight words of points, some of which are not there, and columns that fill words. To
// partial[split, groups, out, in * taps].
template <class F, class X, class G, int HIGH, int WIDE>
__device__ __forceinline__ void conv_kernel_grad_tensor(const X* x, const G* g, const int* offsets, float* partial, const Gather& s,
                                                        int steps, int tiles) {
    EXTERN_SHARED(Four, memory);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = blockIdx.z, warps = TENSOR_THREADS / 32;
    constexpr int NUMBERS = Factor<F>::NUMBERS;
    const int words = steps * 8, points = words * NUMBERS, pitch = cotangent_pitch(words), kept = s.in_channels * s.taps;
    const int out_blocks = (s.out_channels + HIGH * 16 - 1) / (HIGH * 16);
    const int first_out = blockIdx.y % out_blocks * HIGH * 16, first_kept = blockIdx.y / out_blocks * warps * WIDE * 8;
    const int first_channel = first_kept / s.taps, count = min(s.chunk, s.in_channels - first_channel);
    u32* patch = (u32*)memory;                      // [chunk, plane]
    u32* cotangent = patch + s.chunk * s.plane;     // [HIGH * 16, pitch]
    int* cells = (int*)(cotangent + HIGH * 16 * pitch);  // [points]
    int* stored = cells + points;                   // [points], -1 for one that is not there
    const int area = s.out_height * s.out_width;

    int at[WIDE];
#pragma unroll
    for (int j = 0; j < WIDE; ++j) {
        int k = first_kept + (warp * WIDE + j) * 8 + (lane >> 2), channel = k / s.taps;
        at[j] = k < kept ? (channel - first_channel) * s.plane + offsets[k - channel * s.taps] : 0;
    }
    float sum[HIGH][WIDE][4] = {};
    const int begin = (int)((long long)tiles * blockIdx.x / gridDim.x), end = (int)((long long)tiles * (blockIdx.x + 1) / gridDim.x);
    for (int tile = begin; tile < end; ++tile) {
        const Tile t = tile_of(s, tile);
        __syncthreads();
        for (int i = threadIdx.x; i < points; i += TENSOR_THREADS) {
            Point p = point_of(s, t, i);
            cells[i] = cell_of(s, p);
            stored[i] = p.there ? p.image * s.groups * s.out_channels * area + stored_at(s, t, p) : -1;
        }
        if constexpr (NUMBERS == 2) {
            stage_neighbours(s, t, x, group, first_channel, count, patch);
        } else {
            stage_words<F>(s, t, x, group, first_channel, count, patch);
        }
        __syncthreads();
        const G* given = g + (((u64)t.image * s.groups + group) * s.out_channels + first_out) * area;
        for (int i = lane; i < words; i += 32) {
            int one = stored[NUMBERS * i], two = stored[NUMBERS * i + NUMBERS - 1];
#pragma unroll 4
            for (int out = warp; out < HIGH * 16; out += warps) {
                bool there = first_out + out < s.out_channels;
                cotangent[out * pitch + i] = cotangents_of<F>(given + (u64)out * area, there, one, two);
            }
        }
        __syncthreads();
        const u32* rows = cotangent + (lane >> 2) * pitch + (lane & 3);
        const int *seen = cells + (lane & 3) * NUMBERS, *there = stored + (lane & 3) * NUMBERS;
        for (int step = 0; step < steps; ++step, rows += 8, seen += 8 * NUMBERS, there += 8 * NUMBERS) {
            int first = seen[0], second = seen[4 * NUMBERS];
            u32 first_mask = kept_of<F>(there), second_mask = kept_of<F>(there + 4 * NUMBERS);
            u32 a[HIGH][4];
#pragma unroll
            for (int h = 0; h < HIGH; ++h) {
                const u32* row = rows + h * 16 * pitch;
                a[h][0] = row[0];
                a[h][1] = row[8 * pitch];
                a[h][2] = row[4];
                a[h][3] = row[8 * pitch + 4];
            }
#pragma unroll
            for (int j = 0; j < WIDE; ++j) {
                u32 b[2] = {patch[at[j] + first] & first_mask, patch[at[j] + second] & second_mask};
#pragma unroll
                for (int h = 0; h < HIGH; ++h) mma<F>(sum[h][j], a[h], b);
            }
        }
    }
    const u64 piece = ((u64)blockIdx.x * s.groups + group) * s.out_channels * kept;
#pragma unroll
    for (int h = 0; h < HIGH; ++h) {
#pragma unroll
        for (int j = 0; j < WIDE; ++j) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int out = first_out + h * 16 + (lane >> 2) + half * 8;
                int k = first_kept + (warp * WIDE + j) * 8 + (lane & 3) * 2;
                if (out >= s.out_channels || k >= kept) continue;
                u64 at = piece + (u64)out * kept + k;
                float of[2] = {sum[h][j][2 * half], sum[h][j][2 * half + 1]};
                if (k + 1 < kept && (at & 1) == 0) {
                    store_pair(partial + at, of[0], of[1]);
                } else {
                    partial[at] = of[0];
                    if (k + 1 < kept) partial[at + 1] = of[1];
                }
            }
        }
    }
}

#define CONV_KERNEL_GRAD_TENSOR(name, F, X, G, HIGH, WIDE)                                                                      \
    extern "C" __global__ void __launch_bounds__(TENSOR_THREADS, HIGH == 4 ? 3 : 4)                                             \
        name(const X* x, const G* g, const int* offsets, float* partial, Gather s, int steps, int tiles) {                      \
        conv_kernel_grad_tensor<F, X, G, HIGH, WIDE>(x, g, offsets, partial, s, steps, tiles);                                  \
    }
