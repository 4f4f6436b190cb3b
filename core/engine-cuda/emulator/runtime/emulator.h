// CUDA C++ for a compiler that knows none of it. It stands before a unit's source, which runs in fibers of the program that loads
// the unit: what a thread cannot do alone (barriers, shuffles) it asks for through `fer_calls`.
//
// No header is included: hundreds of units are compiled in a test run, and standard headers would take most of that time.

#define FER_EMULATED 1

// Attributes. The first two stay visible in preprocessed text, where kernels are looked for.
#define __global__ __attribute__((fer_kernel))
#define __launch_bounds__(...) __attribute__((fer_bounds(__VA_ARGS__)))
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
// One block of a unit runs at a time, and a unit has no other variables that begin as zeros: all of .bss is shared memory, and is
// filled with NaN before each block. (A section of their own is no way: GCC before 13 forgets it in templates.)
#define __shared__ static
#define EXTERN_SHARED(T, name) T* name = reinterpret_cast<T*>(fer_now.dynamic)

typedef unsigned long long fer_u64;

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
#define FER_VECTOR2(name, T, n) \
    struct alignas(n) name { T x, y; }; \
    static inline name make_##name(T x, T y) { return name{x, y}; }
#define FER_VECTOR4(name, T, n) \
    struct alignas(n) name { T x, y, z, w; }; \
    static inline name make_##name(T x, T y, T z, T w) { return name{x, y, z, w}; }
FER_VECTOR2(float2, float, 8)
FER_VECTOR2(int2, int, 8)
FER_VECTOR2(uint2, unsigned, 8)
FER_VECTOR2(double2, double, 16)
FER_VECTOR2(ushort2, unsigned short, 4)
FER_VECTOR4(float4, float, 16)
FER_VECTOR4(int4, int, 16)
FER_VECTOR4(uint4, unsigned, 16)
FER_VECTOR4(uchar4, unsigned char, 4)
FER_VECTOR4(ushort4, unsigned short, 8)

// Between a unit and who runs it; src/unit.rs says the same in Rust ----------------------------------------------------------------

struct FerNow {
    uint3 thread, block;
    dim3 block_size, grid;
    void* dynamic;
};

// Lanes of a warp that do something together.
struct FerMeeting {
    unsigned kind, mask;
    int line;
    unsigned source;      // whose value this lane wants
    fer_u64 value, result;
    float* c;
    const unsigned *a, *b;
};
enum { FER_SYNC, FER_SHUFFLE, FER_BALLOT, FER_MMA_BF16, FER_MMA_TF32 };
enum { FER_PLAIN, FER_COUNT, FER_AND, FER_OR };

struct FerCalls {
    int (*barrier)(unsigned kind, int predicate, int line);
    void (*meet)(FerMeeting*);
    unsigned (*active)();
    void (*fail)(const char* what, const char* file, int line);
    void (*access)(const void* address, fer_u64 bytes, unsigned kind, const void* at);
};
enum { FER_READ, FER_WRITE, FER_ATOMIC };

struct FerParameter { unsigned kind, bytes; };
enum { FER_POINTER, FER_INTEGER, FER_FLOAT, FER_STRUCTURE };

struct FerKernel {
    const char* name;
    void* function;
    void (*call)(void* function, void** arguments);
    const FerParameter* parameters;
    unsigned count;
    unsigned most_threads;  // 0: nothing is said
};

struct FerUnit {
    FerNow* now;
    FerCalls* calls;
    char *shared, *shared_end;
    const FerKernel* kernels;
    unsigned count;
};

#define FER_STATE static __attribute__((section("fer_state")))
FER_STATE FerNow fer_now;
FER_STATE FerCalls fer_calls;
#define threadIdx (fer_now.thread)
#define blockIdx (fer_now.block)
#define blockDim (fer_now.block_size)
#define gridDim (fer_now.grid)
#define warpSize 32

