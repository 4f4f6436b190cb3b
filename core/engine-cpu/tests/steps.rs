//! Whole steps: stores, updates in place and not, errors, what is fused.

use fer_engine::{
    Engine, EngineError, Executable, Feeds, Store, Tensor,
    conformance::steps::{self, Entries, feeds, numbers, prepare, training_step, work_of_a_join},
};
use fer_engine_cpu::{CpuEngine, Factors, Isa, Options};
use fer_graph::{Builder, Init, TensorType, ops::AdamConstants};

fn engine(no_fuse: &[&str]) -> CpuEngine {
    CpuEngine::new(Options { no_fuse: no_fuse.iter().map(|&op| op.to_owned()).collect(), ..Options::default() })
}

/// Losses of ten steps, and everything in the store after them.
fn train(no_fuse: &[&str]) -> (Vec<f64>, Entries) {
    train_with(&engine(no_fuse))
}

fn train_with(engine: &CpuEngine) -> (Vec<f64>, Entries) {
    steps::train(engine, 10).unwrap()
}

#[test]
fn ten_steps_are_the_same_fused_and_not() {
    let (losses, entries) = train(&[]);
    assert!(losses[9] < losses[0], "{losses:?}");
    for no_fuse in
        ["all", "elementwise", "epilogue", "absorb", "concatenate", "sum_of_squares", "recompute", "adamw_update"]
    {
        let (plain, theirs) = train(&[no_fuse]);
        for (a, b) in losses.iter().zip(&plain) {
            assert!((a - b).abs() <= 1e-5 * b.abs(), "{no_fuse}: {losses:?} and {plain:?}");
        }
        for ((name, ours), (_, theirs)) in entries.iter().zip(&theirs) {
            let largest = theirs.iter().fold(1e-3f64, |top, v| top.max(v.abs()));
            for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
                // The softmax does not see a bias of the keys: its gradient is rounding, which Adam makes as large as any.
                if name.starts_with("qkv.bias") && (16..32).contains(&i) {
                    continue;
                }
                // Ten steps of f32, where Adam divides by the root of a small second moment.
                assert!((a - b).abs() <= 2e-3 * largest, "{no_fuse}: {name}: {a} and {b}");
            }
        }
    }
}

fn rounded(isa: Isa, no_fuse: &[&str]) -> CpuEngine {
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    CpuEngine::new(Options { isa, factors: Factors::Bf16, no_fuse, ..Options::default() })
}

/// What is kept in bfloat16 between kernels costs no more than factors that are rounded do, whatever else is switched off.
#[test]
fn steps_in_bfloat16_are_not_far() {
    let (losses, _) = train(&[]);
    for isa in Isa::available() {
        for no_fuse in ["", "bf16_storage", "all", "elementwise", "epilogue", "absorb", "concatenate", "recompute"] {
            let (found, _) = train_with(&rounded(isa, &[no_fuse]));
            for (a, b) in found.iter().zip(&losses) {
                // Numbers of eight bits, and ten steps that lead apart.
                assert!((a - b).abs() <= 1e-2 * b.abs(), "{isa} {no_fuse}: {found:?} and {losses:?}");
            }
        }
    }
}

/// Values within a block take half the memory; the kernels that a step is made of are the same.
#[test]
fn activations_in_bfloat16_take_less_memory() {
    let graph = training_step().unwrap();
    let plan = |engine: CpuEngine| engine.compile(&graph).unwrap().summary().unwrap();
    let (halves, wide) = (plan(rounded(Isa::best(), &[])), plan(rounded(Isa::best(), &["bf16_storage"])));
    assert_eq!(halves.calls, wide.calls);
    assert!(4 * halves.arena_bytes <= 3 * wide.arena_bytes, "{} of {}", halves.arena_bytes, wide.arena_bytes);
    // Only factors that are rounded are kept so.
    let exact = plan(engine(&[]));
    assert_eq!(exact.arena_bytes, plan(engine(&["bf16_storage"])).arena_bytes);
}

