// gather along an axis, and its adjoint. Sizes are those before, at and after the axis. Indices are clamped into range.

__device__ __forceinline__ int clamped(int index, int size) { return index < 0 ? 0 : index >= size ? size - 1 : index; }

// y[before, index, after]: one thread an element of the result.
template <class T>
__device__ __forceinline__ void gather(const T* x, const int* indices, T* y, int size, int picked, int after, u64 count) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    u64 row = i / after;
    int inner = (int)(i % after);
    u64 outer = row / picked;
    int index = clamped(indices[row % picked], size);
    y[i] = x[(outer * size + index) * after + inner];
}
#define GATHER(name, T)                                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) name(const T* x, const int* indices, T* y, int size, int picked, int after,    \
                                                           u64 count) {                                                              \
        gather<T>(x, indices, y, size, picked, after, count);                                                                        \
    }

// y[before, size, after]: each element of the result goes through the indices and adds what is its own, in their order, so that no
// two threads add to one place.
template <class U, class T>
__device__ __forceinline__ void scatter_add(const int* indices, const U* updates, T* y, int size, int picked, int after, u64 count) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    u64 row = i / after;
    int inner = (int)(i % after), own = (int)(row % size);
    const U* from = updates + (row / size) * picked * after + inner;
    float sum = 0.0f;
    for (int n = 0; n < picked; n++)
        if (clamped(indices[n], size) == own) sum += widen(from[(u64)n * after]);
    y[i] = narrow<T>(sum);
}
#define SCATTER_ADD(name, U, T)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(256) name(const int* indices, const U* updates, T* y, int size, int picked,         \
                                                           int after, u64 count) {                                                   \
        scatter_add<U, T>(indices, updates, y, size, picked, after, count);                                                          \
    }

// The same where the indices are known to the plan: the updates of row s are order[starts[s]] to order[starts[s + 1]].
template <class U, class T>
__device__ __forceinline__ void scatter_known(const int* starts, const int* order, const U* updates, T* y, int size, int picked,
                                              int after, u64 count) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    u64 row = i / after;
    int inner = (int)(i % after), own = (int)(row % size);
    const U* from = updates + (row / size) * picked * after + inner;
    float sum = 0.0f;
    for (int n = starts[own]; n < starts[own + 1]; n++) sum += widen(from[(u64)order[n] * after]);
    y[i] = narrow<T>(sum);
}
#define SCATTER_KNOWN(name, U, T)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) name(const int* starts, const int* order, const U* updates, T* y, int size,    \
                                                           int picked, int after, u64 count) {                                       \
        scatter_known<U, T>(starts, order, updates, y, size, picked, after, count);                                                  \
    }