template <class T> struct FerKind { static const unsigned is = FER_STRUCTURE; };
template <class T> struct FerKind<T*> { static const unsigned is = FER_POINTER; };
template <> struct FerKind<int> { static const unsigned is = FER_INTEGER; };
template <> struct FerKind<unsigned> { static const unsigned is = FER_INTEGER; };
template <> struct FerKind<long long> { static const unsigned is = FER_INTEGER; };
template <> struct FerKind<fer_u64> { static const unsigned is = FER_INTEGER; };
template <> struct FerKind<long> { static const unsigned is = FER_INTEGER; };
template <> struct FerKind<unsigned long> { static const unsigned is = FER_INTEGER; };
template <> struct FerKind<float> { static const unsigned is = FER_FLOAT; };
template <> struct FerKind<double> { static const unsigned is = FER_FLOAT; };

template <class T, T...> struct FerPlaces {};
template <class F> struct FerSignature;
template <class... A> struct FerSignature<void (*)(A...)> {
    static constexpr unsigned count = sizeof...(A);
    static constexpr FerParameter parameters[] = {FerParameter{FerKind<A>::is, sizeof(A)}..., FerParameter{0, 0}};
    template <unsigned... I> static void spread(void (*f)(A...), void** arguments, FerPlaces<unsigned, I...>) {
        f(*(A*)arguments[I]...);
    }
    static void call(void* function, void** arguments) {
#ifdef __clang__
        spread((void (*)(A...))function, arguments, __make_integer_seq<FerPlaces, unsigned, sizeof...(A)>{});
#else
        spread((void (*)(A...))function, arguments, FerPlaces<unsigned, __integer_pack(count)...>{});
#endif
    }
};

extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];

// What the compiler's own checks call: an index past the end of an array, an address that is not aligned for its type.
struct FerPlaceInSource { const char* file; unsigned line, column; };
extern "C" __attribute__((used, noreturn)) inline void __ubsan_handle_out_of_bounds_abort(void* at, void*) {
    FerPlaceInSource* p = (FerPlaceInSource*)at;
    fer_calls.fail("an index past the end of an array", p->file, (int)p->line);
    __builtin_trap();
}
extern "C" __attribute__((used, noreturn)) inline void __ubsan_handle_type_mismatch_v1_abort(void* at, void*) {
    FerPlaceInSource* p = (FerPlaceInSource*)at;
    fer_calls.fail("a misaligned address", p->file, (int)p->line);
    __builtin_trap();
}
#define assert(x) ((x) ? (void)0 : fer_calls.fail("an assertion does not hold: " #x, __FILE__, __LINE__))
static inline void __trap() { fer_calls.fail("a trap", nullptr, 0); }

// What the compiler calls before each access to memory, for whoever looks for races. `at` is a place in the code.
#define FER_UNWATCHED __attribute__((no_sanitize_thread))
static inline FER_UNWATCHED void fer_access(const void* address, fer_u64 bytes, unsigned kind, const void* at) {
    // A thread's own: what lies on its stack (64 KiB, see src/fiber.rs), and what threadIdx and its like read.
    bool own = (fer_u64)address - (fer_u64)__builtin_frame_address(0) < 65536;
    bool state = (fer_u64)address - (fer_u64)&fer_now < sizeof fer_now || (fer_u64)address - (fer_u64)&fer_calls < sizeof fer_calls;
    if (!own && !state) fer_calls.access(address, bytes, kind, at);
}
#define FER_HOOK(name, bytes, kind) \
    extern "C" __attribute__((used)) inline FER_UNWATCHED void __tsan_##name(void* address) { \
        fer_access(address, bytes, kind, __builtin_return_address(0)); \
    }
