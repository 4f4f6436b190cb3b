//! Attention and its gradients at the sizes of models: windows with a bias, images of tokens, what is too odd for tensor cores.

use std::{collections::BTreeMap, sync::Arc};

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, Feeds, Tensor};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, Op, TensorType, Value, ops::lookup};

#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    heads: usize,
    tokens: usize,
    width: usize,
    /// How many biases for each head there are; images take them in turn.
    biases: usize,
    /// How many of the tokens ask, from the first on.
    queries: usize,
    /// What is added to the scores of keys that should not count.
    far: f64,
}

impl Case {
    const fn new(images: usize, heads: usize, tokens: usize, width: usize, biases: usize) -> Case {
        Case { images, heads, tokens, width, biases, queries: tokens, far: -100.0 }
    }

    /// Whether a key does not count: one of seven, and for every second query half of all, which is more than a tile of a long row.
    fn is_far(self, query: usize, key: usize) -> bool {
        (query + key) % 7 == 3 || (query % 2 == 1 && key < self.tokens / 2)
    }
}

const WINDOWS: Case = Case::new(6, 2, 49, 32, 3);
/// The largest, which take most of a block's shared memory.
const FULL_WINDOWS: Case = Case::new(2, 1, 64, 64, 1);
const PLAIN_WINDOWS: Case = Case::new(5, 1, 17, 64, 0);
const IMAGE: Case = Case::new(1, 2, 197, 64, 0);
const BIASED_IMAGE: Case = Case { far: f64::NEG_INFINITY, ..Case::new(2, 1, 130, 48, 1) };
/// Windows of 12 x 12.
const LARGE_WINDOWS: Case = Case::new(4, 1, 144, 32, 2);
/// Enough of them for a block to take several that share a bias.
const MANY_WINDOWS: Case = Case::new(4200, 1, 4, 8, 2);
const ODD: Case = Case::new(2, 3, 11, 6, 2);
const WIDE: Case = Case::new(1, 1, 20, 136, 1);

fn numbers(count: usize, seed: i32) -> Vec<f64> {
    fer_engine::uniform([seed, 0, 0], 7, count).map(|x| 2.0 * x - 1.0).collect()
}

/// What a layer of attention is made of, with the linear layers that write and read it: q, k and v are parts of one product, and their
/// cotangents are joined.
fn layer(case: Case) -> Graph {
    let Case { images, heads, tokens, width, biases, queries, far } = case;
    let (kinds, channels) = (biases.max(1), heads * width);
    let b = Builder::new("layer");
    let x = b.input("x", TensorType::float([images, tokens, 16])).unwrap();
    let given = b.input("given", TensorType::float([images, queries, 16])).unwrap();
    let qkv = b.input("qkv", TensorType::float([3 * channels, 16])).unwrap();
    let out = b.input("out", TensorType::float([channels, 16])).unwrap();
    let split = |x: Value| -> Value {
        let rows = b.shape(x)[1];
        let x = b.reshape(x, &[images / kinds, kinds, rows, heads, width]).unwrap();
        b.transpose(x, &[0, 1, 3, 2, 4]).unwrap()
    };
    let merge = |x: Value| -> Value {
        let rows = b.shape(x)[3];
        b.reshape(b.transpose(x, &[0, 1, 3, 2, 4]).unwrap(), &[images, rows, channels]).unwrap()
    };
    let joint = b.linear(x, qkv, None).unwrap();
    let part = |i: usize| split(b.slice_axis(joint, 2, i * channels, (i + 1) * channels).unwrap());
    let asking = b.slice_axis(part(0), 3, 0, queries).unwrap();
    let mut operands = vec![asking, part(1), part(2)];
    if biases > 0 {
        let bias = b.input("bias", TensorType::float([kinds, heads, queries, tokens])).unwrap();
        let places = (0..kinds * queries).flat_map(|i| (0..tokens).map(move |key| (i % queries, key)));
        let mask: Vec<f64> = places.map(|(query, key)| if case.is_far(query, key) { far } else { 0.0 }).collect();
        let mask = b.constant(&[kinds, 1, queries, tokens], mask).unwrap();
        operands.push(b.add(bias, mask).unwrap());
    }
    let scale = (width as f64).powf(-0.5);
    let y = b.scaled_dot_product_attention(operands[0], operands[1], operands[2], operands.get(3).copied(), scale);
    b.output("result", merge(y.unwrap()));

    let wrt: Vec<usize> = (0..operands.len()).collect();
    let forward = lookup("scaled_dot_product_attention").unwrap();
    let attributes = fer_graph::Attributes::new().with("scale", scale);
    let attributes = attributes.with("wrt", wrt.as_slice()).with("cotangents", [0usize].as_slice());
    operands.push(split(b.linear(given, out, None).unwrap()));
    let gradients = b.emit(Op { def: forward.def, adjoint: true }, &operands, attributes).unwrap();
    let parts: Vec<Value> = gradients[..3].iter().map(|&g| merge(g)).collect();
    if queries == tokens {
        b.output("gradient of qkv", b.concatenate(&parts, 2).unwrap());
    } else {
        parts.iter().zip(["q", "k", "v"]).for_each(|(&part, name)| b.output(&format!("gradient of {name}"), part));
    }
    if let Some(&bias) = gradients.get(3) {
        b.output("gradient of bias", bias);
    }
    b.finish()
}

