//! Plugins' CUDA sources: launched as it is written down, taken where they are offered, left where they are switched off, and caught
//! when they do something else than their op means.

use std::sync::Arc;

use fer_autodiff::gradients;
use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{
    Engine, EngineError, Feeds, Outputs, Precision as Floats, Tensor,
    kernel::{CudaFunction, CustomKernel, Each, Kernels, Wrong},
};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, Result, TensorType, Value};

/// `x y + x` and the sum of each row of `x`; x `[n, d]`, y `[n, d]`. Forward a block takes a row, whose threads meet.
const SOURCE: &str = r#"
#if COTANGENTS == 0
extern "C" __global__ void twist(const float *x, const float *y, float *out, float *sums) {
    __shared__ float part[THREADS];
    const int row = blockIdx.x;
    float sum = 0.0f;
    for (int j = threadIdx.x; j < IN0_D1; j += THREADS) {
        const int i = row * IN0_D1 + j;
        out[i] = x[i] * y[i] + x[i];
        sum += x[i];
    }
    part[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int t = 1; t < THREADS; t++) sum += part[t];
    sums[row] = sum;
}
#else
// Cotangents of both results; of x, and of y where it is wanted.
extern "C" __global__ void twist_vjp(const float *x, const float *y, const float *g, const float *h, float *dx
#if OUTPUTS == 2
    , float *dy
#endif
) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= OUT0_N) return;
    dx[i] = g[i] * (y[i] + 1.0f) + h[i / IN0_D1];
#if OUTPUTS == 2
    dy[i] = g[i] * x[i];
#endif
}
#endif
"#;

const THREADS: u32 = 32;

fn kernel(adjoint: bool, source: &str) -> CustomKernel<CudaFunction> {
    let (entry, each) = if adjoint { ("twist_vjp", Each::Element) } else { ("twist", Each::Row) };
    let source = format!("#define THREADS {THREADS}\n{source}").into();
    CustomKernel {
        library: "libtwist.so".into(),
        op: "test.twist".into(),
        version: 1,
        adjoint,
        function: CudaFunction { source, entry: entry.into(), each, threads: THREADS },
    }
}

fn both(source: &str) -> Vec<CustomKernel<CudaFunction>> {
    [false, true].map(|adjoint| kernel(adjoint, source)).into()
}

fn engine(kernels: Vec<CustomKernel<CudaFunction>>, options: Options) -> CudaEngine {
    CudaEngine::new(Arc::new(EmulatedDevice::new()), Options { kernels: Kernels::new(kernels), ..options })
}

fn body(b: &Builder, v: &[Value]) -> Result<Vec<Value>> {
    Ok(vec![b.add(b.multiply(v[0], v[1])?, v[0])?, b.reduce_sum(v[0], &[1])?])
}

/// The op on what lies in different ways, with the gradient of both operands or of the first: on a matrix and its neighbour, on one that
/// is read transposed with one number everywhere, on one twice.
fn graph() -> Graph {
    let b = Builder::new("t");
    let [x, y] = ["x", "y"].map(|name| b.input(name, TensorType::float([5, 70])).unwrap());
    let mut objective = b.full(&[], 0.0).unwrap();
    let turned = b.transpose(y, &[1, 0]).unwrap();
    for [left, right] in [[x, y], [turned, b.full_like(turned, 0.75).unwrap()], [x, x]] {
        let results = b.composite("test.twist", 1, &[left, right], body).unwrap();
        let rows = b.broadcast_in_dim(results[1], &b.shape(left), &[0]).unwrap();
        let weighed = b.reduce_sum(b.multiply(results[0], rows).unwrap(), &[0, 1]).unwrap();
        objective = b.add(objective, weighed).unwrap();
    }
    for (i, gradient) in gradients(&b, objective, &[x, y]).unwrap().into_iter().enumerate() {
        b.output(&format!("gradient{i}"), gradient.unwrap());
    }
    b.output("objective", objective);
    b.finish()
}

