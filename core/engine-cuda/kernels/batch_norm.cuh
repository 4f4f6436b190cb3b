// Batch normalisation of [count, channels, plane]: y = (x - mean) / sqrt(variance + epsilon) * weight + bias by channel.
//
// A channel's numbers are cut into parts by shape alone, a block for each, as many as keep a card busy with few channels. What the parts
// come to is joined in the order of parts, in double precision; a thread's own numbers are few.
//
// A leaky rectifier behind the norm, and in the gradient one before it as well, is applied on the way; the slope 1 leaves all as it is.

// Where things stand: a plane is `groups` groups of WIDE neighbours, and a part `share` groups of all planes of the channel, `total` of
// them, one behind the other.
struct Channels {
    int channels;
    int parts;
    int groups;
    int share;
    int total;
};

// `x` where z is positive or NaN, elsewhere the slope times `x`: 0, and no NaN, for the slope 0.
__device__ __forceinline__ float rectified(float z, float x, float slope) {
    return z <= 0.0f ? (slope == 0.0f ? 0.0f : slope * x) : x;
}

// What is known of a channel.
struct Channel {
    float mean;
    // weight / sqrt(variance + epsilon).
    float factor;
    float bias;

    __device__ __forceinline__ Channel(const float* moments, const float* weight, const float* bias, int channel)
        : mean(moments[2 * channel]), factor(moments[2 * channel + 1] * weight[channel]), bias(bias[channel]) {}

    __device__ __forceinline__ float z(float x) const { return fmaf(x - mean, factor, bias); }
};

// Groups that a thread reads before it uses them.
template <int WIDE> constexpr int AHEAD = WIDE == 1 ? 8 : 4;

// The groups of a part that a thread of a block of 256 works on.
template <int WIDE> struct PartWalk {
    u32 at, end, image, place, groups, images_a_step, places_a_step;
    int channel, part;
    u64 channel_base, image_stride;

    __device__ __forceinline__ PartWalk(const Channels& c, u32 block) {
        channel = block / c.parts;
        part = block - channel * c.parts;
        groups = c.groups;
        at = (u32)part * c.share;
        end = at + c.share < (u32)c.total ? at + c.share : c.total;
        at += threadIdx.x;
        image = at / groups;
        place = at - image * groups;
        images_a_step = 256 / groups;
        places_a_step = 256 - images_a_step * groups;
        channel_base = (u64)channel * groups * WIDE;
        image_stride = (u64)c.channels * groups * WIDE;
    }

    __device__ __forceinline__ bool more() const { return at < end; }
    __device__ __forceinline__ u64 element() const { return image * image_stride + channel_base + (u64)place * WIDE; }
    __device__ __forceinline__ void step() {
        at += 256;
        image += images_a_step;
        place += places_a_step;
        if (place >= groups) {
            place -= groups;
            image++;
        }
    }
};

// How many numbers, their mean, and the sum of squares of what is centred by it (Chan et al. 1983).
struct Moments {
    float count, mean, squares;

    __device__ __forceinline__ void join(float other_count, float other_mean, float other_squares) {
        float sum = count + other_count;
        float share = sum > 0.0f ? other_count / sum : 0.0f, distance = other_mean - mean;
        mean = fmaf(distance, share, mean);
        squares += fmaf(distance * distance, share * count, other_squares);
        count = sum;
    }
};

// Numbers of a part's result: its pivot, the mean and the squares of what is left when the pivot is taken off. The pivot is the part's
// first number: it keeps the digits that a large mean would cost.
constexpr int PART_MOMENTS = 3;

