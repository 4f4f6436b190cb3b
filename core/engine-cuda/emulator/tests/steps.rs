//! Whole steps: against the reference, the same bits each time, updates, and what happens when the device refuses.

use std::sync::Arc;

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{
    Data, Engine, EngineError, Executable, Feeds, Precision as Floats, Store, Tensor,
    conformance::steps::{entries, feeds, numbers, prepare, train, training_step, work_of_a_join},
};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, DType, Graph, Init, Role, TensorType};

fn engine(device: EmulatedDevice, precision: Precision, no_fuse: &[&str]) -> CudaEngine {
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    // One arena for all buffers, as on a card.
    let options = Options { precision, no_fuse, smallest_rounded: 0, ..Options::default() };
    CudaEngine::new(Arc::new(device), options)
}

#[test]
fn steps_agree_with_the_reference_fused_and_not() {
    let (truth, theirs) = train(&DfdxEngine::new(Floats::F64), 5).unwrap();
    for no_fuse in [&[][..], &["all"], &["elementwise"], &["adamw_update"], &["concatenate"]] {
        let (losses, ours) = train(&engine(EmulatedDevice::new(), Precision::F32, no_fuse), 5).unwrap();
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
    let (truth, _) = train(&DfdxEngine::new(Floats::F64), 5).unwrap();
    let (losses, _) = train(&engine(EmulatedDevice::new(), Precision::Bf16, &[]), 5).unwrap();
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
        let bits = |seed| train(&engine(EmulatedDevice::new().seed(seed), precision, &[]), 2).unwrap();
        let first = bits(1);
        assert_eq!(first, bits(2), "{precision:?}");
        assert_eq!(first, bits(77), "{precision:?}");
    }
}

/// All parameters in one launch; windows and heads are followed.
#[test]
fn updates_are_one_launch_and_heads_are_not_copied() {
    let engine = engine(EmulatedDevice::new(), Precision::F32, &[]);
    let graph = training_step().unwrap();
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

/// A loss that is no number leaves the store bit for bit as it was, so that what led to it can be looked at; the next step goes on.
#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let graph = training_step().unwrap();
    for no_fuse in [&[][..], &["all"], &["adamw_update"]] {
        let engine = engine(EmulatedDevice::new(), Precision::F32, no_fuse);
        let executable = engine.compile(&graph).unwrap();
        assert!(executable.stops_when_not_finite("loss"), "{no_fuse:?}");
        assert!(!executable.stops_when_not_finite("another"));
        let mut store = prepare(&engine, &graph);
        executable.run(store.as_mut(), &feeds(1)).unwrap();
        let before = entries(store.as_ref());
        for odd in [f64::INFINITY, f64::NAN] {
            let mut poisoned = feeds(2);
            poisoned.insert("x".into(), Tensor::f64([2, 4, 8, 16], vec![odd; 1024]));
            let loss = executable.run(store.as_mut(), &poisoned).unwrap()["loss"].item();
            assert!(loss.is_some_and(|l| !l.is_finite()), "{loss:?}");
            assert_eq!(before, entries(store.as_ref()), "{no_fuse:?}");
        }
        executable.run(store.as_mut(), &feeds(2)).unwrap();
        // As if there had been none in between.
        assert_eq!(entries(store.as_ref()), train(&engine, 2).unwrap().1, "{no_fuse:?}");
    }
}

/// Everything that a store may hold and a step may do to it: running statistics, a sum in place, an average of what has just been updated,
/// a fill, numbers of other types, and outputs that are made of new values.
fn states() -> Graph {
    let b = Builder::new("states");
    let x = b.input("x", TensorType::float([4, 3, 2, 2])).unwrap();
    let count = b.input("count", TensorType::new(DType::I32, [5])).unwrap();
    let state = |name: &str| b.state(name, &[3], Init::Zeros).unwrap();
    let (mean, variance, sum, average, gone) =
        (state("mean"), state("variance"), state("sum"), state("average"), state("gone"));
    let of_type =
        |name: &str, dtype| b.argument(name, Role::State, TensorType::new(dtype, [5]), Some(Init::Zeros)).unwrap();
    let (steps, bytes, flags) =
        (of_type("steps", DType::I32), of_type("bytes", DType::U8), of_type("flags", DType::Bool));
    let (weight, bias) = (b.full(&[3], 1.0).unwrap(), b.full(&[3], 0.5).unwrap());
    let [y, new_mean, new_variance] = b.batch_norm_training([x, weight, bias, mean, variance], 1e-5, 0.1).unwrap();
    b.output("loss", b.mean(b.multiply(y, x).unwrap(), &[0, 1, 2, 3]).unwrap());
    b.update(mean, new_mean).unwrap();
    b.update(variance, new_variance).unwrap();
    let new = b.add(sum, b.reduce_sum(x, &[0, 2, 3]).unwrap()).unwrap();
    b.update(sum, new).unwrap();
    b.update(average, b.mix(average, new, 0.5).unwrap()).unwrap();
    b.update(gone, b.full(&[3], 7.0).unwrap()).unwrap();
    b.update(steps, b.add(steps, count).unwrap()).unwrap();
    b.update(bytes, b.convert(count, DType::U8).unwrap()).unwrap();
    b.update(flags, b.convert(count, DType::Bool).unwrap()).unwrap();
    b.output("late", b.reduce_sum(b.multiply(new, new).unwrap(), &[0]).unwrap());
    b.finish()
}