#[test]
fn a_second_run_gives_the_same_bits() {
    assert_eq!(train(&[]), train(&[]));
}

/// Windows, heads and joins are followed; what follows a product runs on its rows.
#[test]
fn nothing_is_copied_and_nothing_runs_alone() {
    let (engine, graph) = (engine(&[]), training_step().unwrap());
    let mut store = prepare(&engine, &graph);
    let executable = engine.compile(&graph).unwrap();
    let mut ops = vec![];
    executable.run_timed(store.as_mut(), &feeds(1), &mut |call, _| ops.push(call.op.to_string())).unwrap();
    for op in ["copy", "concatenate", "pad", "gelu_vjp"] {
        assert!(!ops.iter().any(|o| o == op), "{op} among {ops:?}");
    }
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
    let engine = engine(&[]);
    let mut store = engine.store();
    store.write("a", &Tensor::f64([3], vec![1.0, 2.0, 3.0]));
    store.write("b", &Tensor::f64([3], vec![4.0, 5.0, 6.0]));
    let outputs = engine.compile(&b.finish()).unwrap().run(store.as_mut(), &Feeds::new()).unwrap();
    assert_eq!(outputs["old"].to_f64(), [1.0, 2.0, 3.0]);
    assert_eq!(store.read("a").unwrap().to_f64(), [4.0, 5.0, 6.0]);
    assert_eq!(store.read("b").unwrap().to_f64(), [1.0, 2.0, 3.0]);
}

/// A loss that is no number ends the step before its updates, so that what led to it can be looked at.
#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let (engine, graph) = (engine(&[]), training_step().unwrap());
    let executable = engine.compile(&graph).unwrap();
    assert!(executable.stops_when_not_finite("loss"));
    let mut store = prepare(&engine, &graph);
    let all = |store: &dyn Store| store.names().iter().map(|n| store.read(n)).collect::<Vec<_>>();
    let before = all(store.as_ref());
    let mut odd = feeds(1);
    odd.insert("x".into(), Tensor::f64([2, 4, 8, 16], vec![f64::INFINITY; 1024]));
    assert!(executable.run(store.as_mut(), &odd).unwrap()["loss"].item().is_some_and(f64::is_nan));
    assert_eq!(before, all(store.as_ref()));
    assert!(executable.run(store.as_mut(), &feeds(1)).unwrap()["loss"].item().is_some_and(f64::is_finite));
    assert_ne!(before, all(store.as_ref()));
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
    let engine = engine(&[]);
    let mut store = engine.store();
    store.write("state", &Tensor::f64([3], vec![1.0; 3]));
    let executable = engine.compile(&b.finish()).unwrap();
    let feeds = Feeds::from([("x".into(), Tensor::f64([3], vec![1000.0; 3]))]);
    assert_eq!(executable.run(store.as_mut(), &feeds).unwrap()["loss"].item(), Some(f64::INFINITY));
    let kept = store.read("state").unwrap().to_f64() == [1.0; 3];
    assert_eq!(executable.stops_when_not_finite("loss"), kept);
    assert!(!executable.stops_when_not_finite("another"));
}