template <class X, int WIDE> __device__ __forceinline__ void batch_norm_moments(const X* x, float* to, Channels c) {
    constexpr int MANY = AHEAD<WIDE>;
    __shared__ float shared[32][3];
    PartWalk<WIDE> walk(c, blockIdx.x);
    u32 first = (u32)walk.part * c.share, image = first / walk.groups;
    float pivot = widen(x[image * walk.image_stride + walk.channel_base + (u64)(first - image * walk.groups) * WIDE]);
    Moments own = {0.0f, 0.0f, 0.0f};
    while (walk.more()) {
        Group<WIDE> v[MANY];
        bool there[MANY];
        int many = 0;
#pragma unroll
        for (int u = 0; u < MANY; u++) {
            v[u] = group_of<WIDE>(pivot);
            there[u] = walk.more();
            if (there[u]) load(x + walk.element(), v[u]);
            many += there[u];
            walk.step();
        }
        float sum = 0.0f, squares = 0.0f, count = (float)(many * WIDE);
#pragma unroll
        for (int u = 0; u < MANY; u++) {
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                v[u].x[i] -= pivot;
                sum += v[u].x[i];
            }
        }
        float mean = sum / count;
#pragma unroll
        for (int u = 0; u < MANY; u++) {
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                float centred = there[u] ? v[u].x[i] - mean : 0.0f;
                squares = fmaf(centred, centred, squares);
            }
        }
        own.join(count, mean, squares);
    }
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int turn = 0; turn < 2; turn++) {
#pragma unroll
        for (int o = 16; o > 0; o >>= 1) {
            float count = __shfl_xor_sync(0xffffffffu, own.count, o);
            float mean = __shfl_xor_sync(0xffffffffu, own.mean, o);
            float squares = __shfl_xor_sync(0xffffffffu, own.squares, o);
            own.join(count, mean, squares);
        }
        if (turn == 1) break;
        if (lane == 0) {
            shared[warp][0] = own.count;
            shared[warp][1] = own.mean;
            shared[warp][2] = own.squares;
        }
        __syncthreads();
        own = lane < 8 ? Moments{shared[lane][0], shared[lane][1], shared[lane][2]} : Moments{0.0f, 0.0f, 0.0f};
    }
    if (threadIdx.x == 0) {
        to += (u64)blockIdx.x * PART_MOMENTS;
        to[0] = pivot;
        to[1] = own.mean;
        to[2] = own.squares;
    }
}

#define BATCH_NORM_MOMENTS(name, X, WIDE)                                                                                                \
    extern "C" __global__ void __launch_bounds__(256)                                                                                    \
        name(const X* x, float* to, int channels, int parts, int groups, int share, int total) {                                         \
        batch_norm_moments<X, WIDE>(x, to, Channels{channels, parts, groups, share, total});                                             \
    }

// The sum over a warp in the order of its threads, for each of them.
__device__ __forceinline__ double ordered_sum(double v, double* shared) {
    __syncthreads();
    shared[threadIdx.x] = v;
    __syncthreads();
    double sum = 0.0;
    for (int i = 0; i < 32; i++) sum += shared[i];
    return sum;
}

// A warp for each channel: the mean and 1 / sqrt(variance + epsilon), side by side in `to`; and, where they are wanted, running
// statistics `old * keep + new * (1 - keep)`, the variance then being that of the population, n / (n - 1) of this one.
__device__ __forceinline__ void batch_norm_join_moments(
    const float* from, float* to, const float* old_mean, const float* old_variance, float* new_mean, float* new_variance, int wide,
    int parts, int share, int total, float epsilon, float momentum) {
    __shared__ double shared[32];
    int channel = blockIdx.x;
    from += (u64)channel * parts * PART_MOMENTS;
    double numbers = (double)total * wide, sum = 0.0, squares = 0.0;
    for (int p = threadIdx.x; p < parts; p += 32) {
        int groups = total - p * share < share ? total - p * share : share;
        sum += ((double)from[p * PART_MOMENTS] + (double)from[p * PART_MOMENTS + 1]) * ((double)groups * wide);
    }
    double mean = ordered_sum(sum, shared) / numbers;
    for (int p = threadIdx.x; p < parts; p += 32) {
        int groups = total - p * share < share ? total - p * share : share;
        double distance = (double)from[p * PART_MOMENTS] + (double)from[p * PART_MOMENTS + 1] - mean;
        squares += (double)from[p * PART_MOMENTS + 2] + distance * distance * ((double)groups * wide);
    }
    double variance = ordered_sum(squares, shared) / numbers;
    if (threadIdx.x != 0) return;
    to[2 * channel] = (float)mean;
    to[2 * channel + 1] = (float)(1.0 / sqrt(variance + (double)epsilon));
    if (!new_mean) return;
    double keep = 1.0 - (double)momentum;
    new_mean[channel] = (float)(mean * (double)momentum + (double)old_mean[channel] * keep);
    new_variance[channel] = (float)(variance * (numbers / (numbers - 1.0)) * (double)momentum + (double)old_variance[channel] * keep);
}

