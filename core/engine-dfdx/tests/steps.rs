//! Whole steps: stores, updates, errors, determinism, diagnosis.

use fer_engine::{
    Engine, EngineError, Feeds, Precision, Tensor,
    conformance::steps::{numbers, prepare, update_all},
};
use fer_engine_dfdx::{DfdxEngine, peak_bytes};
use fer_graph::{Builder, Graph, Init, TensorType};

/// linear, gelu, linear, cross entropy, and one AdamW step of every parameter.
fn training_step() -> Graph {
    let b = Builder::new("step");
    let x = b.input("x", TensorType::float([6, 5])).unwrap();
    let target = b.input("target", TensorType::float([6, 3])).unwrap();
    let step = b.input("step", TensorType::float([])).unwrap();
    let w1 = b.parameter("fc1.weight", &[8, 5], Init::Zeros).unwrap();
    let b1 = b.parameter("fc1.bias", &[8], Init::Zeros).unwrap();
    let w2 = b.parameter("fc2.weight", &[3, 8], Init::Zeros).unwrap();
    let hidden = b.gelu(b.linear(x, w1, Some(b1)).unwrap()).unwrap();
    b.name("hidden", hidden);
    let scores = b.log_softmax(b.linear(hidden, w2, None).unwrap(), -1).unwrap();
    let loss =
        b.negate(b.mean(b.reduce_sum(b.multiply(scores, target).unwrap(), &[1]).unwrap(), &[0]).unwrap()).unwrap();
    b.output("loss", loss);
    let rate = b.full(&[], 0.05).unwrap();
    update_all(&b, loss, rate, step).unwrap();
    b.finish()
}

fn feeds(step: f64) -> Feeds {
    let mut target = vec![0.0; 18];
    (0..6).for_each(|i| target[i * 3 + i % 3] = 1.0);
    Feeds::from([
        ("x".into(), Tensor::f64([6, 5], numbers(30, 99))),
        ("target".into(), Tensor::f64([6, 3], target)),
        ("step".into(), Tensor::scalar(step)),
    ])
}

#[test]
fn training_lowers_the_loss_with_the_same_bits_each_time() {
    for precision in [Precision::F32, Precision::F64] {
        let engine = DfdxEngine::new(precision);
        let graph = training_step();
        let executable = engine.compile(&graph).unwrap();
        let train = || {
            let mut store = prepare(&engine, &graph);
            let run =
                |step: i32| executable.run(store.as_mut(), &feeds(f64::from(step))).unwrap()["loss"].item().unwrap();
            let losses: Vec<f64> = (1..=60).map(run).collect();
            (losses, store.read("fc1.weight").unwrap())
        };
        let (losses, weight) = train();
        assert!(losses[59] < 0.1 * losses[0], "{losses:?}");
        assert_eq!((losses, weight), train());
    }
}

#[test]
fn a_failed_run_says_why_and_changes_nothing() {
    let engine = DfdxEngine::new(Precision::F64);
    let graph = training_step();
    let executable = engine.compile(&graph).unwrap();
    let mut store = prepare(&engine, &graph);
    let before = store.read("fc1.bias");
    let mut missing = feeds(1.0);
    missing.remove("x");
    let error = executable.run(store.as_mut(), &missing).unwrap_err();
    assert!(matches!(error, EngineError::MissingInput { name, .. } if name == "x"));
    let mut wrong = feeds(1.0);
    wrong.insert("x".into(), Tensor::f64([5, 6], numbers(30, 1)));
    let error = executable.run(store.as_mut(), &wrong).unwrap_err();
    assert!(matches!(error, EngineError::WrongType { name, .. } if name == "x"));
    wrong.insert("x".into(), Tensor::i32([6, 5], vec![0; 30]));
    assert!(matches!(executable.run(store.as_mut(), &wrong).unwrap_err(), EngineError::WrongType { .. }));
    let error = executable.run(engine.store().as_mut(), &feeds(1.0)).unwrap_err();
    assert!(matches!(error, EngineError::MissingState { .. }));
    let mut foreign = DfdxEngine::new(Precision::F32).store();
    assert!(matches!(executable.run(foreign.as_mut(), &feeds(1.0)).unwrap_err(), EngineError::Unsupported(_)));
    assert_eq!(store.read("fc1.bias"), before);
}

#[test]
fn the_first_value_that_is_not_finite_is_named() {
    let engine = DfdxEngine::new(Precision::F64);
    let b = Builder::new("t");
    let x = b.input("x", TensorType::float([3])).unwrap();
    let mask = b.constant(&[3], vec![0.0, f64::NEG_INFINITY, 0.0]).unwrap();
    let masked = b.softmax(b.add(x, mask).unwrap(), 0).unwrap();
    let scope = b.scope("head");
    let root = b.sqrt(b.add_scalar(x, -1.0).unwrap()).unwrap();
    b.name("root", root);
    drop(scope);
    b.output("y", b.multiply(masked, root).unwrap());
    let graph = b.finish();
    let look = |x: Vec<f64>| {
        let feeds = Feeds::from([("x".into(), Tensor::f64([3], x))]);
        engine.first_non_finite(&graph, engine.store().as_ref(), &feeds).unwrap()
    };
    assert_eq!(look(vec![1.0, 2.0, 3.0]), None);
    let found = look(vec![1.0, 2.0, 0.0]).unwrap();
    assert_eq!(
        (found.scope.as_str(), found.op.as_str(), found.name.as_str(), found.kind),
        ("head", "sqrt", "head.root", "NaN")
    );
    let found = look(vec![1.0, f64::INFINITY, 0.0]).unwrap();
    assert_eq!((found.op.as_str(), found.name.as_str(), found.kind), ("input", "x", "infinite"));
}

#[test]
fn peak_memory_follows_lifetimes() {
    let b = Builder::new("t");
    let x = b.input("x", TensorType::float([1000])).unwrap();
    let mut y = x;
    for _ in 0..5 {
        y = b.exponential(b.scale(y, 0.5).unwrap()).unwrap();
    }
    // Another name of x, used after x: no memory of its own, and none given back twice.
    let column = b.reshape(x, &[1000, 1]).unwrap();
    let row = b.reshape(y, &[1, 1000]).unwrap();
    b.output("product", b.matmul(row, column).unwrap());
    b.output("y", y);
    let graph = b.finish();
    // x, one value and its successor; the splat 0.5.
    assert_eq!(peak_bytes(&graph, Precision::F32).unwrap(), 3 * 4000 + 4);
    assert_eq!(peak_bytes(&graph, Precision::F64).unwrap(), 3 * 8000 + 8);
}
