//! Whole steps: against the reference, the same bits each time, updates, and what happens when the device refuses.

use std::sync::Arc;

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, EngineError, Executable, Feeds, Precision as Floats, Store, Tensor};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, Init, Role, TensorType, Value, ops::AdamConstants};

fn engine(device: EmulatedDevice, precision: Precision, no_fuse: &[&str]) -> CudaEngine {
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    // One arena for all buffers, as on a card.
    CudaEngine::new(Arc::new(device), Options { precision, no_fuse, smallest_rounded: 0, separate: false })
}

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    fer_engine::uniform([seed as i32, 0, 0], 7, count).map(|x| 2.0 * x - 1.0).collect()
}

/// A block of a windowed transformer over 4 x 8 tokens, rolled, and one AdamW step of every parameter.
fn training_step() -> Graph {
    let b = Builder::new("step");
    let x = b.input("x", TensorType::float([2, 4, 8, 16])).unwrap();
    let step = b.input("step", TensorType::float([])).unwrap();
    let parameter = |name: &str, shape: &[usize]| b.parameter(name, shape, Init::Zeros).unwrap();
    let (scale, shift) = (parameter("norm.weight", &[16]), parameter("norm.bias", &[16]));
    let (qkv, qkv_bias) = (parameter("qkv.weight", &[48, 16]), parameter("qkv.bias", &[48]));
    let out = parameter("out.weight", &[16, 16]);
    let (fc, proj) = (parameter("fc.weight", &[32, 16]), parameter("proj.weight", &[16, 32]));
    let y = b.layer_norm(x, scale, shift, 1e-5).unwrap();
    let y = b.roll(b.roll(y, 1, -1).unwrap(), 2, -2).unwrap();
    let y = b.transpose(b.reshape(y, &[2, 2, 2, 2, 4, 16]).unwrap(), &[0, 1, 3, 2, 4, 5]).unwrap();
    let y = b.linear(b.reshape(y, &[8, 8, 16]).unwrap(), qkv, Some(qkv_bias)).unwrap();
    let head = |i: usize| {
        let part = b.reshape(b.slice_axis(y, 2, 16 * i, 16 * (i + 1)).unwrap(), &[8, 8, 2, 8]).unwrap();
        b.transpose(part, &[0, 2, 1, 3]).unwrap()
    };
    let y = b.scaled_dot_product_attention(head(0), head(1), head(2), None, 0.35).unwrap();
    let y = b.linear(b.reshape(b.transpose(y, &[0, 2, 1, 3]).unwrap(), &[8, 8, 16]).unwrap(), out, None).unwrap();
    let y = b.reshape(y, &[2, 2, 2, 2, 4, 16]).unwrap();
    let y = b.reshape(b.transpose(y, &[0, 1, 3, 2, 4, 5]).unwrap(), &[2, 4, 8, 16]).unwrap();
    let y = b.add(x, b.roll(b.roll(y, 1, 1).unwrap(), 2, 2).unwrap()).unwrap();
    let hidden = b.gelu(b.linear(y, fc, None).unwrap()).unwrap();
    let y = b.add(y, b.linear(hidden, proj, None).unwrap()).unwrap();
    let loss = b.mean(b.multiply(y, y).unwrap(), &[0, 1, 2, 3]).unwrap();
    b.output("loss", loss);
    let trained: Vec<(String, Value)> =
        b.look(|g| g.by_role(Role::Parameter).map(|a| (a.name.clone(), a.value)).collect());
    let wrt: Vec<Value> = trained.iter().map(|t| t.1).collect();
    let gradients = fer_autodiff::gradients(&b, loss, &wrt).unwrap();
    let rate = b.full(&[], 0.01).unwrap();
    let constants = AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true };
    for ((name, p), g) in trained.into_iter().zip(gradients) {
        let shape = b.shape(p);
        let m = b.state(&format!("{name}.m"), &shape, Init::Zeros).unwrap();
        let v = b.state(&format!("{name}.v"), &shape, Init::Zeros).unwrap();
        let [new_p, new_m, new_v] = b.adamw_update([p, g.unwrap(), m, v, rate, step], constants).unwrap();
        for (old, new) in [(p, new_p), (m, new_m), (v, new_v)] {
            b.update(old, new).unwrap();
        }
    }
    b.finish()
}