fn feeds(graph: &Graph) -> Feeds {
    let fed = graph.arguments.iter().enumerate().map(|(i, a)| {
        let shape = graph.shape(a.value).to_vec();
        let count = shape.iter().product();
        (a.name.clone(), Tensor::f64(shape, numbers(count, i as i32)))
    });
    fed.collect()
}

fn run(engine: &dyn Engine, graph: &Graph) -> BTreeMap<String, Vec<f64>> {
    let executable = engine.compile(graph).unwrap();
    let outputs = executable.run(engine.store().as_mut(), &feeds(graph)).unwrap();
    outputs.iter().map(|(name, tensor)| (name.clone(), tensor.to_f64())).collect()
}

fn emulated(precision: Precision) -> CudaEngine {
    emulated_from(precision, 0)
}

/// Values of fewer elements are not rounded.
fn emulated_from(precision: Precision, smallest_rounded: usize) -> CudaEngine {
    let options = Options { precision, smallest_rounded, separate: true, ..Options::default() };
    CudaEngine::new(Arc::new(EmulatedDevice::new()), options)
}

fn check(case: Case, precision: Precision, tolerance: f64) {
    check_on(&emulated(precision), case, tolerance);
}

/// Every output within `tolerance` of its largest number.
fn check_on(engine: &CudaEngine, case: Case, tolerance: f64) {
    let graph = layer(case);
    let exact = run(&DfdxEngine::new(fer_engine::Precision::F64), &graph);
    let ours = run(engine, &graph);
    let precision = engine.precision_name();
    for (name, expected) in exact {
        let largest = expected.iter().fold(0.0f64, |top, x| top.max(x.abs()));
        let off = ours[&name].iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(
            off <= tolerance * largest,
            "{case:?} in {precision}: {name} is off by {off}, its largest is {largest}"
        );
        // A NaN is never the largest.
        assert!(ours[&name].iter().all(|x| x.is_finite()), "{case:?} in {precision}: {name}");
    }
}

/// Sums of some hundreds of products in f32.
const SINGLE: f64 = 2e-6;
/// Factors, weights and results are rounded to eight bits, one after the other: 2^-9 each of what they are part of.
const ROUNDED: f64 = 2e-2;
/// Factors and weights are rounded to eleven bits, 2^-12 each.
const TF32: f64 = ROUNDED / 8.0;

/// In everything that a card computes in.
fn check_all(case: Case) {
    for (precision, tolerance) in [(Precision::F32, SINGLE), (Precision::Tf32, TF32), (Precision::Bf16, ROUNDED)] {
        check(case, precision, tolerance);
    }
}