/// Sums that are kept in the store, averages of what is updated, and sums that start anew: each in place where it can be.
#[test]
fn states_are_updated_in_place() {
    let b = Builder::new("states");
    let x = b.input("x", TensorType::float([2, 3])).unwrap();
    let state = |name: &str| b.state(name, &[3], Init::Zeros).unwrap();
    let (sum, average, gone, swapped) = (state("sum"), state("average"), state("gone"), state("swapped"));
    let row = b.reduce_sum(x, &[0]).unwrap();
    let new = b.add(sum, row).unwrap();
    b.update(sum, new).unwrap();
    b.update(average, b.mix(average, new, 0.5).unwrap()).unwrap();
    b.update(gone, b.full(&[3], 7.0).unwrap()).unwrap();
    // Read again after the new value could have been written.
    let doubled = b.add(swapped, swapped).unwrap();
    b.update(swapped, doubled).unwrap();
    b.output(
        "late",
        b.multiply(
            b.reduce_sum(b.multiply(doubled, row).unwrap(), &[0]).unwrap(),
            b.reduce_sum(swapped, &[0]).unwrap(),
        )
        .unwrap(),
    );
    let graph = b.finish();
    for no_fuse in [&[][..], &["all"]] {
        let engine = engine(no_fuse);
        let mut store = engine.store();
        for (i, name) in ["sum", "average", "gone", "swapped"].into_iter().enumerate() {
            store.write(name, &Tensor::f64([3], vec![i as f64; 3]));
        }
        let executable = engine.compile(&graph).unwrap();
        let feeds = Feeds::from([("x".into(), Tensor::f64([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))]);
        let outputs = executable.run(store.as_mut(), &feeds).unwrap();
        let read = |store: &dyn Store, name: &str| store.read(name).unwrap().to_f64();
        assert_eq!(read(store.as_ref(), "sum"), [5.0, 7.0, 9.0]);
        assert_eq!(read(store.as_ref(), "average"), [3.0, 4.0, 5.0]);
        assert_eq!(read(store.as_ref(), "gone"), [7.0; 3]);
        assert_eq!(read(store.as_ref(), "swapped"), [6.0; 3]);
        assert_eq!(outputs["late"].item(), Some(6.0 * 21.0 * 9.0));
        executable.run(store.as_mut(), &feeds).unwrap();
        assert_eq!(read(store.as_ref(), "sum"), [10.0, 14.0, 18.0]);
        assert_eq!(read(store.as_ref(), "average"), [6.5, 9.0, 11.5]);
    }
}

/// The old parameter is read after the optimiser's node: it must still be the old one.
#[test]
fn an_old_parameter_outlives_its_update() {
    let b = Builder::new("late");
    let step = b.input("step", TensorType::float([])).unwrap();
    let p = b.parameter("p", &[2], Init::Zeros).unwrap();
    let m = b.state("m", &[2], Init::Zeros).unwrap();
    let v = b.state("v", &[2], Init::Zeros).unwrap();
    let rate = b.full(&[], 0.5).unwrap();
    let constants = AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: true };
    let [new_p, new_m, new_v] = b.adamw_update([p, p, m, v, rate, step], constants).unwrap();
    for (old, new) in [(p, new_p), (m, new_m), (v, new_v)] {
        b.update(old, new).unwrap();
    }
    b.output("moved", b.subtract(new_p, p).unwrap());
    let engine = engine(&[]);
    let mut store = engine.store();
    store.write("p", &Tensor::f64([2], vec![1.0, -2.0]));
    store.write("m", &Tensor::f64([2], vec![0.0; 2]));
    store.write("v", &Tensor::f64([2], vec![0.0; 2]));
    let feeds = Feeds::from([("step".into(), Tensor::scalar(1.0))]);
    let outputs = engine.compile(&b.finish()).unwrap().run(store.as_mut(), &feeds).unwrap();
    // The first step of Adam has the length of the rate.
    for (moved, expected) in outputs["moved"].to_f64().iter().zip([-0.5, 0.5]) {
        assert!((moved - expected).abs() < 1e-5, "{moved} for {expected}");
    }
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let (engine, graph) = (engine(&[]), training_step().unwrap());
    let executable = engine.compile(&graph).unwrap();
    let mut store = prepare(&engine, &graph);
    let before: Vec<Option<Tensor>> = store.names().iter().map(|n| store.read(n)).collect();
    let mut without = feeds(1);
    without.remove("x");
    let mut odd = feeds(1);
    odd.insert("x".into(), Tensor::i32([2, 4, 8, 16], vec![0; 1024]));
    assert!(
        matches!(executable.run(store.as_mut(), &without), Err(EngineError::MissingInput { name, .. }) if name == "x")
    );
    assert!(matches!(executable.run(store.as_mut(), &odd), Err(EngineError::WrongType { name, .. }) if name == "x"));
    let empty = executable.run(engine.store().as_mut(), &feeds(1));
    assert!(matches!(empty, Err(EngineError::MissingState { .. })));
    store.write("fc.weight", &Tensor::f64([1], vec![0.0]));
    let wrong = executable.run(store.as_mut(), &feeds(1));
    assert!(matches!(wrong, Err(EngineError::WrongType { name, .. }) if name == "fc.weight"));
    store.write("fc.weight", &Tensor::f64([32, 16], numbers(512, 5)));
    let after: Vec<Option<Tensor>> = store.names().iter().map(|n| store.read(n)).collect();
    assert_eq!(before, after);
}