fn feeds() -> Feeds {
    let numbers = |k| fer_engine::uniform([k, 0, 0], 3, 350).map(|u| u - 0.5).collect();
    Feeds::from([("x".into(), Tensor::f64([5, 70], numbers(1))), ("y".into(), Tensor::f64([5, 70], numbers(2)))])
}

/// The outputs, and which of the op and its adjoint were called how often.
fn run(engine: &CudaEngine) -> (Outputs, [usize; 2]) {
    let executable = engine.compile(&graph()).unwrap();
    let mut calls = [0; 2];
    let mut see = |call: &fer_engine::Call, _| {
        for (count, op) in calls.iter_mut().zip(["test.twist", "test.twist_vjp"]) {
            *count += usize::from(&*call.op == op);
        }
    };
    let outputs = executable.run_timed(engine.store().as_mut(), &feeds(), &mut see).unwrap();
    (outputs, calls)
}

#[test]
fn sources_compute_what_their_op_means() {
    let reference = DfdxEngine::new(Floats::F64);
    let truth = reference.compile(&graph()).unwrap().run(reference.store().as_mut(), &feeds()).unwrap();
    for (precision, separate, tolerance) in
        // f32 sums of some hundred numbers below one; in bf16 only what is around the op is rounded, here nothing but gradients' sums.
        [(Precision::F32, true, 1e-5), (Precision::F32, false, 1e-5), (Precision::Bf16, true, 1e-2)]
    {
        let options = Options { precision, separate, smallest_rounded: 0, ..Options::default() };
        let (outputs, calls) = run(&engine(both(SOURCE), options));
        assert_eq!(calls, [3, 3], "{precision:?}");
        for (name, truth) in &truth {
            let (ours, theirs) = (outputs[name].to_f64(), truth.to_f64());
            let largest = theirs.iter().fold(0f64, |top, v| top.max(v.abs()));
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a - b).abs() <= tolerance * largest, "{precision:?}: {name}: {a} and {b}");
            }
        }
    }
}

#[test]
fn sources_are_left_where_they_are_switched_off_or_for_something_else() {
    let broken = both("extern \"C\" __global__ void twist() { nothing } // twist_vjp");
    let without = |op: &str| Options { no_fuse: [op.to_owned()].into(), ..Options::default() };
    for off in ["test.twist", "all"] {
        assert_eq!(run(&engine(broken.clone(), without(off))).1, [0, 0], "{off}");
    }
    let sound = || both(SOURCE);
    assert_eq!(run(&engine(sound(), without("test.twist_vjp"))).1, [3, 0]);
    assert_eq!(run(&engine(vec![kernel(true, SOURCE)], Options::default())).1, [0, 3]);
    let later = CustomKernel { version: 2, ..kernel(false, SOURCE) };
    assert_eq!(run(&engine(vec![later], Options::default())).1, [0, 0]);
    // More blocks than a launch can have are never asked for, nor more pointers.
    let b = Builder::new("many");
    let xs: Vec<Value> = (0..513).map(|i| b.input(&format!("x{i}"), TensorType::float([1])).unwrap()).collect();
    let sum = |b: &Builder, v: &[Value]| v[1..].iter().try_fold(v[0], |a, &x| b.add(a, x)).map(|sum| vec![sum]);
    let results = b.composite("test.twist", 1, &xs, sum).unwrap();
    b.output("y", results[0]);
    let many = engine(broken, Options::default()).compile(&b.finish());
    assert!(many.is_ok(), "{:?}", many.err());
}

/// What the engine says of a source in which something was replaced.
fn refusal(adjoint: bool, from: &str, to: &str) -> (Wrong, String) {
    assert!(SOURCE.contains(from), "{from}");
    let engine = engine(vec![kernel(adjoint, &SOURCE.replace(from, to))], Options::default());
    match engine.compile(&graph()) {
        Err(EngineError::Kernel(fault)) => (fault.wrong.clone(), fault.to_string()),
        Err(other) => panic!("{from} -> {to}: {other}"),
        Ok(_) => panic!("{from} -> {to}: nobody noticed"),
    }
}