#define BATCH_NORM_JOIN_MOMENTS(name, WIDE)                                                                                              \
    extern "C" __global__ void __launch_bounds__(32)                                                                                     \
        name(const float* from, float* to, const float* old_mean, const float* old_variance, float* new_mean, float* new_variance,       \
             int parts, int share, int total, float epsilon, float momentum) {                                                           \
        batch_norm_join_moments(from, to, old_mean, old_variance, new_mean, new_variance, WIDE, parts, share, total, epsilon, momentum); \
    }

// The result. Blocks go from the last part to the first: what the statistics read last is still in the cache.
template <class X, class Y, int WIDE>
__device__ __forceinline__ void batch_norm_apply(
    const X* x, const float* moments, const float* weight, const float* bias, Y* y, Channels c, float slope) {
    constexpr int MANY = AHEAD<WIDE>;
    PartWalk<WIDE> walk(c, gridDim.x - 1 - blockIdx.x);
    Channel channel(moments, weight, bias, walk.channel);
    while (walk.more()) {
        Group<WIDE> v[MANY];
        PartWalk<WIDE> ahead = walk;
#pragma unroll
        for (int u = 0; u < MANY; u++, ahead.step()) {
            if (ahead.more()) load(x + ahead.element(), v[u]);
        }
#pragma unroll
        for (int u = 0; u < MANY; u++, walk.step()) {
            if (!walk.more()) break;
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                float z = channel.z(v[u].x[i]);
                v[u].x[i] = rectified(z, z, slope);
            }
            store(y + walk.element(), v[u]);
        }
    }
}

#define BATCH_NORM_APPLY(name, X, Y, WIDE)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                                                    \
        name(const X* x, const float* moments, const float* weight, const float* bias, Y* y, int channels, int parts, int groups,        \
             int share, int total, float slope) {                                                                                        \
        batch_norm_apply<X, Y, WIDE>(x, moments, weight, bias, y, Channels{channels, parts, groups, share, total}, slope);               \
    }

// The sums of g and of g (x - mean) of each part, side by side, where g is the gradient of z: what `g` is behind the rectifier.
template <class X, class G, int WIDE>
__device__ __forceinline__ void batch_norm_sums(
    const X* x, const G* g, const float* moments, const float* weight, const float* bias, float* to, Channels c, float slope) {
    constexpr int MANY = AHEAD<WIDE>;
    __shared__ float shared[32];
    PartWalk<WIDE> walk(c, blockIdx.x);
    Channel channel(moments, weight, bias, walk.channel);
    float flat = 0.0f, along = 0.0f;
    while (walk.more()) {
        Group<WIDE> v[MANY], h[MANY];
#pragma unroll
        for (int u = 0; u < MANY; u++, walk.step()) {
            v[u] = group_of<WIDE>(channel.mean);
            h[u] = group_of<WIDE>(0.0f);
            if (walk.more()) {
                load(x + walk.element(), v[u]);
                load(g + walk.element(), h[u]);
            }
        }
        float flat_here = 0.0f, along_here = 0.0f;
#pragma unroll
        for (int u = 0; u < MANY; u++) {
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                float own = rectified(channel.z(v[u].x[i]), h[u].x[i], slope);
                flat_here += own;
                along_here = fmaf(own, v[u].x[i] - channel.mean, along_here);
            }
        }
        flat += flat_here;
        along += along_here;
    }
    flat = team_sum<256>(flat, shared);
    along = team_sum<256>(along, shared);
    if (threadIdx.x == 0) {
        to[2 * (u64)blockIdx.x] = flat;
        to[2 * (u64)blockIdx.x + 1] = along;
    }
}