/// Executables of one engine share an arena: a larger one grows it for all.
#[test]
fn executables_take_turns_in_one_arena() {
    let engine = engine(&[]);
    let graph = |count: usize| {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([count])).unwrap();
        let squares = b.multiply(x, b.exponential(x).unwrap()).unwrap();
        b.output("y", b.reduce_sum(squares, &[0]).unwrap());
        b.finish()
    };
    let run = |executable: &dyn Executable, count: usize| {
        let feeds = Feeds::from([("x".into(), Tensor::f64([count], vec![1.0; count]))]);
        executable.run(engine.store().as_mut(), &feeds).unwrap()["y"].item().unwrap()
    };
    let (small, large) = (engine.compile(&graph(10)).unwrap(), engine.compile(&graph(100_000)).unwrap());
    for (executable, count) in [(&small, 10), (&large, 100_000), (&small, 10)] {
        let expected = count as f64 * std::f64::consts::E;
        assert!((run(executable.as_ref(), count) - expected).abs() < 1e-5 * expected);
    }
}

/// A value that is read both as it stands and in another order is not overwritten on the way: other elements are still to be read.
#[test]
fn what_is_read_in_two_orders_is_not_overwritten() {
    for order in ["transposed", "rolled", "rows from the second on"] {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([70, 70])).unwrap();
        let e = b.exponential(x).unwrap();
        let other = match order {
            "transposed" => b.transpose(e, &[1, 0]).unwrap(),
            "rolled" => b.roll(e, 0, 1).unwrap(),
            _ => b.broadcast_in_dim(b.slice_axis(e, 0, 1, 2).unwrap(), &[70, 70], &[0, 1]).unwrap(),
        };
        b.output("sum", b.add(e, other).unwrap());
        let graph = b.finish();
        let given = numbers(4900, 3);
        let feeds = Feeds::from([("x".to_owned(), Tensor::f64([70, 70], given.clone()))]);
        for no_fuse in [&[][..], &["elementwise"]] {
            let engine = engine(no_fuse);
            let sum = engine.compile(&graph).unwrap().run(engine.store().as_mut(), &feeds).unwrap()["sum"].to_f64();
            for (i, sum) in sum.into_iter().enumerate() {
                let (row, column) = (i / 70, i % 70);
                let seen = match order {
                    "transposed" => column * 70 + row,
                    "rolled" => (row + 69) % 70 * 70 + column,
                    _ => 70 + column,
                };
                let expected = given[i].exp() + given[seen].exp();
                assert!((sum - expected).abs() <= 1e-6 * expected, "{order} {no_fuse:?} {i}: {sum} for {expected}");
            }
        }
    }
}

/// What is copied for a product is not the product's work.
#[test]
fn work_is_counted_once() {
    let calls = work_of_a_join(&engine(&[])).unwrap();
    let joins: Vec<u64> = calls.iter().filter(|(op, _)| op == "concatenate").map(|&(_, flops)| flops).collect();
    assert_eq!(joins, [0, 0], "{calls:?}");
    assert_eq!(calls.iter().map(|(_, flops)| flops).sum::<u64>(), 2 * 8 * 8 * 16, "{calls:?}");
}
