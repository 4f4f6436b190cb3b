// What writes to the store. Where `stopped` is not 0, nothing is written: a loss of this step was not finite.

#define STORED_MOST 64
#define STORED_CHUNK 4096

struct Pointers64 {
    void* at[STORED_MOST];
};

// A warp decides, before anything is written.
__device__ __forceinline__ void judge(const Pointers64& numbers, int count, int* stopped) {
    bool odd = false;
    for (int i = threadIdx.x; i < count; i += 32) odd = odd || wild(*(const float*)numbers.at[i]);
    odd = __any_sync(0xffffffffu, odd);
    if (threadIdx.x == 0) *stopped = odd ? 1 : 0;
}
#define NOT_FINITE(name)                                                                                                             \
    extern "C" __global__ void __launch_bounds__(32) name(Pointers64 numbers, int count, int* stopped) {                             \
        judge(numbers, count, stopped);                                                                                              \
    }

// For each entry: how many blocks come before its own, how many words it has, and whether it is filled with one of these bits.
struct StoredParts {
    u32 before[STORED_MOST], sizes[STORED_MOST], filled[STORED_MOST], bits[STORED_MOST];
};

// The entry that a block works on.
__device__ __forceinline__ int entry_of(const u32* before, int count) {
    int own = 0;
    while (own + 1 < count && before[own + 1] <= blockIdx.x) own++;
    return own;
}

// Copies and fills, up to 64 of them in a launch.
template <class T>
__device__ __forceinline__ void store_many(const Pointers64& from, const Pointers64& to, const StoredParts& parts, int count,
                                           const int* stopped) {
    if (*stopped) return;
    int own = entry_of(parts.before, count);
    const T* source = (const T*)from.at[own];
    T* entry = (T*)to.at[own];
    bool filled = parts.filled[own] != 0;
    T bits = (T)parts.bits[own];
    u32 start = (blockIdx.x - parts.before[own]) * STORED_CHUNK, end = min(start + STORED_CHUNK, parts.sizes[own]);
    for (u32 i = start + threadIdx.x; i < end; i += blockDim.x) entry[i] = filled ? bits : source[i];
}
#define STORE_MANY(name, T)                                                                                                          \
    extern "C" __global__ void __launch_bounds__(256) name(Pointers64 from, Pointers64 to, StoredParts parts, int count,             \
                                                           const int* stopped) {                                                     \
        store_many<T>(from, to, parts, count, stopped);                                                                              \
    }

// Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019), parameter and moments in one pass, up to 64 parameters in a launch.

// For each parameter: how many blocks come before its own, how many numbers it has, and its decay's bits.
struct AdamwParts {
    u32 before[STORED_MOST], sizes[STORED_MOST], decays[STORED_MOST];
};

// What the step's own numbers come to is computed in f64, once a block: 1 - beta^step cancels.
template <class G>
__device__ __forceinline__ void adamw(const Pointers64& gradients, const Pointers64& parameters, const Pointers64& firsts,
                                      const Pointers64& seconds, const AdamwParts& parts, int count, const float* learning_rate,
                                      const float* step, double beta1, double beta2, float epsilon, int decoupled,
                                      const int* stopped) {
    if (*stopped) return;
    __shared__ float shared[2];
    __shared__ int which;
    if (threadIdx.x == 0) {
        which = entry_of(parts.before, count);
        shared[0] = (float)(1.0 / sqrt(1.0 - pow(beta2, (double)*step)));
        shared[1] = (float)((double)*learning_rate / (1.0 - pow(beta1, (double)*step)));
    }
    __syncthreads();
    int own = which;
    float root = shared[0], pace = shared[1], decay = __uint_as_float(parts.decays[own]);
    float kept = decoupled ? (float)(1.0 - (double)*learning_rate * (double)decay) : 1.0f;
    float added = decoupled ? 0.0f : decay;
    float b1 = (float)beta1, rest1 = (float)(1.0 - beta1), b2 = (float)beta2, rest2 = (float)(1.0 - beta2);
    const G* gradient = (const G*)gradients.at[own];
    float* parameter = (float*)parameters.at[own];
    float* first = (float*)firsts.at[own];
    float* second = (float*)seconds.at[own];
    u32 start = (blockIdx.x - parts.before[own]) * STORED_CHUNK, end = min(start + STORED_CHUNK, parts.sizes[own]);
    auto update = [&](float& p, float g, float& m, float& v) {
        if (added != 0.0f) g += added * p;
        m = b1 * m + rest1 * g;
        v = b2 * v + rest2 * (g * g);
        p = kept * p - pace * (m / (sqrtf(v) * root + epsilon));
    };
    // Entries begin at multiples of 256 bytes, and so do a block's numbers of them: four at a time, and then what is left.
    u32 whole = end - (end - start) % 4;
    for (u32 i = start + 4 * threadIdx.x; i < whole; i += 4 * blockDim.x) {
        Four p = load4(parameter + i), g = load4(gradient + i), m = load4(first + i), v = load4(second + i);
#pragma unroll
        for (int e = 0; e < 4; e++) update(p.x[e], g.x[e], m.x[e], v.x[e]);
        store4(first + i, m);
        store4(second + i, v);
        store4(parameter + i, p);
    }
    for (u32 i = whole + threadIdx.x; i < end; i += blockDim.x) {
        float p = parameter[i], m = first[i], v = second[i];
        update(p, widen(gradient[i]), m, v);
        first[i] = m;
        second[i] = v;
        parameter[i] = p;
    }
}
#define ADAMW(name, G)                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                                                \
        name(Pointers64 gradients, Pointers64 parameters, Pointers64 firsts, Pointers64 seconds, AdamwParts parts, int count,        \
             const float* learning_rate, const float* step, double beta1, double beta2, float epsilon, int decoupled,                \
             const int* stopped) {                                                                                                   \
        adamw<G>(gradients, parameters, firsts, seconds, parts, count, learning_rate, step, beta1, beta2, epsilon, decoupled,        \
                 stopped);                                                                                                           \
    }