fn prepare(engine: &dyn Engine, graph: &Graph) -> Box<dyn Store> {
    let mut store = engine.store();
    for (i, a) in graph.arguments.iter().filter(|a| a.init.is_some()).enumerate() {
        let shape = graph.shape(a.value).to_vec();
        let count = shape.iter().product();
        let values = if a.role == Role::State { vec![0.0; count] } else { numbers(count, i as u64) };
        store.write(&a.name, &Tensor::f64(shape, values));
    }
    store
}

fn feeds(step: usize) -> Feeds {
    Feeds::from([
        ("x".into(), Tensor::f64([2, 4, 8, 16], numbers(1024, 99 + step as u64))),
        ("step".into(), Tensor::scalar(step as f64)),
    ])
}

type Entries = Vec<(String, Vec<f64>)>;

/// Losses of some steps, and everything in the store after them.
fn train(engine: &dyn Engine, steps: usize) -> (Vec<f64>, Entries) {
    let graph = training_step();
    let mut store = prepare(engine, &graph);
    let executable = engine.compile(&graph).unwrap();
    let losses =
        (1..=steps).map(|s| executable.run(store.as_mut(), &feeds(s)).unwrap()["loss"].item().unwrap()).collect();
    (losses, entries(store.as_ref()))
}

fn entries(store: &dyn Store) -> Entries {
    store.names().into_iter().map(|n| (n.clone(), store.read(&n).unwrap().to_f64())).collect()
}

#[test]
fn steps_agree_with_the_reference_fused_and_not() {
    let (truth, theirs) = train(&DfdxEngine::new(Floats::F64), 5);
    for no_fuse in [&[][..], &["all"], &["elementwise"], &["adamw_update"], &["concatenate"]] {
        let (losses, ours) = train(&engine(EmulatedDevice::new(), Precision::F32, no_fuse), 5);
        for (a, b) in losses.iter().zip(&truth) {
            assert!((a - b).abs() <= 1e-5 * b.abs(), "{no_fuse:?}: {losses:?} and {truth:?}");
        }
        for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            let largest = theirs.iter().fold(1e-3f64, |top, v| top.max(v.abs()));
            for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
                // The softmax does not see a bias of the keys: its gradient is rounding, which Adam makes as large as any.
                if name.starts_with("qkv.bias") && (16..32).contains(&i) {
                    continue;
                }
                // Five steps of f32, where Adam divides by the root of a small second moment.
                assert!((a - b).abs() <= 2e-3 * largest, "{no_fuse:?}: {name}: {a} and {b}");
            }
        }
    }
}

#[test]
fn in_bfloat16_the_loss_keeps_to_the_reference() {
    let (truth, _) = train(&DfdxEngine::new(Floats::F64), 5);
    let (losses, _) = train(&engine(EmulatedDevice::new(), Precision::Bf16, &[]), 5);
    for (a, b) in losses.iter().zip(&truth) {
        // Every activation is off by 2^-9 at most; the loss is a mean of squares of a thousand of them, whose errors cancel.
        assert!((a - b).abs() <= 1e-2 * b.abs(), "{losses:?} and {truth:?}");
    }
    assert!(losses[4] < losses[0]);
}

/// The order of blocks and threads is another with each seed: nothing may depend on it.
#[test]
fn the_order_of_threads_does_not_show() {
    for precision in [Precision::F32, Precision::Bf16] {
        let bits = |seed| train(&engine(EmulatedDevice::new().seed(seed), precision, &[]), 2);
        let first = bits(1);
        assert_eq!(first, bits(2), "{precision:?}");
        assert_eq!(first, bits(77), "{precision:?}");
    }
}

/// All parameters in one launch; windows and heads are followed.
#[test]
fn updates_are_one_launch_and_heads_are_not_copied() {
    let engine = engine(EmulatedDevice::new(), Precision::F32, &[]);
    let graph = training_step();
    let mut store = prepare(&engine, &graph);
    let executable = engine.compile(&graph).unwrap();
    let mut ops: Vec<String> = vec![];
    executable.run_timed(store.as_mut(), &feeds(1), &mut |call, _| ops.push(call.op.to_string())).unwrap();
    assert_eq!(ops.iter().filter(|op| *op == "adamw_update").count(), 1, "{ops:?}");
    assert_eq!(ops.last().map(String::as_str), Some("adamw_update"), "{ops:?}");
    assert_eq!(executable.summary().map(|s| s.calls), Some(ops.len()));
}