#define BATCH_NORM_SUMS(name, X, G, WIDE)                                                                                                \
    extern "C" __global__ void __launch_bounds__(256)                                                                                    \
        name(const X* x, const G* g, const float* moments, const float* weight, const float* bias, float* to, int channels, int parts,   \
             int groups, int share, int total, float slope) {                                                                            \
        batch_norm_sums<X, G, WIDE>(x, g, moments, weight, bias, to, Channels{channels, parts, groups, share, total}, slope);            \
    }

// A warp for each channel: the gradients of the weight and of the bias, those that are wanted; and what the gradient of x loses, flat and
// along what is centred, side by side in `to`.
__device__ __forceinline__ void batch_norm_join_sums(
    const float* from, const float* moments, float* to, float* of_weight, float* of_bias, int wide, int parts, int total) {
    __shared__ double shared[32];
    int channel = blockIdx.x;
    from += (u64)channel * parts * 2;
    double flat = 0.0, along = 0.0, numbers = (double)total * wide;
    for (int p = threadIdx.x; p < parts; p += 32) {
        flat += (double)from[2 * p];
        along += (double)from[2 * p + 1];
    }
    flat = ordered_sum(flat, shared);
    along = ordered_sum(along, shared);
    if (threadIdx.x != 0) return;
    double factor = moments[2 * channel + 1];
    if (of_weight) of_weight[channel] = (float)(along * factor);
    if (of_bias) of_bias[channel] = (float)flat;
    to[2 * channel] = (float)(flat / numbers);
    to[2 * channel + 1] = (float)(along / numbers * factor * factor);
}

#define BATCH_NORM_JOIN_SUMS(name, WIDE)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(32)                                                                                     \
        name(const float* from, const float* moments, float* to, float* of_weight, float* of_bias, int parts, int total) {               \
        batch_norm_join_sums(from, moments, to, of_weight, of_bias, WIDE, parts, total);                                                 \
    }

// The gradient of x: weight factor (g - flat - (x - mean) along); with `before`, the slope of a rectifier that x came through, that of what
// came into it: x has its sign.
template <class X, class G, class D, int WIDE>
__device__ __forceinline__ void batch_norm_backward(
    const X* x, const G* g, const float* moments, const float* losses, const float* weight, const float* bias, D* dx, Channels c,
    float slope, float before) {
    constexpr int MANY = AHEAD<WIDE>;
    PartWalk<WIDE> walk(c, gridDim.x - 1 - blockIdx.x);
    Channel channel(moments, weight, bias, walk.channel);
    float flat = losses[2 * walk.channel], along = losses[2 * walk.channel + 1];
    while (walk.more()) {
        Group<WIDE> v[MANY], h[MANY];
        PartWalk<WIDE> ahead = walk;
#pragma unroll
        for (int u = 0; u < MANY; u++, ahead.step()) {
            if (ahead.more()) {
                load(x + ahead.element(), v[u]);
                load(g + ahead.element(), h[u]);
            }
        }
#pragma unroll
        for (int u = 0; u < MANY; u++, walk.step()) {
            if (!walk.more()) break;
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                float own = rectified(channel.z(v[u].x[i]), h[u].x[i], slope);
                float through = channel.factor * (own - flat - (v[u].x[i] - channel.mean) * along);
                v[u].x[i] = rectified(v[u].x[i], through, before);
            }
            store(dx + walk.element(), v[u]);
        }
    }
}

#define BATCH_NORM_BACKWARD(name, X, G, D, WIDE)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256)                                                                                    \
        name(const X* x, const G* g, const float* moments, const float* losses, const float* weight, const float* bias, D* dx,           \
             int channels, int parts, int groups, int share, int total, float slope, float before) {                                     \
        batch_norm_backward<X, G, D, WIDE>(x, g, moments, losses, weight, bias, dx, Channels{channels, parts, groups, share, total},     \
                                           slope, before);                                                                               \
    }