#[test]
fn windows_with_a_bias() {
    check_all(WINDOWS);
    check_all(FULL_WINDOWS);
}

#[test]
fn runs_of_windows() {
    check_all(MANY_WINDOWS);
}

#[test]
fn windows_without_a_bias() {
    check_all(PLAIN_WINDOWS);
}

#[test]
fn all_tokens_of_an_image() {
    check_all(IMAGE);
}

#[test]
fn all_tokens_with_a_bias() {
    for case in [BIASED_IMAGE, LARGE_WINDOWS] {
        check_all(case);
    }
}

/// One token asks all of them, and some ask more than there is room for in a block.
#[test]
fn fewer_queries_than_keys() {
    for case in
        [Case { queries: 1, ..Case::new(3, 2, 65, 48, 0) }, Case { queries: 114, ..Case::new(1, 1, 120, 16, 1) }]
    {
        check_all(case);
    }
}

#[test]
fn wide_heads() {
    for case in [Case::new(2, 1, 40, 96, 1), Case::new(1, 1, 80, 128, 1), Case::new(1, 1, 70, 96, 0)] {
        check_all(case);
    }
}

/// As in the decomposition, whose softmax divides zero by zero then.
#[test]
fn a_query_without_keys_has_no_result() {
    let b = Builder::new("hidden");
    for (tokens, width) in [(20, 32), (90, 64), (20, 6)] {
        let input =
            |name: &str| b.input(&format!("{name}{tokens}{width}"), TensorType::float([1, tokens, 16])).unwrap();
        let weight = b.input(&format!("w{tokens}{width}"), TensorType::float([width, 16])).unwrap();
        let [q, k, v] = ["q", "k", "v"].map(|name| b.linear(input(name), weight, None).unwrap());
        let hidden: Vec<f64> =
            (0..tokens * tokens).map(|i| if i / tokens == 5 { f64::NEG_INFINITY } else { 0.0 }).collect();
        let mask = b.constant(&[tokens, tokens], hidden).unwrap();
        let y = b.scaled_dot_product_attention(q, k, v, Some(mask), 0.2).unwrap();
        b.output(&format!("{tokens} {width}"), y);
    }
    let graph = b.finish();
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        for (name, numbers) in run(&emulated(precision), &graph) {
            let width: usize = name.split(' ').nth(1).unwrap().parse().unwrap();
            for (row, numbers) in numbers.chunks(width).enumerate() {
                assert!(
                    numbers.iter().all(|x| x.is_nan() == (row == 5)),
                    "{name} in {precision:?}, row {row}: {numbers:?}"
                );
            }
        }
    }
}

#[test]
fn what_tensor_cores_do_not_take() {
    for case in [ODD, WIDE] {
        check_all(case);
    }
}

/// q, k and v, which stand together, are large enough to be rounded; the result and the gradients are not.
#[test]
fn rounded_factors_and_exact_results() {
    for case in [WINDOWS, IMAGE, LARGE_WINDOWS] {
        let joint = 3 * case.images * case.tokens * case.heads * case.width;
        check_on(&emulated_from(Precision::Bf16, joint), case, ROUNDED);
    }
}

#[test]
fn a_second_run_gives_the_same_bits() {
    let graph = layer(WINDOWS);
    for precision in [Precision::Tf32, Precision::Bf16] {
        assert_eq!(run(&emulated(precision), &graph), run(&emulated(precision), &graph));
    }
}

/// Instances of kernels that a graph is made of.
fn instances(graph: &Graph, precision: Precision) -> Vec<String> {
    let options = Options { precision, smallest_rounded: 0, ..Options::default() };
    let units = fer_engine_cuda::units(graph, &options).unwrap();
    let lines = units.iter().filter(|unit| *unit.name == *"attention").flat_map(|unit| unit.source.lines());
    lines.filter(|line| line.contains("ATTENTION_") && !line.starts_with("#define")).map(str::to_owned).collect()
}

