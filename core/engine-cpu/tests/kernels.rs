//! A plugin's kernels: taken where they are offered, left where they are switched off, and caught when they do something else than
//! their op means.

use std::sync::atomic::{AtomicUsize, Ordering};

use fer_abi::{KernelCall, KernelFunction, KernelInput, KernelOutput};
use fer_autodiff::gradients;
use fer_engine::{
    Engine, EngineError, Feeds, Outputs, Precision, Tensor,
    kernel::{CustomKernel, Kernels, Wrong, compare},
};
use fer_engine_cpu::{CpuEngine, Factors, Options};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, Node, Result, TensorType, Value};

const SHAPE: [usize; 2] = [5, 7];

/// `x y + x` and the sum of each row of `x`.
fn body(b: &Builder, v: &[Value]) -> Result<Vec<Value>> {
    Ok(vec![b.add(b.multiply(v[0], v[1])?, v[0])?, b.reduce_sum(v[0], &[1])?])
}

fn graph(body: fn(&Builder, &[Value]) -> Result<Vec<Value>>) -> Graph {
    let b = Builder::new("t");
    let ty = TensorType::float(SHAPE);
    let operands = ["x", "y"].map(|name| b.input(name, ty.clone()).unwrap());
    let results = b.composite("test.twist", 1, &operands, body).unwrap();
    let weighed = b.multiply(results[0], b.broadcast_in_dim(results[1], &SHAPE, &[0]).unwrap()).unwrap();
    let objective = b.reduce_sum(weighed, &[0, 1]).unwrap();
    for (i, gradient) in gradients(&b, objective, &operands).unwrap().into_iter().enumerate() {
        b.output(&format!("gradient{i}"), gradient.unwrap());
    }
    b.output("objective", objective);
    b.finish()
}

/// Where an element is.
///
/// # Safety
/// The index is within the shape, whose lists are valid.
unsafe fn at(strides: *const isize, i: usize, j: usize) -> isize {
    // SAFETY: the caller's promise.
    unsafe { i as isize * *strides + j as isize * *strides.add(1) }
}

/// The views of a call.
///
/// # Safety
/// The call is valid.
unsafe fn views<'a>(call: *const KernelCall) -> (&'a [KernelInput], &'a [KernelOutput], &'a [usize], &'a [usize]) {
    /// # Safety
    /// As many elements are there, or none are asked for.
    unsafe fn list<'a, T>(first: *const T, count: usize) -> &'a [T] {
        // SAFETY: the caller's promise.
        if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(first, count) } }
    }
    // SAFETY: the caller's promise.
    unsafe {
        let call = &*call;
        (
            list(call.inputs, call.input_count),
            list(call.outputs, call.output_count),
            list(call.wrt, call.wrt_count),
            list(call.cotangents, call.cotangent_count),
        )
    }
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// What a faulty kernel does besides, or instead.
const HONEST: usize = 0;
const WRONG_ELEMENT: usize = 1;
const OUT_OF_BOUNDS: usize = 2;
const BEFORE: usize = 3;
const NAN: usize = 4;
const SKIPS_ONE: usize = 5;
const IGNORES_STRIDES: usize = 6;
const WRITES_INPUT: usize = 7;
const REFUSES: usize = 8;
const UNSTEADY: usize = 9;
const SLIGHTLY_OFF: usize = 10;
const SECOND_RESULT_OFF: usize = 11;

unsafe extern "C" fn forward<const FAULT: usize>(call: *const KernelCall) -> i32 {
    let earlier = CALLS.fetch_add(1, Ordering::Relaxed);
    let [rows, columns] = SHAPE;
    // SAFETY: the engine's call is valid; but for the faults, only elements within the shapes are touched.
    unsafe {
        let (inputs, outputs, ..) = views(call);
        let (x, y, out, sums) = (inputs[0], inputs[1], outputs[0], outputs[1]);
        for i in 0..rows {
            let mut sum = 0.0;
            for j in 0..columns {
                if FAULT == SKIPS_ONE && (i, j) == (3, 2) {
                    continue;
                }
                let (a, b) = match FAULT {
                    IGNORES_STRIDES => (*x.data.add(i * columns + j), *y.data.add(i * columns + j)),
                    _ => (*x.data.offset(at(x.strides, i, j)), *y.data.offset(at(y.strides, i, j))),
                };
                sum += a;
                let mut result = a * b + a;
                if FAULT == WRONG_ELEMENT && (i, j) == (4, 6) {
                    result = a * b;
                }
                if FAULT == NAN && (i, j) == (0, 3) {
                    result = f32::NAN;
                }
                if FAULT == UNSTEADY && (i, j) == (1, 1) {
                    result *= 1.0 + (earlier % 2) as f32 * 1e-6;
                }
                if FAULT == SLIGHTLY_OFF {
                    result *= 1.001;
                }
                *out.data.offset(at(out.strides, i, j)) = result;
            }
            if FAULT == SECOND_RESULT_OFF && i == 2 {
                sum += 0.01;
            }
            *sums.data.offset(i as isize * *sums.strides) = sum;
        }
        if FAULT == OUT_OF_BOUNDS {
            *out.data.add(rows * columns + 2) = 1.0;
        }
        if FAULT == BEFORE {
            *sums.data.sub(3) = 1.0;
        }
        if FAULT == WRITES_INPUT {
            *y.data.cast_mut() = 0.5;
        }
    }
    if FAULT == REFUSES { 12 } else { 0 }
}

