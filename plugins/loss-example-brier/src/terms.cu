// The kernels of `example.brier_terms` for CUDA. Shapes are macros: IN0_D0 samples, IN0_D1 classes. One thread for each element of the
// first result, so that `brier_terms` has a thread a sample and `brier_terms_vjp` one for each sample and class.

#define CLASSES IN0_D1

// 1 / sum(exp(logits - top)), and top.
static __device__ float normaliser(const float *logits, float *top) {
    *top = logits[0];
    for (int c = 1; c < CLASSES; ++c) *top = fmaxf(*top, logits[c]);
    float sum = 0.0f;
    for (int c = 0; c < CLASSES; ++c) sum += expf(logits[c] - *top);
    return 1.0f / sum;
}

#if !defined(COTANGENTS) || COTANGENTS == 0
extern "C" __global__ void brier_terms(const float *logits, const float *targets, float *out) {
    unsigned row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= OUT0_N) return;
    const float *x = logits + row * CLASSES, *t = targets + row * CLASSES;
    float top, scale = normaliser(x, &top), sum = 0.0f;
    for (int c = 0; c < CLASSES; ++c) {
        float e = expf(x[c] - top) * scale - t[c];
        sum += e * e;
    }
    out[row] = sum;
}
#else
// The results are the cotangents that are wanted: WRT0 says of which operand the first is.
extern "C" __global__ void brier_terms_vjp(const float *logits, const float *targets, const float *g, float *out0
#if OUTPUTS == 2
                                           , float *out1
#endif
) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= OUT0_N) return;
    unsigned row = i / CLASSES;
    const float *x = logits + row * CLASSES, *t = targets + row * CLASSES;
    float top, scale = normaliser(x, &top), mean = 0.0f;
    for (int c = 0; c < CLASSES; ++c) {
        float p = expf(x[c] - top) * scale;
        mean += p * (p - t[c]);
    }
    float p = expf(logits[i] - top) * scale, e = p - targets[i], twice = 2.0f * g[row];
    float of_logits = twice * p * (e - mean), of_targets = -twice * e;
#if OUTPUTS == 2
    out0[i] = of_logits;
    out1[i] = of_targets;
#else
    out0[i] = WRT0 == 0 ? of_logits : of_targets;
#endif
}
#endif
