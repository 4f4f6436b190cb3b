// The softmax of rows, its logarithm, and their gradients. A row's greatest number is taken off first, so exponentials are at most 1.
// What the formula makes NaN is NaN: a row that holds NaN or infinity, or nothing but -infinity.

// Leaves e^(x - greatest) in the registers of a row that has them; gives the greatest.
template <int TEAM, int N, int WIDE, class L>
__device__ __forceinline__ float row_exponentials(L& line, int lane, int width, float* shared) {
    float top = Greatest::none();
    each_group<TEAM, N, WIDE>(lane, width, [&](int k, int column) {
        Group<WIDE> x = line.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) top = larger(top, x.x[i]);
    });
    top = team_fold<Greatest, TEAM>(top, shared);
    if constexpr (N > 0) {
        each_group<TEAM, N, WIDE>(lane, width, [&](int k, int) {
#pragma unroll
            for (int i = 0; i < WIDE; i++) line.kept[k].x[i] = expf(line.kept[k].x[i] - top);
        });
    }
    return top;
}

// e^(x - greatest), wherever it is.
template <int N, int WIDE, class L> __device__ __forceinline__ Group<WIDE> exponential(const L& line, float top, int k, int column) {
    Group<WIDE> e = line.at(k, column);
    if constexpr (N == 0) {
#pragma unroll
        for (int i = 0; i < WIDE; i++) e.x[i] = expf(e.x[i] - top);
    }
    return e;
}

template <class X, class Y, int TEAM, int N, int WIDE>
__device__ __forceinline__ void softmax_forward(const X* x, Y* y, u64 rows, int width) {
    __shared__ float shared[32];
    TeamRow team = TeamRow::of_grid<TEAM>(rows);
    int columns = team.columns<TEAM>(width);
    Line<X, TEAM, N, WIDE> line(x + team.row * width, team.lane, columns);
    float top = row_exponentials<TEAM, N, WIDE>(line, team.lane, columns, shared);
    float sum = 0.0f;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> e = exponential<N, WIDE>(line, top, k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) sum += e.x[i];
    });
    float factor = 1.0f / team_sum<TEAM>(sum, shared);
    if (!team.there) return;
    Y* to = y + team.row * width;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> e = exponential<N, WIDE>(line, top, k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) e.x[i] *= factor;
        store(to + column, e);
    });
}

#define SOFTMAX_FORWARD(name, X, Y, TEAM, N, WIDE)                                                                                       \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS(TEAM)) name(const X* x, Y* y, u64 rows, int width) {                        \
        softmax_forward<X, Y, TEAM, N, WIDE>(x, y, rows, width);                                                                         \
    }

template <class X, class Y, int TEAM, int N, int WIDE>
__device__ __forceinline__ void log_softmax_forward(const X* x, Y* y, u64 rows, int width) {
    __shared__ float shared[32];
    TeamRow team = TeamRow::of_grid<TEAM>(rows);
    int columns = team.columns<TEAM>(width);
    Line<X, TEAM, N, WIDE> line(x + team.row * width, team.lane, columns);
    float top = Greatest::none();
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> v = line.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) top = larger(top, v.x[i]);
    });
    top = team_fold<Greatest, TEAM>(top, shared);
    float sum = 0.0f;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> v = line.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) sum += expf(v.x[i] - top);
    });
    float log = logf(team_sum<TEAM>(sum, shared));
    if (!team.there) return;
    Y* to = y + team.row * width;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> v = line.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) v.x[i] = (v.x[i] - top) - log;
        store(to + column, v);
    });
}

#define LOG_SOFTMAX_FORWARD(name, X, Y, TEAM, N, WIDE)                                                                                   \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS(TEAM)) name(const X* x, Y* y, u64 rows, int width) {                        \
        log_softmax_forward<X, Y, TEAM, N, WIDE>(x, y, rows, width);                                                                     \
    }

// From the gradient of the result: p (g - sum(p g)), of the logarithm g - p sum(g).
template <class X, class G, class D, int TEAM, int N, int WIDE, bool LOG>
__device__ __forceinline__ void softmax_backward(const X* x, const G* g, D* dx, u64 rows, int width) {
    __shared__ float shared[32];
    TeamRow team = TeamRow::of_grid<TEAM>(rows);
    int columns = team.columns<TEAM>(width);
    Line<X, TEAM, N, WIDE> line(x + team.row * width, team.lane, columns);
    Line<G, TEAM, N, WIDE> grad(g + team.row * width, team.lane, columns);
    float top = row_exponentials<TEAM, N, WIDE>(line, team.lane, columns, shared);
    float sum = 0.0f, along = 0.0f;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> e = exponential<N, WIDE>(line, top, k, column), h = grad.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) {
            sum += e.x[i];
            along = LOG ? along + h.x[i] : fmaf(e.x[i], h.x[i], along);
        }
    });
    float factor = 1.0f / team_sum<TEAM>(sum, shared);
    along = team_sum<TEAM>(along, shared) * factor;
    if (!team.there) return;
    D* to = dx + team.row * width;
    each_group<TEAM, N, WIDE>(team.lane, columns, [&](int k, int column) {
        Group<WIDE> e = exponential<N, WIDE>(line, top, k, column), h = grad.at(k, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) e.x[i] = LOG ? h.x[i] - e.x[i] * along : e.x[i] * factor * (h.x[i] - along);
        store(to + column, e);
    });
}

#define SOFTMAX_BACKWARD(name, X, G, D, TEAM, N, WIDE, LOG)                                                                              \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS(TEAM)) name(const X* x, const G* g, D* dx, u64 rows, int width) {           \
        softmax_backward<X, G, D, TEAM, N, WIDE, LOG>(x, g, dx, rows, width);                                                            \
    }