/// `x (y + 1) -> g (y + 1) + broadcast h`, `g x`; whichever are wanted.
unsafe extern "C" fn adjoint<const FAULT: usize>(call: *const KernelCall) -> i32 {
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: as in `forward`.
    unsafe {
        let (inputs, outputs, wrt, cotangents) = views(call);
        let (x, y) = (inputs[0], inputs[1]);
        let cotangent = |result: usize| cotangents.iter().position(|&c| c == result).map(|at| inputs[2 + at]);
        for (out, &operand) in outputs.iter().zip(wrt) {
            for i in 0..SHAPE[0] {
                for j in 0..SHAPE[1] {
                    let g = cotangent(0).map_or(0.0, |g| *g.data.offset(at(g.strides, i, j)));
                    let h = cotangent(1).map_or(0.0, |h| *h.data.offset(i as isize * *h.strides));
                    let (a, b) = (*x.data.offset(at(x.strides, i, j)), *y.data.offset(at(y.strides, i, j)));
                    let mut gradient = if operand == 0 { g * (b + 1.0) + h } else { g * a };
                    if FAULT == WRONG_ELEMENT && operand == 1 && (i, j) == (0, 0) {
                        gradient = -gradient;
                    }
                    *out.data.offset(at(out.strides, i, j)) = gradient;
                }
            }
        }
    }
    0
}

fn kernel(adjoint: bool, run: unsafe extern "C" fn(*const KernelCall) -> i32) -> CustomKernel {
    let function = KernelFunction { run };
    CustomKernel { library: "libtwist.so".into(), op: "test.twist".into(), version: 1, adjoint, function }
}

fn engine(kernels: Vec<CustomKernel>, options: Options) -> CpuEngine {
    CpuEngine::new(Options { kernels: Kernels::new(kernels), ..options })
}

fn run(engine: &dyn Engine, graph: &Graph) -> Outputs {
    let feeds: Feeds = [("x", 1), ("y", 2)]
        .map(|(name, stream)| {
            let numbers = fer_engine::uniform([3, 0, 0], stream, SHAPE.iter().product());
            (name.to_owned(), Tensor::f32(SHAPE, numbers.map(|u| u as f32).collect()))
        })
        .into();
    engine.compile(graph).unwrap().run(engine.store().as_mut(), &feeds).unwrap()
}

fn node(graph: &Graph, adjoint: bool) -> &Node {
    graph.nodes.iter().find(|n| n.op.body().is_some() && n.op.adjoint == adjoint).unwrap()
}

fn both() -> Vec<CustomKernel> {
    vec![kernel(false, forward::<HONEST>), kernel(true, adjoint::<HONEST>)]
}

#[test]
fn kernels_are_taken_whole_and_give_the_same_numbers() {
    let graph = graph(body);
    let expected = run(&DfdxEngine::new(Precision::F64), &graph);
    for factors in [Factors::F32, Factors::Bf16] {
        let engine = engine(both(), Options { factors, ..Options::default() });
        let mut seen = vec![];
        let feeds: Feeds = ["x", "y"].map(|n| (n.to_owned(), Tensor::f32(SHAPE, vec![0.5; 35]))).into();
        let executable = engine.compile(&graph).unwrap();
        executable.run_timed(engine.store().as_mut(), &feeds, &mut |call, _| seen.push(call.op.to_string())).unwrap();
        for op in ["test.twist", "test.twist_vjp"] {
            assert_eq!(seen.iter().filter(|s| *s == op).count(), 1, "{seen:?}");
        }
        for (name, numbers) in run(&engine, &graph) {
            for (l, r) in numbers.to_f64().iter().zip(expected[&name].to_f64()) {
                // Sums of seven and of 35 products in f32.
                assert!((l - r).abs() <= 1e-5 * (1.0 + r.abs()), "{name}: {l} and {r}");
            }
        }
    }
}

