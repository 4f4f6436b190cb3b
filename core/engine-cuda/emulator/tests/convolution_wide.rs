//! Convolutions and their gradients at sizes of several tiles, with odd remainders.

use std::{collections::BTreeMap, sync::Arc};

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, Feeds, Tensor};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{
    Attributes, Builder, Graph, Op, TensorType, Value,
    ops::{Window, lookup},
};

#[derive(Clone, Copy, Debug)]
struct Case {
    image: [usize; 4],
    /// Channels of the result, rows and columns.
    kernel: [usize; 3],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

impl Case {
    const fn new(image: [usize; 4], kernel: [usize; 3], stride: usize, padding: usize) -> Case {
        Case { image, kernel, stride: [stride; 2], padding: [padding; 2], dilation: [1, 1], groups: 1 }
    }
}

/// A learned resizer's first layers, in small: rows that are stored eight at a time, and such that are not.
const RESIZER: [Case; 3] = [
    Case::new([2, 3, 24, 40], [16, 7, 7], 1, 3),
    Case::new([1, 16, 33, 37], [16, 3, 3], 1, 1),
    Case::new([1, 16, 16, 24], [3, 7, 7], 1, 3),
];
/// More channels than are staged at a time, and than a warp has rows for.
const CHANNELS: [Case; 3] = [
    Case::new([2, 40, 9, 11], [33, 3, 3], 1, 1),
    Case::new([1, 35, 10, 8], [100, 3, 3], 1, 1),
    Case::new([5, 24, 5, 5], [48, 3, 3], 1, 1),
];
const STRIDES: [Case; 3] = [
    Case::new([2, 3, 33, 29], [20, 7, 7], 2, 3),
    Case { stride: [3, 2], padding: [0, 2], dilation: [2, 3], ..Case::new([2, 6, 20, 23], [10, 3, 2], 1, 0) },
    // Some cells are seen by no point.
    Case::new([1, 4, 16, 17], [8, 2, 2], 3, 0),
];
const GROUPS: [Case; 3] = [
    Case { groups: 3, ..Case::new([2, 15, 13, 16], [21, 3, 3], 1, 1) },
    Case { groups: 12, ..Case::new([3, 12, 19, 18], [12, 7, 7], 1, 3) },
    Case { groups: 4, ..Case::new([2, 4, 14, 14], [8, 3, 3], 2, 1) },
];
/// What matrix products do: patches, and kernels of one element.
const PRODUCTS: [Case; 3] = [
    Case::new([3, 3, 16, 24], [48, 8, 8], 8, 0),
    Case::new([3, 20, 7, 9], [33, 1, 1], 1, 0),
    Case::new([2, 20, 9, 9], [36, 1, 1], 2, 0),
];

fn numbers(count: usize, seed: i32) -> Vec<f64> {
    fer_engine::uniform([seed, 0, 0], 7, count).map(|x| 2.0 * x - 1.0).collect()
}

/// A convolution and both of its gradients.
fn problem(case: Case) -> Graph {
    let [n, c, h, w] = case.image;
    let [o, rows, columns] = case.kernel;
    let window = Window { stride: case.stride, padding: case.padding, dilation: case.dilation, groups: case.groups };
    let b = Builder::new("problem");
    let x = b.input("x", TensorType::float([n, c, h, w])).unwrap();
    let kernel = b.input("kernel", TensorType::float([o, c / case.groups, rows, columns])).unwrap();
    let y = b.convolution(x, kernel, window).unwrap();
    b.output("result", y);
    let g = b.input("g", TensorType::float(b.shape(y))).unwrap();
    let attributes = || {
        let pairs = Attributes::new().with("stride", window.stride.as_slice());
        let pairs = pairs.with("padding", window.padding.as_slice()).with("dilation", window.dilation.as_slice());
        pairs.with("groups", window.groups)
    };
    let gradient = |name: &str, operands: [Value; 2], size: &'static str, of: [usize; 2]| {
        let op = Op { def: lookup(name).unwrap().def, adjoint: false };
        b.emit(op, &operands, attributes().with(size, of.as_slice())).unwrap()[0]
    };
    b.output("gradient of x", gradient("convolution_input_grad", [kernel, g], "input_size", [h, w]));
    b.output("gradient of kernel", gradient("convolution_kernel_grad", [x, g], "kernel_size", [rows, columns]));
    b.finish()
}

fn run(engine: &dyn Engine, graph: &Graph) -> BTreeMap<String, Vec<f64>> {
    run_with(engine, graph, |_, _| ())
}

