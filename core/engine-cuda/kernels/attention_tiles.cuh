// What attention multiplies on tensor cores: rows of memory, tiles of them in shared memory, and the products of a warp with these.

// Neighbours of a row as tensor cores are fed with them, eight in bf16 and four in tf32 ----------------------------------------------

struct alignas(16) Chunk {
    u32 x[4];
};

template <class F> struct Chunks {
    static const int NUMBERS = 4 * Factor<F>::NUMBERS;
};

__device__ __forceinline__ Chunk chunk_of(bf16, const bf16* p) { return *(const Chunk*)p; }
__device__ __forceinline__ Chunk chunk_of(bf16, const float* p) {
    Four a = load4(p), b = load4(p + 4);
    return Chunk{{pack_bf16(a.x[0], a.x[1]), pack_bf16(a.x[2], a.x[3]), pack_bf16(b.x[0], b.x[1]), pack_bf16(b.x[2], b.x[3])}};
}
template <class T> __device__ __forceinline__ Chunk chunk_of(tf32, const T* p) {
    Four f = load4(p);
    return Chunk{{round_tf32(f.x[0]), round_tf32(f.x[1]), round_tf32(f.x[2]), round_tf32(f.x[3])}};
}

__device__ __forceinline__ void store8(float* p, const float x[8]) {
    store4(p, Four{{x[0], x[1], x[2], x[3]}});
    store4(p + 4, Four{{x[4], x[5], x[6], x[7]}});
}
__device__ __forceinline__ void store8(bf16* p, const float x[8]) {
    *(Chunk*)p = Chunk{{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])}};
}

// Rows of a matrix from some row on; zeros beyond. They begin at multiples of eight, and are as wide as some of these.
template <class F, class T> struct Rows {
    const T* data;
    int stride, count, width;

    __device__ __forceinline__ Rows part(int row, int rows) const { return Rows{data + row * stride, stride, rows, width}; }
    __device__ __forceinline__ Chunk chunk(int row, int number) const {
        int at = number * Chunks<F>::NUMBERS;
        if (row >= count || at >= width) return Chunk{{0, 0, 0, 0}};
        return chunk_of(F(), data + (row * stride + at));
    }
};

template <class F, class T>
__device__ __forceinline__ Rows<F, T> rows_of(const Matrices<const T>& m, u32 matrix, int count, int width) {
    return Rows<F, T>{m.at(matrix), m.stride, count, width};
}

// Tiles in shared memory ---------------------------------------------------------------------------------------------------------
//
// A tile of rows, DEPTH numbers wide (a multiple of 32), is kept for products over its columns as rows, and for products over its rows as
// lines: word i of a line has column i of as many rows as a word has numbers. In both, a lane reads 16 bytes at once and a warp meets no
// bank twice; what it reads is in the order of a fragment once columns are renamed: lane t of four has chunk t of each four.

template <class F, int DEPTH> struct Tile {
    static const int WORDS = DEPTH / Factor<F>::NUMBERS;
    // Words from one row to the next: 16 more than a multiple of 32.
    static const int ROW = WORDS + (WORDS % 32 ? 0 : 16);
    // And from one line to the next: a lane reads lines t and t + 4 of eight in bf16, and lines 2t and 2t + 1 in tf32.
    static const int LINE = DEPTH + 4 * Factor<F>::NUMBERS;
};

// Two rows of a tile, `pair` times two, at one of their chunks.
template <class F, int DEPTH>
__device__ __forceinline__ void put_pair(const Chunk& a, const Chunk& b, int pair, int chunk, u32* rows, u32* lines) {
    const int ROW = Tile<F, DEPTH>::ROW, LINE = Tile<F, DEPTH>::LINE;
    if (rows) {
        *(Chunk*)(rows + 2 * pair * ROW + 4 * chunk) = a;
        *(Chunk*)(rows + (2 * pair + 1) * ROW + 4 * chunk) = b;
    }
    if (!lines) return;
    if constexpr (Factor<F>::NUMBERS == 2) {
        u32 w[8];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            w[2 * i] = (a.x[i] & 0xffffu) | b.x[i] << 16;
            w[2 * i + 1] = a.x[i] >> 16 | (b.x[i] & 0xffff0000u);
        }
        Chunk* to = (Chunk*)(lines + pair * LINE + 8 * chunk);
        to[0] = Chunk{{w[0], w[1], w[2], w[3]}};
        to[1] = Chunk{{w[4], w[5], w[6], w[7]}};
    } else {
        *(Chunk*)(lines + 2 * pair * LINE + 4 * chunk) = a;
        *(Chunk*)(lines + (2 * pair + 1) * LINE + 4 * chunk) = b;
    }
}

