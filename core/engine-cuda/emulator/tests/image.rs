//! Resizing, sampling and pooling at the sizes of models, and their gradients.

use std::{collections::BTreeMap, sync::Arc};

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, Feeds, Tensor};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Attributes, Builder, Graph, Op, TensorType, Value, ops::lookup};

type Outputs = BTreeMap<String, Vec<f64>>;

/// Some products of numbers of order one, in f32.
const SUMMED: f64 = 2e-6;
/// A result is rounded to eight bits.
const ROUNDED: f64 = 1.0 / 256.0;

fn emulated(precision: Precision) -> CudaEngine {
    let options = Options { precision, smallest_rounded: 0, separate: true, ..Options::default() };
    CudaEngine::new(Arc::new(EmulatedDevice::new()), options)
}

/// Multiples of 1/64 up to one, which bfloat16 holds exactly; few enough for ties.
fn numbers(count: usize, seed: i32) -> Vec<f64> {
    fer_engine::uniform([seed, 0, 0], 7, count).map(|x| (128.0 * x).floor() / 64.0 - 1.0).collect()
}

fn run(engine: &dyn Engine, graph: &Graph, fed: &[(&str, Vec<f64>)]) -> Outputs {
    let feeds: Feeds = graph
        .arguments
        .iter()
        .enumerate()
        .map(|(i, a)| {
            let shape = graph.shape(a.value).to_vec();
            let own = fed.iter().find(|(name, _)| *name == a.name).map(|(_, numbers)| numbers.clone());
            let given = own.unwrap_or_else(|| numbers(shape.iter().product(), i as i32));
            (a.name.clone(), Tensor::f64(shape, given))
        })
        .collect();
    let executable = engine.compile(graph).unwrap();
    let outputs = executable.run(engine.store().as_mut(), &feeds).unwrap();
    outputs.iter().map(|(name, tensor)| (name.clone(), tensor.to_f64())).collect()
}

/// Every output within `tolerance` of its largest number.
fn check(graph: &Graph, precision: Precision, tolerance: f64) {
    let exact = run(&DfdxEngine::new(fer_engine::Precision::F64), graph, &[]);
    let ours = run(&emulated(precision), graph, &[]);
    for (name, expected) in exact {
        let largest = expected.iter().fold(0.0f64, |top, x| top.max(x.abs()));
        let off = ours[&name].iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off <= tolerance * largest, "{precision:?}: {name} is off by {off}, its largest is {largest}");
        // A NaN is never the largest.
        assert!(ours[&name].iter().all(|x| x.is_finite()), "{precision:?}: {name}");
    }
}

/// An input, as bfloat16 where the precision is: resizing to the same size changes nothing. One whose name begins with "plain" is as it
/// was fed.
fn input(b: &Builder, name: &str, shape: [usize; 4]) -> Value {
    let x = b.input(name, TensorType::float(shape)).unwrap();
    if name.starts_with("plain") { x } else { b.resize(x, [shape[2], shape[3]]).unwrap() }
}

/// Operands and cotangents, by name: each rounded or not.
const BOTH: [&str; 2] = ["x", "given"];
const MIXED: [[&str; 2]; 2] = [["plain x", "given"], ["x", "plain given"]];

fn adjoint(b: &Builder, op: &str, operands: &[Value], attributes: &Attributes, wrt: &[usize]) -> Vec<Value> {
    let attributes = attributes.clone().with("wrt", wrt).with("cotangents", [0usize].as_slice());
    b.emit(Op { adjoint: true, ..lookup(op).unwrap() }, operands, attributes).unwrap()
}

fn resizing(from: [usize; 4], to: [usize; 2]) -> Graph {
    let b = Builder::new("resizing");
    let x = input(&b, "x", from);
    let given = input(&b, "given", [from[0], from[1], to[0], to[1]]);
    for mode in ["half_pixel", "align_corners"] {
        let attributes = Attributes::new().with("size", to.as_slice()).with("coordinate_mode", mode);
        let y = b.emit(lookup("resize").unwrap(), &[x], attributes.clone()).unwrap();
        b.output(&format!("{mode} result"), y[0]);
        let gradient = adjoint(&b, "resize", &[x, given], &attributes, &[0]);
        b.output(&format!("{mode} gradient"), gradient[0]);
    }
    b.finish()
}

#[test]
fn images_grow_and_shrink() {
    check(&resizing([1, 2, 48, 48], [224, 224]), Precision::F32, SUMMED);
    check(&resizing([1, 1, 384, 384], [224, 224]), Precision::F32, SUMMED);
    check(&resizing([1, 2, 48, 48], [112, 112]), Precision::Bf16, ROUNDED);
}