#[test]
fn a_kernel_that_is_switched_off_or_of_another_version_is_not_called() {
    let graph = graph(body);
    let calls = |engine: CpuEngine| {
        let mut seen = vec![];
        let feeds: Feeds = ["x", "y"].map(|n| (n.to_owned(), Tensor::f32(SHAPE, vec![0.5; 35]))).into();
        let executable = engine.compile(&graph).unwrap();
        executable.run_timed(engine.store().as_mut(), &feeds, &mut |call, _| seen.push(call.op.to_string())).unwrap();
        ["test.twist", "test.twist_vjp"].map(|op| seen.iter().any(|s| s == op))
    };
    let off = |name: &str| engine(both(), Options { no_fuse: [name.to_owned()].into(), ..Options::default() });
    assert_eq!(calls(off("test.twist")), [false, false]);
    assert_eq!(calls(off("test.twist_vjp")), [true, false]);
    assert_eq!(calls(off("all")), [false, false]);
    let other = |kernel: CustomKernel| engine(vec![kernel], Options::default());
    assert_eq!(calls(other(CustomKernel { version: 2, ..kernel(false, forward::<HONEST>) })), [false, false]);
    assert_eq!(calls(other(kernel(true, adjoint::<HONEST>))), [false, true]);
}

#[test]
fn mutants_are_caught() {
    let graph = graph(body);
    let reference = DfdxEngine::new(Precision::F64);
    let wrong = |kernel: &CustomKernel| compare(kernel, &graph, node(&graph, kernel.adjoint), &reference);
    for honest in both() {
        assert_eq!(wrong(&honest), Ok(()));
    }
    type Expected = fn(&Wrong) -> bool;
    let mutants: [(CustomKernel, Expected); 12] = [
        (
            kernel(false, forward::<WRONG_ELEMENT>),
            |w| matches!(w, Wrong::Differs { output: 0, index, .. } if *index == [4, 6]),
        ),
        (kernel(false, forward::<OUT_OF_BOUNDS>), |w| *w == Wrong::OutOfBounds { output: 0, by: 3 }),
        (kernel(false, forward::<BEFORE>), |w| *w == Wrong::OutOfBounds { output: 1, by: -3 }),
        (kernel(false, forward::<NAN>), |w| matches!(w, Wrong::Differs { output: 0, index, .. } if *index == [0, 3])),
        (kernel(false, forward::<SKIPS_ONE>), |w| *w == Wrong::Unwritten { output: 0, index: vec![3, 2] }),
        (kernel(false, forward::<IGNORES_STRIDES>), |w| matches!(w, Wrong::Differs { layout: "strided", .. })),
        (kernel(false, forward::<WRITES_INPUT>), |w| *w == Wrong::Input { input: 1 }),
        (kernel(false, forward::<REFUSES>), |w| *w == Wrong::Refused(12)),
        (kernel(false, forward::<UNSTEADY>), |w| *w == Wrong::Unsteady { output: 0, index: vec![1, 1] }),
        (kernel(false, forward::<SLIGHTLY_OFF>), |w| matches!(w, Wrong::Differs { output: 0, .. })),
        (
            kernel(false, forward::<SECOND_RESULT_OFF>),
            |w| matches!(w, Wrong::Differs { output: 1, index, .. } if *index == [2]),
        ),
        (
            kernel(true, adjoint::<WRONG_ELEMENT>),
            |w| matches!(w, Wrong::Differs { output: 1, index, .. } if *index == [0, 0]),
        ),
    ];
    for (mutant, expected) in mutants {
        let fault = wrong(&mutant).expect_err("a mutant");
        assert!(expected(&fault.wrong), "{fault}");
        let text = fault.to_string();
        assert!(text.contains("libtwist.so") && text.contains("test.twist") && !text.contains('\n'), "{text}");
        // The engine says the same before it runs anything.
        let mutant = engine(vec![mutant], Options::default()).compile(&graph).err();
        assert!(matches!(mutant, Some(EngineError::Kernel(_))), "{mutant:?}");
    }
}

#[test]
fn a_meaning_without_finite_numbers_cannot_be_compared() {
    let graph = graph(|b, v| {
        let none = b.log(b.negate(b.exponential(v[0])?)?)?;
        Ok(vec![b.add(none, v[1])?, b.reduce_sum(v[0], &[1])?])
    });
    let reference = DfdxEngine::new(Precision::F64);
    unsafe extern "C" fn nan(call: *const KernelCall) -> i32 {
        // SAFETY: the call is valid, and both outputs have as many elements as are written.
        unsafe {
            let (inputs, outputs, ..) = views(call);
            for i in 0..SHAPE[0] {
                let mut sum = 0.0;
                for j in 0..SHAPE[1] {
                    sum += *inputs[0].data.offset(at(inputs[0].strides, i, j));
                    *outputs[0].data.offset(at(outputs[0].strides, i, j)) = f32::NAN;
                }
                *outputs[1].data.offset(i as isize * *outputs[1].strides) = sum;
            }
        }
        0
    }
    let fault = compare(&kernel(false, nan), &graph, node(&graph, false), &reference).expect_err("nothing to see");
    assert_eq!(fault.wrong, Wrong::NothingToCompare { output: 0 });
}