// COUNT rows of two matrices, each as rows, as lines or as both; by the whole block. All loads are under way before the first store.
template <class F, int DEPTH, int COUNT, class A, class B>
__device__ __forceinline__ void stage(const Rows<F, A>& a, u32* a_rows, u32* a_lines, const Rows<F, B>& b, u32* b_rows, u32* b_lines) {
    const int CHUNKS = Tile<F, DEPTH>::WORDS / 4;
    for (int i = threadIdx.x; i < COUNT / 2 * CHUNKS; i += blockDim.x) {
        int pair = i / CHUNKS, chunk = i % CHUNKS;
        Chunk a0 = a.chunk(2 * pair, chunk), a1 = a.chunk(2 * pair + 1, chunk);
        Chunk b0 = b.chunk(2 * pair, chunk), b1 = b.chunk(2 * pair + 1, chunk);
        put_pair<F, DEPTH>(a0, a1, pair, chunk, a_rows, a_lines);
        put_pair<F, DEPTH>(b0, b1, pair, chunk, b_rows, b_lines);
    }
}

// Words from one row of a tile of a bias to the next: no two rows of four are in the same banks.
#define BIAS_ROW 72

// A corner of a bias, in f32 and times log2 e; -inf from `columns` up to `limit`, which is at most WIDTH. Threads side by side read side by
// side: rows of 49 are aligned to nothing.
template <int WIDTH, class Bias>
__device__ __forceinline__ void stage_bias(float* to, int to_stride, const Bias* from, int stride, int rows, int columns, int limit) {
    for (int first = threadIdx.x; first < rows * WIDTH; first += 4 * blockDim.x) {
        float x[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 at = first + i * blockDim.x, row = at / WIDTH, column = at % WIDTH;
            x[i] = row < rows && column < columns ? widen(from[row * stride + column]) * LOG2_E : -infinity();
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 at = first + i * blockDim.x, row = at / WIDTH, column = at % WIDTH;
            if (row < rows && column < limit) to[row * to_stride + column] = x[i];
        }
    }
}

// Products of a warp with a tile ---------------------------------------------------------------------------------------------------

// A fragment has as many words of a row as DEPTH numbers make, four a step of eight.
template <class F, int DEPTH> struct Left {
    u32 x[Tile<F, DEPTH>::WORDS / 8][4];
};

// The left factor: 16 rows from `first` on, straight from memory.
template <class F, int DEPTH, class T>
__device__ __forceinline__ void fragments(Left<F, DEPTH>& a, const Rows<F, T>& rows, int first) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int h = 0; h < Tile<F, DEPTH>::WORDS / 16; h++) {
        Chunk top = rows.chunk(first + g, 4 * h + t), bottom = rows.chunk(first + g + 8, 4 * h + t);
#pragma unroll
        for (int s = 0; s < 2; s++) {
            a.x[2 * h + s][0] = top.x[2 * s];
            a.x[2 * h + s][1] = bottom.x[2 * s];
            a.x[2 * h + s][2] = top.x[2 * s + 1];
            a.x[2 * h + s][3] = bottom.x[2 * s + 1];
        }
    }
}

// c[j] = a times rows 8j to 8j + 7 of the tile, transposed.
template <class F, int DEPTH, int N>
__device__ __forceinline__ void products(float c[N][4], const Left<F, DEPTH>& a, const u32* rows) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int j = 0; j < N; j++) {
        c[j][0] = c[j][1] = c[j][2] = c[j][3] = 0.0f;
#pragma unroll
        for (int h = 0; h < Tile<F, DEPTH>::WORDS / 16; h++) {
            Chunk b = *(const Chunk*)(rows + (8 * j + g) * Tile<F, DEPTH>::ROW + 16 * h + 4 * t);
            mma<F>(c[j], a.x[2 * h], b.x);
            mma<F>(c[j], a.x[2 * h + 1], b.x + 2);
        }
    }
}

// A product over the columns of N parts that `products` gave takes eight words at a time, in so many steps.
template <class F, int N> struct Steps {
    static const int COUNT = (N + Factor<F>::NUMBERS - 1) / Factor<F>::NUMBERS;
};