#[test]
fn a_source_that_is_not_its_op_is_caught_before_a_step() {
    let (wrong, text) = refusal(false, "x[i] * y[i] + x[i]", "x[i] * y[i]");
    assert!(matches!(wrong, Wrong::Differs { output: 0, layout: "dense", .. }), "{text}");
    let begin =
        "the kernel for test.twist in libtwist.so cannot be used: on random numbers (f[5,70], f[5,70]) element [";
    assert!(text.starts_with(begin), "{text}");
    let (wrong, text) = refusal(true, "h[i / IN0_D1]", "h[0]");
    assert!(matches!(wrong, Wrong::Differs { output: 0, .. }) && text.contains("test.twist_vjp"), "{text}");

    let wrong = |from: &str, to: &str| refusal(false, from, to).0;
    let skips = wrong("sums[row] = sum;", "if (row != 3) sums[row] = sum;");
    assert_eq!(skips, Wrong::Unwritten { output: 1, index: vec![3] });
    assert_eq!(
        wrong("sums[row] = sum;", "sums[row] = sum; if (row == 4) sums[row + 2] = sum;"),
        Wrong::OutOfBounds { output: 1, by: 2 }
    );
    let before = "sums[row] = sum; if (row == 0) out[-1] = sum;";
    assert_eq!(wrong("sums[row] = sum;", before), Wrong::OutOfBounds { output: 0, by: -1 });
    let own = "sums[row] = sum; ((float *)y)[row * IN0_D1] = sum;";
    assert_eq!(wrong("sums[row] = sum;", own), Wrong::Input { input: 1 });
    // What a card shows in some runs only, the emulator always does.
    let (wrong, text) = refusal(false, "__syncthreads();", "");
    assert!(matches!(wrong, Wrong::Device(_)) && text.contains("a race: it "), "{text}");
}

#[test]
fn a_source_that_the_device_refuses_is_told_with_its_library_and_op() {
    let (wrong, text) = refusal(false, "sum += x[i];", "sum += nothing[i];");
    assert!(matches!(wrong, Wrong::Source(_)), "{text}");
    let begin = "the kernel for test.twist in libtwist.so cannot be used: for operands (f[5,70], f[5,70]) its source does not \
                 compile\n    ";
    assert!(text.starts_with(begin), "{text}");
    // The line of the library's own text: the tests put one before it.
    assert!(text.contains("test.twist.cu:11:") && text.contains("nothing"), "{text}");
    assert!(text.lines().count() <= 27, "{text}");

    let device = |from: &str, to: &str, part: &str| {
        let (wrong, text) = refusal(false, from, to);
        assert!(matches!(wrong, Wrong::Device(_)) && text.contains("it fails on the device: "), "{text}");
        assert!(text.contains(part), "{part} is not in: {text}");
    };
    device("void twist(const", "void other(const", "no unit has a kernel twist_");
    device("float *out, float *sums) {", "float *out) { float *sums = out;", "4 parameters are given, it has 3");
    device("__global__ void twist(", "__global__ void __launch_bounds__(16) twist(", "its launch bounds say 16");
    device("sums[row] = sum;", "sums[row + (1 << 26)] = sum;", "the device is lost");
}

/// A source is compiled for each list of types, and each has a name of its own.
#[test]
fn sources_stand_in_a_plan_by_what_they_are_for() {
    let options = Options { kernels: Kernels::new(both(SOURCE)), ..Options::default() };
    let units = fer_engine_cuda::units(&graph(), &options).unwrap();
    let own: Vec<_> = units.iter().filter(|unit| unit.name.starts_with("test.twist")).collect();
    // Forward on [5, 70] and on [70, 5], and the adjoint of each; that of `x` with itself is the first's.
    let names: Vec<&str> = own.iter().map(|unit| &*unit.name).collect();
    assert_eq!(names, ["test.twist", "test.twist", "test.twist_vjp", "test.twist_vjp"], "{names:?}");
    assert!(own.iter().all(|unit| unit.source.contains("\n#line 1\n#define THREADS 32\n")));
}
