//! Convolutions with a bias and a leaky rectifier behind them, which their kernels compute on the way, and apart.

use std::sync::Arc;

use fer_autodiff::gradients;
use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, Feeds, Outputs, Precision as Floats, Tensor, conformance::steps::numbers};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, TensorType, ops::Window};

/// A convolution of `[2, channels, plane, plane]`.
#[derive(Clone, Copy, Debug)]
struct Case {
    channels: [usize; 2],
    plane: usize,
    kernel: usize,
    window: Window,
    slope: f64,
    /// Whether its kernel takes what is behind it; products of the device's library do not.
    taken: bool,
}

/// The convolution, its bias, a rectifier, a product of its channels, and the gradients of a weighted sum of that.
fn graph(case: &Case) -> Graph {
    let Case { channels: [from, to], plane, kernel, window, slope, .. } = *case;
    let b = Builder::new("biased");
    let input = |name: &str, shape: &[usize]| b.input(name, TensorType::float(shape)).unwrap();
    let x = input("x", &[2, from, plane, plane]);
    let weight = input("weight", &[to, from / window.groups, kernel, kernel]);
    let bias = input("bias", &[to]);
    let y = b.convolution(x, weight, window).unwrap();
    let shape = b.shape(y);
    let y = b.add(y, b.broadcast_in_dim(bias, &shape, &[1]).unwrap()).unwrap();
    let y = b.leaky_relu(y, slope).unwrap();
    let mixed = b.convolution(y, input("mix", &[2, to, 1, 1]), Window::default()).unwrap();
    let g = input("g", &b.shape(mixed));
    let loss = b.reduce_sum(b.multiply(mixed, g).unwrap(), &[0, 1, 2, 3]).unwrap();
    b.output("mixed", mixed);
    // Those of a very large kernel take very long here.
    let wanted = if kernel < 20 { vec![x, weight, bias] } else { vec![] };
    for (i, gradient) in gradients(&b, loss, &wanted).unwrap().into_iter().enumerate() {
        b.output(&format!("gradient{i}"), gradient.unwrap());
    }
    b.finish()
}

fn feeds(graph: &Graph) -> Feeds {
    let feed = |(i, a): (usize, &fer_graph::Argument)| {
        let ty = graph.ty(a.value);
        (a.name.clone(), Tensor::f64(ty.shape.clone(), numbers(ty.elements(), i as u64)))
    };
    graph.arguments.iter().enumerate().map(feed).collect()
}

fn run(engine: &dyn Engine, graph: &Graph) -> (Outputs, Vec<String>) {
    let mut calls = vec![];
    let executable = engine.compile(graph).unwrap();
    let mut see = |call: &fer_engine::Call, _| calls.push(call.op.to_string());
    let outputs = executable.run_timed(engine.store().as_mut(), &feeds(graph), &mut see).unwrap();
    (outputs, calls)
}

fn ours(precision: Precision, no_fuse: &[&str]) -> CudaEngine {
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    let options = Options { precision, no_fuse, smallest_rounded: 0, separate: true, ..Options::default() };
    CudaEngine::new(Arc::new(EmulatedDevice::new()), options)
}

fn check(case: Case) {
    let graph = graph(&case);
    let truth = DfdxEngine::new(Floats::F64).compile(&graph).unwrap();
    let truth = truth.run(DfdxEngine::new(Floats::F64).store().as_mut(), &feeds(&graph)).unwrap();
    // Sums of some hundred products of numbers up to 1: in f32, and of factors and activations off by 2^-9 of themselves.
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 2e-2)] {
        for no_fuse in [&[][..], &["absorb"]] {
            let (found, calls) = run(&ours(precision, no_fuse), &graph);
            // Where rounding takes a number through 0, its gradient is another one.
            let compared = truth.iter().filter(|(name, _)| precision == Precision::F32 || *name == "mixed");
            for (name, expected) in compared {
                let expected = expected.to_f64();
                let largest = expected.iter().fold(1.0f64, |top, v| top.max(v.abs()));
                for (i, (a, b)) in found[name].to_f64().iter().zip(&expected).enumerate() {
                    let near = (a - b).abs() <= tolerance * largest;
                    assert!(near, "{case:?} {precision:?} {no_fuse:?} {name}[{i}]: {a} and {b}");
                }
            }
            let taken = case.taken && no_fuse.is_empty();
            let apart = calls.iter().any(|op| op == "leaky_relu" || op == "elementwise");
            assert_eq!(apart, !taken, "{case:?} {precision:?} {no_fuse:?}: {calls:?}");
        }
    }
}

fn case(channels: [usize; 2], kernel: usize, window: Window) -> Case {
    Case { channels, plane: 13, kernel, window, slope: 0.2, taken: true }
}

#[test]
fn kernels_that_gather_take_what_is_behind_them() {
    let padded = |padding| Window { padding: [padding; 2], ..Window::default() };
    check(case([3, 16], 7, padded(3)));
    check(case([16, 3], 3, padded(1)));
    check(case([8, 40], 3, Window { stride: [2, 2], ..padded(1) }));
    check(case([8, 12], 3, Window { groups: 4, ..padded(1) }));
    check(Case { slope: 1.0, ..case([5, 6], 3, padded(0)) });
}

#[test]
fn so_do_depthwise_ones() {
    check(case([12, 12], 3, Window { groups: 12, padding: [1; 2], ..Window::default() }));
}

/// A kernel that sees more than shared memory holds.
#[test]
fn so_do_those_that_stage_nothing() {
    check(Case { plane: 83, ..case([1, 2], 81, Window::default()) });
}

/// A rectifier of slope 0 has a form of its own, and products are the library's.
#[test]
fn others_leave_it_to_kernels_of_their_own() {
    check(Case { slope: 0.0, taken: false, ..case([3, 16], 3, Window { padding: [1; 2], ..Window::default() }) });
    check(Case { taken: false, ..case([8, 16], 1, Window::default()) });
}