#define FER_HOOKS(n) \
    FER_HOOK(read##n, n, FER_READ) FER_HOOK(write##n, n, FER_WRITE) \
    FER_HOOK(unaligned_read##n, n, FER_READ) FER_HOOK(unaligned_write##n, n, FER_WRITE)
FER_HOOKS(1) FER_HOOKS(2) FER_HOOKS(4) FER_HOOKS(8) FER_HOOKS(16)
extern "C" __attribute__((used)) inline FER_UNWATCHED void __tsan_read_range(void* address, unsigned long bytes) {
    fer_access(address, bytes, FER_READ, __builtin_return_address(0));
}
extern "C" __attribute__((used)) inline FER_UNWATCHED void __tsan_write_range(void* address, unsigned long bytes) {
    fer_access(address, bytes, FER_WRITE, __builtin_return_address(0));
}
extern "C" __attribute__((used)) inline FER_UNWATCHED void __tsan_func_entry(void*) {}
extern "C" __attribute__((used)) inline FER_UNWATCHED void __tsan_func_exit() {}
extern "C" __attribute__((used)) inline FER_UNWATCHED void __tsan_init() {}

// Together -------------------------------------------------------------------------------------------------------------------------

static inline void __syncthreads(int line = __builtin_LINE()) { fer_calls.barrier(FER_PLAIN, 0, line); }
static inline int __syncthreads_count(int p, int line = __builtin_LINE()) { return fer_calls.barrier(FER_COUNT, p, line); }
static inline int __syncthreads_and(int p, int line = __builtin_LINE()) { return fer_calls.barrier(FER_AND, p, line); }
static inline int __syncthreads_or(int p, int line = __builtin_LINE()) { return fer_calls.barrier(FER_OR, p, line); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline unsigned __activemask() { return fer_calls.active(); }

static inline unsigned fer_lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31;
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
    FerMeeting m = {FER_SYNC, mask, line};
    fer_calls.meet(&m);
}

template <class T> static inline T fer_shuffle(unsigned mask, T v, unsigned source, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
    FerMeeting m = {FER_SHUFFLE, mask, line, source};
    __builtin_memcpy(&m.value, &v, sizeof(T));
    fer_calls.meet(&m);
    __builtin_memcpy(&v, &m.result, sizeof(T));
    return v;
}
template <class T> static inline T __shfl_sync(unsigned mask, T v, int from, int width = 32, int line = __builtin_LINE()) {
    unsigned w = width, first = fer_lane() & ~(w - 1);
    return fer_shuffle(mask, v, first + (from & (w - 1)), line);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32, int line = __builtin_LINE()) {
    unsigned w = width, l = fer_lane(), source = l ^ with;
    return fer_shuffle(mask, v, source <= (l | (w - 1)) ? source : l, line);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, int line = __builtin_LINE()) {
    unsigned w = width, l = fer_lane();
    return fer_shuffle(mask, v, (l & (w - 1)) + by < w ? l + by : l, line);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, int line = __builtin_LINE()) {
    unsigned w = width, l = fer_lane();
    return fer_shuffle(mask, v, (l & (w - 1)) >= by ? l - by : l, line);
}
static inline unsigned fer_ballot(unsigned mask, int p, int line) {
    FerMeeting m = {FER_BALLOT, mask, line, 0, p != 0};
    fer_calls.meet(&m);
    return (unsigned)m.result;
}
static inline unsigned __ballot_sync(unsigned mask, int p, int line = __builtin_LINE()) { return fer_ballot(mask, p, line); }
static inline int __any_sync(unsigned mask, int p, int line = __builtin_LINE()) { return fer_ballot(mask, p, line) != 0; }
static inline int __all_sync(unsigned mask, int p, int line = __builtin_LINE()) { return fer_ballot(mask, !p, line) == 0; }

// The lanes' parts of a, b and c are those that tensor.cuh describes.
static inline void fer_mma(unsigned kind, float c[4], const unsigned a[4], const unsigned b[2], int line) {
    FerMeeting m = {kind, 0xffffffffu, line, 0, 0, 0, c, a, b};
    fer_calls.meet(&m);
}
static inline void mma_bf16(float c[4], const unsigned a[4], const unsigned b[2], int line = __builtin_LINE()) {
    fer_mma(FER_MMA_BF16, c, a, b, line);
}
static inline void mma_tf32(float c[4], const unsigned a[4], const unsigned b[2], int line = __builtin_LINE()) {
    fer_mma(FER_MMA_TF32, c, a, b, line);
}

// Atomics: one thread runs at a time.
#define FER_ATOMIC(name, T, expression) \
    static __noinline__ FER_UNWATCHED T name(T* p, T v) { \
        fer_access(p, sizeof(T), FER_ATOMIC, __builtin_return_address(0)); \
        T old = *p; \
        *p = expression; \
        return old; \
    }
#define FER_ATOMICS(T) \
    FER_ATOMIC(atomicAdd, T, old + v) \
    FER_ATOMIC(atomicSub, T, old - v) \
    FER_ATOMIC(atomicMax, T, old < v ? v : old) \
    FER_ATOMIC(atomicMin, T, v < old ? v : old) \
    FER_ATOMIC(atomicAnd, T, old & v) \
    FER_ATOMIC(atomicOr, T, old | v) \
    FER_ATOMIC(atomicXor, T, old ^ v) \
    FER_ATOMIC(atomicExch, T, v) \
    static __noinline__ FER_UNWATCHED T atomicCAS(T* p, T compare, T v) { \
        fer_access(p, sizeof(T), FER_ATOMIC, __builtin_return_address(0)); \
        T old = *p; \
        if (old == compare) *p = v; \
        return old; \
    }
FER_ATOMICS(int)
FER_ATOMICS(unsigned)
FER_ATOMICS(fer_u64)
FER_ATOMIC(atomicAdd, float, old + v)
FER_ATOMIC(atomicExch, float, v)
FER_ATOMIC(atomicAdd, double, old + v)

// Numbers --------------------------------------------------------------------------------------------------------------------------

extern "C" {
#define FER_MATH1(name) \
    float name##f(float) noexcept; \
    double name(double) noexcept;
#define FER_MATH2(name) \
    float name##f(float, float) noexcept; \
    double name(double, double) noexcept;
FER_MATH1(exp) FER_MATH1(exp2) FER_MATH1(expm1) FER_MATH1(log) FER_MATH1(log2) FER_MATH1(log1p) FER_MATH1(sqrt) FER_MATH1(erf)
FER_MATH1(erfc) FER_MATH1(tanh) FER_MATH1(sin) FER_MATH1(cos) FER_MATH1(tan) FER_MATH1(floor) FER_MATH1(ceil) FER_MATH1(round)
FER_MATH1(rint) FER_MATH1(trunc) FER_MATH1(fabs) FER_MATH1(cbrt) FER_MATH1(log10) FER_MATH1(sinh) FER_MATH1(cosh) FER_MATH1(atan)
FER_MATH2(pow) FER_MATH2(fmod) FER_MATH2(fmin) FER_MATH2(fmax) FER_MATH2(copysign) FER_MATH2(atan2)
float fmaf(float, float, float) noexcept;
double fma(double, double, double) noexcept;
int abs(int) noexcept;
}
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __expf(float x) { return expf(x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline bool isnan(float x) { return x != x; }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline bool signbit(float x) { return __builtin_signbit(x); }

static inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
static inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
static inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
static inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
static inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }
static inline long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }
// A conversion on a card saturates, and a NaN becomes 0.
static inline int fer_saturate(float x) {
    return x != x ? 0 : x >= 2147483648.0f ? 0x7fffffff : x < -2147483648.0f ? -0x7fffffff - 1 : (int)x;
}
static inline int __float2int_rn(float x) { return fer_saturate(rintf(x)); }
static inline int __float2int_rd(float x) { return fer_saturate(floorf(x)); }
static inline int __float2int_ru(float x) { return fer_saturate(ceilf(x)); }
static inline int __float2int_rz(float x) { return fer_saturate(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline float __ull2float_rn(fer_u64 x) { return (float)x; }

#define FER_ORDER(T) \
    static inline T min(T a, T b) { return b < a ? b : a; } \
    static inline T max(T a, T b) { return a < b ? b : a; }
FER_ORDER(int) FER_ORDER(unsigned) FER_ORDER(long long) FER_ORDER(fer_u64) FER_ORDER(long) FER_ORDER(unsigned long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((fer_u64)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
static inline fer_u64 __umul64hi(fer_u64 a, fer_u64 b) { return (fer_u64)((unsigned __int128)a * b >> 64); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((fer_u64)x) : 64; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(fer_u64 x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
    return (unsigned)(((fer_u64)high << 32 | low) << (by & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    return (unsigned)(((fer_u64)high << 32 | low) >> (by & 31));
}

template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcs(const T* p) { return *p; }
template <class T> static inline T __ldcg(const T* p) { return *p; }
template <class T> static inline void __stcs(T* p, T v) { *p = v; }
template <class T> static inline void __stcg(T* p, T v) { *p = v; }