#[test]
fn states_of_every_kind_are_updated_or_left_together() {
    let graph = states();
    for no_fuse in [&[][..], &["all"]] {
        let ours = engine(EmulatedDevice::new(), Precision::F32, no_fuse);
        let theirs = DfdxEngine::new(Floats::F64);
        let good = Feeds::from([
            ("x".into(), Tensor::f64([4, 3, 2, 2], numbers(48, 5))),
            ("count".into(), Tensor::i32([5], vec![3, 0, -1, 200, 7])),
        ]);
        let mut odd = good.clone();
        odd.insert("x".into(), Tensor::f64([4, 3, 2, 2], vec![f64::NEG_INFINITY; 48]));
        let fill = |store: &mut dyn Store| {
            for (i, a) in graph.arguments.iter().filter(|a| a.role == Role::State).enumerate() {
                let value = match graph.ty(a.value).dtype {
                    DType::I32 => Tensor::i32([5], vec![i as i32; 5]),
                    DType::U8 => Tensor::u8([5], vec![i as u8; 5]),
                    DType::Bool => Tensor::new([5], Data::Bool(vec![true; 5])),
                    _ => Tensor::f64([3], vec![i as f64; 3]),
                };
                store.write(&a.name, &value);
            }
        };
        let (mut store, mut truth) = (ours.store(), theirs.store());
        fill(store.as_mut());
        fill(truth.as_mut());
        let executable = ours.compile(&graph).unwrap();
        // Taken apart, the norm moves its statistics before the loss is there.
        let promised = executable.stops_when_not_finite("loss");
        assert_eq!(promised, no_fuse.is_empty());
        assert!(!executable.stops_when_not_finite("late"));
        let reference = theirs.compile(&graph).unwrap();
        for _ in 0..2 {
            if promised {
                let before = entries(store.as_ref());
                let outputs = executable.run(store.as_mut(), &odd).unwrap();
                assert_eq!(before, entries(store.as_ref()));
                assert!(outputs["late"].item().is_some_and(f64::is_nan), "{:?}", outputs["late"]);
            }
            let (a, b) = (
                executable.run(store.as_mut(), &good).unwrap()["late"].item().unwrap(),
                reference.run(truth.as_mut(), &good).unwrap()["late"].item().unwrap(),
            );
            // f32 against f64, of a few sums of numbers about 1.
            assert!((a - b).abs() <= 1e-5 * b.abs(), "{a} and {b}");
            for ((name, ours), (_, theirs)) in entries(store.as_ref()).iter().zip(entries(truth.as_ref())) {
                for (a, b) in ours.iter().zip(theirs) {
                    assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{no_fuse:?}: {name}: {a} and {b}");
                }
            }
        }
    }
}

/// Where a state is updated before the loss is there, the engine does not promise what it cannot keep.
#[test]
fn a_state_that_moves_before_the_loss_is_no_secret() {
    let b = Builder::new("early");
    let x = b.input("x", TensorType::float([3])).unwrap();
    let state = b.state("state", &[3], Init::Zeros).unwrap();
    let moved = b.add(state, x).unwrap();
    b.update(state, moved).unwrap();
    b.output("loss", b.reduce_sum(b.exponential(moved).unwrap(), &[0]).unwrap());
    let engine = engine(EmulatedDevice::new(), Precision::F32, &[]);
    let mut store = engine.store();
    store.write("state", &Tensor::f64([3], vec![1.0; 3]));
    let executable = engine.compile(&b.finish()).unwrap();
    let feeds = Feeds::from([("x".into(), Tensor::f64([3], vec![1000.0; 3]))]);
    assert_eq!(executable.run(store.as_mut(), &feeds).unwrap()["loss"].item(), Some(f64::INFINITY));
    let kept = store.read("state").unwrap().to_f64() == [1.0; 3];
    assert_eq!(executable.stops_when_not_finite("loss"), kept);
}

/// What cannot be had is told with what is needed where, and the store is as it was.
#[test]
fn a_plan_that_does_not_fit_says_what_it_needs() {
    let small = engine(EmulatedDevice::new().memory(64 << 10), Precision::F32, &[]);
    let graph = training_step().unwrap();
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
    let graph = training_step().unwrap();
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
    let graph = training_step().unwrap();
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

/// What is copied for a product is not the product's work.
#[test]
fn work_is_counted_once() {
    let calls = work_of_a_join(&engine(EmulatedDevice::new(), Precision::F32, &[])).unwrap();
    let joins: Vec<u64> = calls.iter().filter(|(op, _)| op == "concatenate").map(|&(_, flops)| flops).collect();
    assert_eq!(joins, [0, 0], "{calls:?}");
    assert_eq!(calls.iter().map(|(_, flops)| flops).sum::<u64>(), 2 * 8 * 8 * 16, "{calls:?}");
}
