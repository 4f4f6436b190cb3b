//! Elementwise programs whose inputs stand transposed go by tiles, and give what they would without.

use std::sync::Arc;

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, Feeds, Outputs, Precision as Floats, Tensor, conformance::steps::numbers};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, TensorType, Value};

const TILES: &str = "__shared__ float s";

fn options(precision: Precision) -> Options {
    Options { precision, smallest_rounded: 0, separate: true, ..Options::default() }
}

/// A graph over `x`, `y` and `z`, and what feeds it.
fn problem(shapes: [&[usize]; 3], body: impl FnOnce(&Builder, [Value; 3]) -> Vec<Value>) -> (Graph, Feeds) {
    let b = Builder::new("t");
    let names = ["x", "y", "z"];
    let given = std::array::from_fn(|i| b.input(names[i], TensorType::float(shapes[i].to_vec())).unwrap());
    for (i, value) in body(&b, given).into_iter().enumerate() {
        b.output(&format!("result{i}"), value);
    }
    let feed = |i: usize| Tensor::f64(shapes[i], numbers(shapes[i].iter().product(), i as u64));
    (b.finish(), (0..3).map(|i| (names[i].to_owned(), feed(i))).collect())
}

fn run(engine: &dyn Engine, graph: &Graph, feeds: &Feeds) -> Outputs {
    engine.compile(graph).unwrap().run(engine.store().as_mut(), feeds).unwrap()
}

/// Checks results, and how many of the plan's kernels go by tiles.
#[track_caller]
fn check((graph, feeds): (Graph, Feeds), tiled: usize) {
    let truth = run(&DfdxEngine::new(Floats::F64), &graph, &feeds);
    for (precision, tolerance) in [(Precision::F32, 1e-6), (Precision::Bf16, 1e-2)] {
        let units = fer_engine_cuda::units(&graph, &options(precision)).unwrap();
        let source: String = units.iter().map(|unit| &*unit.source).collect();
        let found = source.split("extern \"C\"").filter(|kernel| kernel.contains(TILES)).count();
        assert_eq!(found, tiled, "{source}");
        let ours = run(&CudaEngine::new(Arc::new(EmulatedDevice::new()), options(precision)), &graph, &feeds);
        for (name, expected) in &truth {
            for (i, (a, b)) in ours[name].to_f64().iter().zip(expected.to_f64()).enumerate() {
                // One operation on numbers up to 3, of f32, or of bf16 that was rounded twice.
                assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{precision:?} {name}[{i}]: {a} and {b}");
            }
        }
    }
}

/// Sides that are no multiples of a tile's, and two inputs that stand the same way.
#[test]
fn inputs_that_stand_alike_come_in_together() {
    let problem = problem([&[3, 50, 2, 45], &[3, 2, 45, 50], &[3, 50, 2, 45]], |b, [x, y, z]| {
        let turned = |v| b.transpose(v, &[0, 2, 3, 1]).unwrap();
        vec![b.add(b.multiply(turned(x), y).unwrap(), b.exponential(turned(z)).unwrap()).unwrap()]
    });
    check(problem, 1);
}

/// One that stands another way is read where it is; what is repeated along an axis is not transposed.
#[test]
fn inputs_that_stand_otherwise_are_read_where_they_are() {
    let problem = problem([&[64, 2, 33], &[33, 2, 64], &[1, 2, 33]], |b, [x, y, z]| {
        let x = b.transpose(x, &[1, 2, 0]).unwrap();
        let y = b.transpose(y, &[1, 0, 2]).unwrap();
        let z = b.transpose(b.broadcast_to(z, &[64, 2, 33]).unwrap(), &[1, 2, 0]).unwrap();
        vec![b.add(b.multiply(x, y).unwrap(), z).unwrap()]
    });
    check(problem, 1);
}

/// A slice of a transposed value, and a short axis, for which tiles do not pay.
#[test]
fn slices_and_short_axes() {
    let sliced = problem([&[40, 6, 70], &[35, 3, 40], &[1, 1, 1]], |b, [x, y, _]| {
        let part = b.slice(x, &[0, 3, 20], &[40, 6, 55], &[1, 1, 1]).unwrap();
        vec![b.add(b.transpose(part, &[2, 1, 0]).unwrap(), y).unwrap()]
    });
    check(sliced, 1);
    let short = problem([&[8, 70], &[70, 8], &[1, 1]], |b, [x, y, _]| {
        vec![b.add(b.transpose(x, &[1, 0]).unwrap(), y).unwrap()]
    });
    check(short, 0);
}

/// A transposed value that leaves is copied by tiles.
#[test]
fn copies_go_by_tiles() {
    let problem =
        problem([&[2, 37, 90], &[1, 1, 1], &[1, 1, 1]], |b, [x, ..]| vec![b.transpose(x, &[0, 2, 1]).unwrap()]);
    check(problem, 1);
}

/// A value that is read both as it stands and in another order cannot be overwritten on the way: who writes an element is not who read it
/// last.
#[test]
fn what_is_read_in_two_orders_is_not_overwritten() {
    for rolled in [false, true] {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([64, 64])).unwrap();
        let e = b.exponential(x).unwrap();
        let other = if rolled { b.roll(e, 0, 1).unwrap() } else { b.transpose(e, &[1, 0]).unwrap() };
        b.output("result0", b.add(e, other).unwrap());
        let graph = b.finish();
        let feeds = Feeds::from([("x".to_owned(), Tensor::f64([64, 64], numbers(4096, 3)))]);
        let truth = run(&DfdxEngine::new(Floats::F64), &graph, &feeds);
        for no_fuse in [vec![], vec!["elementwise".to_owned()]] {
            // One arena, in which a result may take the place of an operand.
            let options = Options { no_fuse: no_fuse.into_iter().collect(), ..Options::default() };
            let ours = run(&CudaEngine::new(Arc::new(EmulatedDevice::new()), options), &graph, &feeds);
            for (a, b) in ours["result0"].to_f64().iter().zip(truth["result0"].to_f64()) {
                assert!((a - b).abs() <= 1e-6 * b, "{a} and {b}");
            }
        }
    }
}