// The left factor of its step s; zeros where there is no such part. In tf32, words t and t + 4 are columns 2t and 2t + 1 of the part.
template <class F, int N> __device__ __forceinline__ void factor(u32 a[4], const float c[N][4], int s) {
    if constexpr (Factor<F>::NUMBERS == 2) {
        a[0] = pack_bf16(c[2 * s][0], c[2 * s][1]);
        a[1] = pack_bf16(c[2 * s][2], c[2 * s][3]);
        a[2] = 2 * s + 1 < N ? pack_bf16(c[2 * s + 1][0], c[2 * s + 1][1]) : 0;
        a[3] = 2 * s + 1 < N ? pack_bf16(c[2 * s + 1][2], c[2 * s + 1][3]) : 0;
    } else {
        a[0] = round_tf32(c[s][0]);
        a[1] = round_tf32(c[s][2]);
        a[2] = round_tf32(c[s][1]);
        a[3] = round_tf32(c[s][3]);
    }
}

// c += a times eight lines. Part 4h + j of c has columns 32h + 4i + j, i < 8.
template <class F, int DEPTH>
__device__ __forceinline__ void contract(float c[DEPTH / 8][4], const u32 a[4], const u32* lines) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    const u32* first = lines + (Factor<F>::NUMBERS == 2 ? t : 2 * t) * Tile<F, DEPTH>::LINE + 4 * g;
    const u32* second = first + (Factor<F>::NUMBERS == 2 ? 4 : 1) * Tile<F, DEPTH>::LINE;
#pragma unroll
    for (int h = 0; h < DEPTH / 32; h++) {
        Chunk low = *(const Chunk*)(first + 32 * h), high = *(const Chunk*)(second + 32 * h);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            u32 b[2] = {low.x[j], high.x[j]};
            mma<F>(c[4 * h + j], a, b);
        }
    }
}

// Writes 16 rows that `contract` gave, from `first` on, as far as there are rows; the upper and lower eight times a factor each row.
template <int DEPTH, class T>
__device__ __forceinline__ void put_rows(T* to, int stride, int first, int rows, int width, const float c[DEPTH / 8][4],
                                         float upper, float lower) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = first + g + 8 * half;
        float f = half ? lower : upper;
#pragma unroll
        for (int h = 0; h < DEPTH / 32; h++) {
            int at = 32 * h + 8 * t;
            if (row >= rows || at >= width) continue;
            float x[8];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                x[j] = c[4 * h + j][2 * half] * f;
                x[4 + j] = c[4 * h + j][2 * half + 1] * f;
            }
            store8(to + (row * stride + at), x);
        }
    }
}

// Over the four lanes that share a row.
__device__ __forceinline__ float row_sum(float v) {
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}
__device__ __forceinline__ float row_max(float v) {
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

// Products to scores, times log2 e; -inf from column `count` on. A tile of biases has that already: `upper` and `lower` are where this lane
// begins in its two rows.
template <int N, bool BIASED>
__device__ __forceinline__ void scores(float c[N][4], float scale, const float* upper, const float* lower, int count) {
#pragma unroll
    for (int j = 0; j < N; j++) {
        float2 a = make_float2(0.0f, 0.0f), b = a;
        if (BIASED) {
            a = *(const float2*)(upper + 8 * j);
            b = *(const float2*)(lower + 8 * j);
        }
        c[j][0] = c[j][0] * scale + a.x;
        c[j][1] = c[j][1] * scale + a.y;
        c[j][2] = c[j][2] * scale + b.x;
        c[j][3] = c[j][3] * scale + b.y;
    }
    if (BIASED || count >= 8 * N) return;
    int t = threadIdx.x & 3;
#pragma unroll
    for (int j = 0; j < N; j++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            if (8 * j + 2 * t + e % 2 >= count) c[j][e] = -infinity();
        }
    }
}

// Takes another tile's scores of one of a lane's two rows into its largest: gives what to subtract from scores from here on, and by what
// sums of earlier exponentials shrink for it.
template <int N> __device__ __forceinline__ float raise(float& largest, float& shrink, const float c[N][4], int half) {
    float now = largest;
#pragma unroll
    for (int j = 0; j < N; j++) now = fmaxf(now, fmaxf(c[j][2 * half], c[j][2 * half + 1]));
    now = row_max(now);
    float less = finite(now);
    shrink = power_of_two(largest - less);
    largest = now;
    return less;
}

// The rows of a tile of keys, and of values, that is N times eight keys wide: products over keys take whole steps.
template <class F, int N> struct Keys {
    static const int ROWS = Steps<F, N>::COUNT * Chunks<F>::NUMBERS * 2;
    static const int LINES = ROWS / Factor<F>::NUMBERS;
};