/// Rows that several blocks share, blocks that have several rows, and runs of more columns than are added up at once.
#[test]
fn images_of_odd_sizes_are_resized() {
    for (from, to) in [
        ([1, 2, 5, 131], [9, 203]),
        ([2, 3, 7, 3], [4, 1201]),
        ([1, 2, 3, 261], [2, 7]),
        ([3, 5, 1, 1], [6, 5]),
        ([1, 1, 2, 130], [3, 2100]),
    ] {
        check(&resizing(from, to), Precision::F32, SUMMED);
    }
    check(&resizing([2, 3, 7, 13], [15, 9]), Precision::Bf16, ROUNDED);
}

/// Images of `size` turned and enlarged, so that some points lie outside. Points keep away from where weights have a kink: a rounded
/// coordinate may lie on its other side.
fn turned(images: usize, size: [usize; 2], points: [usize; 2], align_corners: bool) -> Vec<f64> {
    let mut grid = vec![];
    for image in 0..images {
        let (sin, cos) = (0.3 + 0.5 * image as f64).sin_cos();
        for row in 0..points[0] {
            for column in 0..points[1] {
                let [v, u] = [(row, points[0]), (column, points[1])].map(|(i, n)| (2 * i + 1) as f64 / n as f64 - 1.0);
                for (at, extent) in [(1.1 * (cos * u - sin * v), size[1]), (1.1 * (sin * u + cos * v), size[0])] {
                    let pixel = ((at + 1.0) * extent as f64 - 1.0) / 2.0;
                    let part = (pixel - pixel.floor()).clamp(0.01, 0.99);
                    let pixel = pixel.floor() + part;
                    let position = match align_corners {
                        true => 2.0 * pixel / (extent - 1) as f64 - 1.0,
                        false => (2.0 * pixel + 1.0) / extent as f64 - 1.0,
                    };
                    grid.push(f64::from(position as f32));
                }
            }
        }
    }
    grid
}

fn sampling([x, given]: [&str; 2], from: [usize; 4], points: [usize; 2], align_corners: bool) -> Graph {
    let b = Builder::new("sampling");
    let x = input(&b, x, from);
    let given = input(&b, given, [from[0], from[1], points[0], points[1]]);
    let grid = turned(from[0], [from[2], from[3]], points, align_corners);
    let grid = b.constant(&[from[0], points[0], points[1], 2], grid).unwrap();
    b.output("result", b.grid_sample(x, grid, align_corners).unwrap());
    let attributes = Attributes::new().with("align_corners", align_corners);
    let gradients = adjoint(&b, "grid_sample", &[x, grid, given], &attributes, &[0, 1]);
    b.output("gradient of x", gradients[0]);
    b.output("gradient of the grid", gradients[1]);
    b.finish()
}

/// A coordinate among 64 pixels is off by 2^-19 of one.
const PLACED: f64 = 1e-5;

#[test]
fn images_are_turned() {
    check(&sampling(BOTH, [2, 3, 64, 64], [64, 64], false), Precision::F32, PLACED);
    check(&sampling(BOTH, [2, 1, 64, 64], [64, 64], true), Precision::F32, PLACED);
    check(&sampling(BOTH, [2, 3, 32, 32], [32, 32], false), Precision::Bf16, ROUNDED);
    // Slices of the channels, and points that meet.
    check(&sampling(BOTH, [2, 42, 5, 7], [13, 11], false), Precision::F32, PLACED);
    check(&sampling(BOTH, [1, 10, 6, 5], [9, 9], true), Precision::Bf16, ROUNDED);
    for names in MIXED {
        check(&sampling(names, [2, 3, 9, 8], [7, 10], false), Precision::Bf16, ROUNDED);
    }
}

/// The gradient of the images, for points in this order.
fn scattered(order: &[usize], given: &[f64]) -> Vec<f64> {
    let b = Builder::new("scattered");
    let count = order.len();
    let x = b.input("x", TensorType::float([1, 1, 6, 6])).unwrap();
    let grid = b.input("grid", TensorType::float([1, 1, count, 2])).unwrap();
    let cotangent = b.input("given", TensorType::float([1, 1, 1, count])).unwrap();
    let attributes = Attributes::new().with("align_corners", false);
    b.output("gradient", adjoint(&b, "grid_sample", &[x, grid, cotangent], &attributes, &[0])[0]);
    let points = turned(1, [6, 6], [1, count], false);
    let fed = [
        ("grid", order.iter().flat_map(|&i| [points[2 * i], points[2 * i + 1]]).collect()),
        ("given", order.iter().map(|&i| given[i]).collect()),
    ];
    run(&emulated(Precision::F32), &b.finish(), &fed).remove("gradient").unwrap()
}