/// Which kernels a layer is made of.
fn kernels(case: Case, precision: Precision) -> Vec<String> {
    let instances = instances(&layer(case), precision).into_iter();
    instances.filter_map(|line| Some(line.split_once('(')?.0.to_owned())).collect()
}

/// Gradients of long rows go over the keys once where the result left them the sums of its rows, and without it find those themselves.
#[test]
fn gradients_use_what_the_result_left_and_do_without_it() {
    for case in [IMAGE, BIASED_IMAGE] {
        let whole = layer(case);
        let mut alone = whole.clone();
        alone.outputs.retain(|(name, _)| name != "result");
        let bf16 = Precision::Bf16;
        for (graph, precision, result) in
            [(&whole, bf16, "bf16"), (&alone, bf16, "None"), (&whole, Precision::Tf32, "float")]
        {
            let instances = instances(graph, precision);
            let arguments = |kernel: &str| {
                let line = instances.iter().find(|line| line.starts_with(kernel))?;
                Some(line.trim_end_matches(')').split(", ").map(str::to_owned).collect::<Vec<_>>())
            };
            assert_eq!(arguments("ATTENTION_QUERY_GRADIENT").map(|a| a[4].clone()).as_deref(), Some(result));
            let kept = arguments("ATTENTION_FORWARD").and_then(|a| a.last().cloned());
            assert_eq!(kept.as_deref(), (result != "None").then_some("true"));
        }
        let exact = run(&DfdxEngine::new(fer_engine::Precision::F64), &whole);
        for (name, ours) in run(&emulated(Precision::Bf16), &alone) {
            let largest = exact[&name].iter().fold(0.0f64, |top, x| top.max(x.abs()));
            let off = ours.iter().zip(&exact[&name]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off <= ROUNDED * largest, "{case:?}: {name} is off by {off}, its largest is {largest}");
        }
    }
    // Small windows have all of a row at hand.
    let windows = instances(&layer(WINDOWS), Precision::Bf16);
    assert!(
        windows.iter().any(|line| line.starts_with("ATTENTION_FORWARD") && line.ends_with("false)")),
        "{windows:?}"
    );
}

#[test]
fn tensor_cores_take_what_they_can() {
    let windows = ["ATTENTION_ADD_RUNS", "ATTENTION_FORWARD", "ATTENTION_WINDOW_BACKWARD"];
    let image = ["ATTENTION_FORWARD", "ATTENTION_KEY_GRADIENT", "ATTENTION_QUERY_GRADIENT"];
    for precision in [Precision::Tf32, Precision::Bf16] {
        assert_eq!(kernels(WINDOWS, precision), windows);
        assert_eq!(kernels(IMAGE, precision), image);
    }
    let tf32 = [(ODD, Precision::Tf32), (Case::new(1, 1, 80, 96, 0), Precision::Tf32)];
    let others = [(WINDOWS, Precision::F32), (IMAGE, Precision::F32), (ODD, Precision::Bf16)];
    for (case, precision) in tf32.into_iter().chain(others) {
        let exact = kernels(case, precision);
        assert!(exact.iter().all(|k| k.starts_with("EXACT_") || k == "ATTENTION_ADD_RUNS"), "{exact:?}");
    }
}

/// q, k and v are read where the product left them, and their cotangents are written where they are joined.
#[test]
fn nothing_is_copied() {
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let (engine, graph) = (emulated(precision), layer(WINDOWS));
        let mut ops = vec![];
        let executable = engine.compile(&graph).unwrap();
        executable
            .run_timed(engine.store().as_mut(), &feeds(&graph), &mut |call, _| ops.push(call.op.to_string()))
            .unwrap();
        for op in ["copy", "concatenate", "pad"] {
            assert!(!ops.iter().any(|o| o == op), "{op} among {ops:?}");
        }
    }
}