/// `change` is given each argument's name and numbers.
fn run_with(engine: &dyn Engine, graph: &Graph, change: impl Fn(&str, &mut [f64])) -> BTreeMap<String, Vec<f64>> {
    let fed = graph.arguments.iter().enumerate().map(|(i, a)| {
        let shape = graph.shape(a.value).to_vec();
        let count = shape.iter().product();
        let mut numbers = numbers(count, i as i32);
        change(&a.name, &mut numbers);
        (a.name.clone(), Tensor::f64(shape, numbers))
    });
    let feeds: Feeds = fed.collect();
    let executable = engine.compile(graph).unwrap();
    let outputs = executable.run(engine.store().as_mut(), &feeds).unwrap();
    outputs.iter().map(|(name, tensor)| (name.clone(), tensor.to_f64())).collect()
}

/// Values of fewer elements than `smallest_rounded` are not rounded.
fn emulated(precision: Precision, smallest_rounded: usize) -> CudaEngine {
    let options = Options { precision, smallest_rounded, separate: true, ..Options::default() };
    CudaEngine::new(Arc::new(EmulatedDevice::new()), options)
}

/// Sums of some thousands of products in f32.
const SINGLE: f64 = 5e-6;
/// Factors and results are rounded to eight bits: 2^-9 each of what they are part of.
const ROUNDED: f64 = 2e-2;
/// Factors are rounded to eleven bits, 2^-12 each.
const TF32: f64 = ROUNDED / 8.0;

/// Every output within its tolerance of its largest number, and the same bits twice.
fn check(cases: &[Case]) {
    for &case in cases {
        let graph = problem(case);
        let exact = run(&DfdxEngine::new(fer_engine::Precision::F64), &graph);
        for (engine, tolerance) in [
            (emulated(Precision::F32, 0), SINGLE),
            (emulated(Precision::Tf32, 0), TF32),
            (emulated(Precision::Bf16, 0), ROUNDED),
            (emulated(Precision::Bf16, usize::MAX), ROUNDED),
        ] {
            let ours = run(&engine, &graph);
            let precision = engine.precision_name();
            for (name, expected) in &exact {
                let largest = expected.iter().fold(0.0f64, |top, x| top.max(x.abs()));
                assert!(ours[name].iter().all(|x| x.is_finite()), "{case:?} in {precision}: {name}");
                let off = ours[name].iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(
                    off <= tolerance * largest,
                    "{case:?} in {precision}: {name} is off by {off}, its largest is {largest}"
                );
            }
            assert_eq!(ours, run(&engine, &graph), "{case:?} in {precision}: the same bits twice");
        }
    }
}

#[test]
fn the_resizers_layers() {
    check(&RESIZER);
}

#[test]
fn many_channels() {
    check(&CHANNELS);
}

#[test]
fn strides_and_dilations() {
    check(&STRIDES);
}

#[test]
fn groups_of_channels() {
    check(&GROUPS);
}

#[test]
fn matrix_products() {
    check(&PRODUCTS);
}

/// Points and taps that a tile has no use for are left out, not multiplied by zero.
#[test]
fn an_infinity_reaches_what_sees_it() {
    for case in RESIZER.into_iter().chain(CHANNELS) {
        let graph = problem(case);
        let last = |name: &str, numbers: &mut [f64]| {
            if name == "x" {
                *numbers.last_mut().unwrap() = f64::INFINITY;
            }
        };
        let exact = run_with(&DfdxEngine::new(fer_engine::Precision::F64), &graph, last);
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            for (name, ours) in run_with(&emulated(precision, 0), &graph, last) {
                let differ = ours.iter().zip(&exact[&name]).filter(|(a, b)| a.is_finite() != b.is_finite()).count();
                assert_eq!(differ, 0, "{case:?} in {precision:?}: {name}, of {}", ours.len());
            }
        }
    }
}

/// Which kernels a problem is made of.
fn kernels(case: Case, precision: Precision) -> Vec<String> {
    let options = Options { precision, smallest_rounded: 0, ..Options::default() };
    let units = fer_engine_cuda::units(&problem(case), &options).unwrap();
    let lines = units.iter().filter(|unit| unit.name.starts_with("convolution")).flat_map(|unit| unit.source.lines());
    let instances = lines.filter(|line| line.starts_with("CONV_"));
    instances.filter_map(|line| Some(line.split_once('(')?.0.to_owned())).collect()
}

#[test]
fn tensor_cores_are_for_rounded_factors() {
    for case in RESIZER.into_iter().chain(CHANNELS) {
        for (precision, rounded) in [(Precision::Bf16, true), (Precision::F32, false), (Precision::Tf32, true)] {
            let all = kernels(case, precision);
            for kernel in ["CONV_TENSOR", "CONV_KERNEL_GRAD_TENSOR"] {
                assert_eq!(all.iter().any(|k| k == kernel), rounded, "{case:?} in {precision:?}: {all:?}");
            }
        }
    }
}