/// The sum over the points that meet in a pixel has the same bits in whatever order they come.
#[test]
fn the_order_of_points_does_not_show() {
    let given: Vec<f64> = fer_engine::uniform([5, 0, 0], 7, 700).map(|x| f64::from((x - 0.4) as f32)).collect();
    let order: Vec<usize> = (0..700).collect();
    let mixed: Vec<usize> = (0..700).map(|i| i * 333 % 700).collect();
    let scales = [1.0, 2f64.powi(-120), 2f64.powi(120)];
    for given in scales.map(|scale| given.iter().map(|x| x * scale).collect::<Vec<_>>()) {
        let gradient = scattered(&order, &given);
        assert!(gradient.iter().any(|x| *x != 0.0) && gradient.iter().all(|x| x.is_finite()));
        assert_eq!(gradient, scattered(&mixed, &given));
    }
}

/// What is not finite makes NaN of the pixels beside its point and of no other.
#[test]
fn odd_cotangents_stay_where_they_are() {
    let order: Vec<usize> = (0..300).collect();
    let plain: Vec<f64> = numbers(300, 1);
    for odd in [f64::NAN, f64::NEG_INFINITY] {
        let mut given = plain.clone();
        given[150] = odd;
        let gradient = scattered(&order, &given);
        assert_eq!(gradient.iter().filter(|x| x.is_nan()).count(), 4);
        let mut without = plain.clone();
        without[150] = 0.0;
        let finite = scattered(&order, &without);
        assert!(gradient.iter().zip(&finite).all(|(a, b)| a.is_nan() || a == b));
    }
}

/// A cotangent that is huge in one plane costs no other plane a digit: each is what it is alone.
#[test]
fn a_huge_cotangent_stays_in_its_plane() {
    let (images, channels, size) = (2, 3, [9, 8]);
    let graph = sampling(["plain x", "plain given"], [images, channels, size[0], size[1]], [7, 10], false);
    let plain: Vec<f64> = numbers(images * channels * 70, 4);
    let mut given = plain.clone();
    for number in &mut given[2 * 70..3 * 70] {
        *number *= 2f64.powi(100);
    }
    let gradient = |given: Vec<f64>| {
        let name = "gradient of x";
        let fed = [("plain given", given)];
        let exact = run(&DfdxEngine::new(fer_engine::Precision::F64), &graph, &fed).remove(name).unwrap();
        (run(&emulated(Precision::F32), &graph, &fed).remove(name).unwrap(), exact)
    };
    let ((huge, exact), (alone, _)) = (gradient(given), gradient(plain));
    let area = size[0] * size[1];
    for (plane, ((huge, alone), exact)) in huge.chunks(area).zip(alone.chunks(area)).zip(exact.chunks(area)).enumerate()
    {
        if plane != 2 {
            assert_eq!(huge, alone, "plane {plane}");
        }
        let largest = exact.iter().fold(0.0f64, |top, x| top.max(x.abs()));
        let off = huge.iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(largest > 0.5 && off <= PLACED * largest, "plane {plane} is off by {off}, its largest is {largest}");
    }
}

fn pooling(
    [x, given]: [&str; 2],
    from: [usize; 4],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Graph {
    let b = Builder::new("pooling");
    let x = input(&b, x, from);
    let y = b.max_pool(x, kernel, stride, padding).unwrap();
    b.output("result", y);
    let shape = b.shape(y);
    let given = input(&b, given, [shape[0], shape[1], shape[2], shape[3]]);
    let attributes = Attributes::new()
        .with("kernel_size", kernel.as_slice())
        .with("stride", stride.as_slice())
        .with("padding", padding.as_slice());
    let grad = lookup("max_pool_grad").unwrap();
    b.output("gradient", b.emit(grad, &[x, given], attributes).unwrap()[0]);
    b.finish()
}

#[test]
fn windows_are_pooled() {
    for precision in [Precision::F32, Precision::Bf16] {
        // Results are exact, and the few cotangents that meet too.
        let tolerance = if precision == Precision::F32 { 0.0 } else { ROUNDED };
        check(&pooling(BOTH, [2, 3, 56, 56], [3, 3], [2, 2], [1, 1]), precision, tolerance);
        check(&pooling(BOTH, [1, 5, 27, 29], [2, 3], [2, 1], [0, 1]), precision, tolerance);
    }
    for names in MIXED {
        check(&pooling(names, [1, 2, 13, 12], [3, 3], [2, 2], [1, 1]), Precision::Bf16, ROUNDED);
    }
    // Windows of more cells than a byte counts, and steps over cells that no window has.
    check(&pooling(BOTH, [1, 2, 22, 21], [17, 16], [1, 2], [8, 8]), Precision::F32, 0.0);
    check(&pooling(BOTH, [1, 2, 23, 22], [2, 2], [5, 4], [0, 1]), Precision::F32, 0.0);
}