/// `a` becomes `b`, `b` becomes `a`, and the old value of `a` is given out: nothing may be overwritten too early.
#[test]
fn updates_take_effect_at_the_end() {
    let b = Builder::new("swap");
    let one = b.parameter("a", &[3], Init::Zeros).unwrap();
    let two = b.parameter("b", &[3], Init::Zeros).unwrap();
    b.update(one, two).unwrap();
    b.update(two, one).unwrap();
    b.output("old", one);
    let engine = engine(EmulatedDevice::new(), Precision::F32, &[]);
    let mut store = engine.store();
    store.write("a", &Tensor::f64([3], vec![1.0, 2.0, 3.0]));
    store.write("b", &Tensor::f64([3], vec![4.0, 5.0, 6.0]));
    let outputs = engine.compile(&b.finish()).unwrap().run(store.as_mut(), &Feeds::new()).unwrap();
    assert_eq!(outputs["old"].to_f64(), [1.0, 2.0, 3.0]);
    assert_eq!(store.read("a").unwrap().to_f64(), [4.0, 5.0, 6.0]);
    assert_eq!(store.read("b").unwrap().to_f64(), [1.0, 2.0, 3.0]);
}

/// What cannot be had is told with what is needed where, and the store is as it was.
#[test]
fn a_plan_that_does_not_fit_says_what_it_needs() {
    let small = engine(EmulatedDevice::new().memory(64 << 10), Precision::F32, &[]);
    let graph = training_step();
    let mut store = prepare(&small, &graph);
    let before = entries(store.as_ref());
    let executable = small.compile(&graph).unwrap();
    let error = executable.run(store.as_mut(), &feeds(1)).unwrap_err();
    let EngineError::Device(text) = &error else { panic!("{error:?}") };
    assert!(text.starts_with("a batch of 2 needs "), "{text}");
    assert!(text.contains("of the device's memory"), "{text}");
    assert_eq!(entries(store.as_ref()), before);
}

/// A card that is lost ends the run with an error, and with every other one afterwards; nothing hangs.
#[test]
fn a_lost_device_is_an_error() {
    let lost = engine(EmulatedDevice::new().lost_after(1), Precision::F32, &[]);
    let graph = training_step();
    let mut store = prepare(&lost, &graph);
    let executable = lost.compile(&graph).unwrap();
    executable.run(store.as_mut(), &feeds(1)).unwrap();
    for _ in 0..2 {
        let error = executable.run(store.as_mut(), &feeds(2)).unwrap_err();
        assert!(matches!(&error, EngineError::Device(text) if text.contains("the device is lost")), "{error:?}");
    }
    assert!(store.read("qkv.weight").is_none(), "what is gone is not made up");
}

/// Inputs and entries that are missing or of another shape.
#[test]
fn wrong_arguments_are_told_before_anything_runs() {
    let engine = engine(EmulatedDevice::new(), Precision::F32, &[]);
    let graph = training_step();
    let mut store = prepare(&engine, &graph);
    let executable: Box<dyn Executable> = engine.compile(&graph).unwrap();
    let mut inputs = feeds(1);
    inputs.remove("step");
    let missing = executable.run(store.as_mut(), &inputs).unwrap_err();
    assert!(matches!(missing, EngineError::MissingInput { ref name, .. } if name == "step"), "{missing:?}");
    inputs.insert("step".into(), Tensor::f64([2], vec![1.0, 2.0]));
    let wrong = executable.run(store.as_mut(), &inputs).unwrap_err();
    assert!(matches!(wrong, EngineError::WrongType { ref name, .. } if name == "step"), "{wrong:?}");
    let empty = executable.run(engine.store().as_mut(), &feeds(1)).unwrap_err();
    assert!(matches!(empty, EngineError::MissingState { .. }), "{empty:?}");
}
