// Runs a CUDA kernel without barriers on the CPU, one thread after the other, behind the calling convention of CPU kernels. What is a
// constant of the compilation on a device is looked up in the call here.
#include <cmath>
#include <cstddef>
#include <vector>

#define __global__
#define __device__

struct Dim {
    unsigned x, y, z;
};
static thread_local Dim blockIdx, threadIdx, blockDim;

template <typename T> struct View {
    T *data;
    size_t rank;
    const size_t *shape;
    const ptrdiff_t *strides;

    size_t elements() const {
        size_t count = 1;
        for (size_t axis = 0; axis < rank; ++axis) count *= shape[axis];
        return count;
    }

    // The i-th element in row-major order.
    T &at(size_t i) const {
        ptrdiff_t offset = 0;
        for (size_t axis = rank; axis-- > 0; i /= shape[axis]) offset += (ptrdiff_t)(i % shape[axis]) * strides[axis];
        return data[offset];
    }
};

struct Call {
    size_t size, input_count;
    const View<const float> *inputs;
    size_t output_count;
    const View<float> *outputs;
    size_t wrt_count;
    const size_t *wrt;
    size_t cotangent_count;
    const size_t *cotangents;
};
static thread_local const Call *call;

#define IN0_D1 ((int)call->inputs[0].shape[1])
#define OUT0_N ((unsigned)call->outputs[0].elements())
#define WRT0 ((int)call->wrt[0])

#include "kernel.cu"

extern "C" int run(const Call *given) {
    call = given;
    std::vector<std::vector<float>> in, out;
    for (size_t i = 0; i < call->input_count; ++i) {
        in.emplace_back();
        for (size_t e = 0; e < call->inputs[i].elements(); ++e) in[i].push_back(call->inputs[i].at(e));
    }
    for (size_t i = 0; i < call->output_count; ++i) out.emplace_back(call->outputs[i].elements());
    blockDim.x = THREADS;
    for (blockIdx.x = 0; blockIdx.x * THREADS < OUT0_N; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < THREADS; ++threadIdx.x) LAUNCH;
    for (size_t i = 0; i < call->output_count; ++i)
        for (size_t e = 0; e < out[i].size(); ++e) call->outputs[i].at(e) = out[i][e];
    return 0;
}
