//! The training step's numbers, on the reference engine in f64.

use fer_engine::{Engine, Feeds, Outputs, Precision, Store, Tensor};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, Init, TensorType};
use fer_train::{
    Step, StepError, StepOptions, averaged, initialise,
    spec::{Group, Optimiser},
};

const ENGINE: fn() -> DfdxEngine = || DfdxEngine::new(Precision::F64);

/// `sum((w x)^2) / 2 + sum(b y)`, and a state that counts: `mean <- mean / 2 + y`.
fn model() -> Builder {
    let b = Builder::new("toy");
    let w = b.parameter("w", &[2, 2], Init::Values(vec![1.0, -2.0, 0.5, 3.0].into())).unwrap();
    let bias = b.parameter("b", &[2], Init::Values(vec![0.25, -0.75].into())).unwrap();
    let mean = b.state("mean", &[2], Init::Ones).unwrap();
    let x = b.input("x", TensorType::float([2, 2])).unwrap();
    let y = b.input("y", TensorType::float([2])).unwrap();
    let wx = b.multiply(w, x).unwrap();
    let squares = b.scale(b.reduce_sum(b.multiply(wx, wx).unwrap(), &[0, 1]).unwrap(), 0.5).unwrap();
    let line = b.reduce_sum(b.multiply(bias, y).unwrap(), &[0]).unwrap();
    b.output("loss", b.add(squares, line).unwrap());
    b.update(mean, b.add(b.scale(mean, 0.5).unwrap(), y).unwrap()).unwrap();
    b
}

fn toy() -> Graph {
    model().finish()
}

fn feeds(step: usize) -> Feeds {
    let k = (step + 1) as f64;
    [
        ("x", Tensor::f64([2, 2], [1.0, 2.0, -1.0, 0.5].map(|v| v * k).to_vec())),
        ("y", Tensor::f64([2], vec![1.0 / k, -3.0 / k])),
        ("learning_rate", Tensor::scalar(0.05 / k)),
        ("step", Tensor::scalar(k)),
    ]
    .into_iter()
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .collect()
}

/// Three steps of the fused graph, and the outputs of each.
fn run(options: &StepOptions) -> (Box<dyn Store>, Vec<Outputs>) {
    let engine = ENGINE();
    let graph = Step::fused(&toy(), options).unwrap();
    let mut store = engine.store();
    initialise(&graph, 1, store.as_mut()).unwrap();
    let executable = engine.compile(&graph).unwrap();
    let outputs = (0..3).map(|k| executable.run(store.as_mut(), &feeds(k)).unwrap()).collect();
    (store, outputs)
}

fn read(store: &dyn Store, name: &str) -> Vec<f64> {
    store.read(name).unwrap_or_else(|| panic!("{name} is not in the store")).to_f64()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= 1e-12 * e.abs().max(1.0), "{found:?} is not {expected:?}");
    }
}

fn adam(decoupled: bool) -> Optimiser {
    let (learning_rate, betas, eps, weight_decay) = (0.05, (0.9, 0.99), 1e-3, 0.1);
    if decoupled {
        Optimiser::AdamW { learning_rate, betas, eps, weight_decay }
    } else {
        Optimiser::Adam { learning_rate, betas, eps, weight_decay }
    }
}

fn sgd(momentum: f64, nesterov: bool) -> Optimiser {
    Optimiser::Sgd { learning_rate: 0.05, momentum, nesterov, weight_decay: 0.1 }
}

/// Expected: `torch.optim`'s single-tensor formulas and `clip_grad_norm_` in NumPy, written apart from this crate;
/// decay 0.1 on `w` alone, learning rate 0.05 / step. Columns: w, b, gradient norms.
#[test]
fn optimisers_follow_pytorch() {
    let plain = StepOptions::new;
    let clipped = StepOptions { clip: Some(1.5), ..plain(sgd(0.0, false)) };
    let cases = [
        (
            plain(adam(false)),
            [0.9130951903795065, -1.9133828339707792, 0.41288657065613804, 2.9125292710204183],
            [0.16216917358447683, -0.6621017443915619],
            [8.707037383633999, 31.65962026307852, 70.32471927680704],
        ),
        (
            plain(adam(true)),
            [0.904467728625542, -1.8953941104663448, 0.408840186521306, 2.886364151210222],
            [0.16216917358447683, -0.6621017443915619],
            [8.707037383633999, 31.49758503252728, 69.78457058568458],
        ),
        (
            plain(sgd(0.0, false)),
            [0.7195033125, -0.378426625, 0.35975165625, 2.754174703125],
            [0.18194444444444444, -0.5458333333333333],
            [8.707037383633999, 26.00465066579438, 35.850266323009144],
        ),
        (
            plain(sgd(0.9, false)),
            [0.6255395625, 0.18975087499999999, 0.31276978125, 2.6686662656249998],
            [0.13844444444444445, -0.41533333333333333],
            [8.707037383633999, 26.00465066579438, 29.49849877426432],
        ),
        (
            plain(sgd(0.9, true)),
            [0.43451698293749996, 0.38236475412499993, 0.21725849146874998, 2.4686555293593746],
            [0.08154444444444443, -0.24463333333333329],
            [8.707037383633999, 20.21398404725056, 10.356238654704635],
        ),
        (
            clipped,
            [0.9743446974632226, -1.8516334544809558, 0.4871723487316113, 2.9601419619593554],
            [0.2406646978188623, -0.7219940934565867],
            [8.707037383633999, 31.234937201890755, 68.70484542294905],
        ),
    ];
    for (options, w, b, norms) in cases {
        let (store, outputs) = run(&options);
        close(&read(store.as_ref(), "w"), &w);
        close(&read(store.as_ref(), "b"), &b);
        let found: Vec<f64> = outputs.iter().map(|o| o["gradient_norm"].item().unwrap()).collect();
        close(&found, &norms);
    }
}

#[test]
fn averages_follow_weights_and_statistics() {
    let options = StepOptions { ema: Some(0.75), ..StepOptions::new(sgd(0.0, false)) };
    let engine = ENGINE();
    let graph = Step::fused(&toy(), &options).unwrap();
    let mut store = engine.store();
    initialise(&graph, 1, store.as_mut()).unwrap();
    let executable = engine.compile(&graph).unwrap();
    let names = ["w", "b", "mean"];
    let mut expected: Vec<Vec<f64>> = names.iter().map(|n| read(store.as_ref(), n)).collect();
    for k in 0..3 {
        executable.run(store.as_mut(), &feeds(k)).unwrap();
        for (name, average) in names.iter().zip(&mut expected) {
            for (a, new) in average.iter_mut().zip(read(store.as_ref(), name)) {
                *a = 0.75 * *a + 0.25 * new;
            }
            close(&read(store.as_ref(), &format!("ema.{name}")), average);
        }
    }
    // A graph that reads the averages sees other weights.
    let held = store.names();
    let forward = averaged(&toy(), |name| held.iter().any(|h| h == name));
    assert!(forward.argument("ema.w").is_some() && forward.argument("w").is_none());
    let mut inputs = feeds(0);
    inputs.retain(|name, _| forward.argument(name).is_some());
    let loss = engine.compile(&forward).unwrap().run(store.as_mut(), &inputs).unwrap()["loss"].item().unwrap();
    let (w, b) = (&expected[0], &expected[1]);
    let squares: f64 = w.iter().zip([1.0, 2.0, -1.0, 0.5]).map(|(w, x)| (w * x).powi(2) / 2.0).sum();
    close(&[loss], &[squares + b[0] - 3.0 * b[1]]);
}

#[test]
fn groups_scale_and_freeze() {
    let group = |pattern: &str, scale, frozen| Group {
        pattern: pattern.into(),
        learning_rate_scale: scale,
        weight_decay: Some(0.0),
        frozen,
    };
    let options = StepOptions {
        groups: vec![group("w", 0.5, false), group("b", 1.0, true)],
        ..StepOptions::new(sgd(0.0, false))
    };
    let (store, _) = run(&options);
    close(&read(store.as_ref(), "b"), &[0.25, -0.75]);
    let mut w = [1.0, -2.0, 0.5, 3.0];
    for k in 1..4 {
        for (w, x) in w.iter_mut().zip([1.0, 2.0, -1.0, 0.5]) {
            *w -= 0.5 * 0.05 / f64::from(k) * *w * (x * f64::from(k)).powi(2);
        }
    }
    close(&read(store.as_ref(), "w"), &w);
}

/// Mean squared error of a linear layer over a batch.
fn regression(batch: usize) -> Graph {
    let b = Builder::new("regression");
    let normal = Init::Normal { mean: 0.0, std: 1.0 };
    let w = b.parameter("w", &[2, 3], normal.clone()).unwrap();
    let bias = b.parameter("b", &[2], normal).unwrap();
    let x = b.input("x", TensorType::float([batch, 3])).unwrap();
    let y = b.input("y", TensorType::float([batch, 2])).unwrap();
    let error = b.subtract(b.linear(x, w, Some(bias)).unwrap(), y).unwrap();
    b.output("loss", b.mean(b.multiply(error, error).unwrap(), &[0, 1]).unwrap());
    b.finish()
}

#[test]
fn micro_batches_equal_one_big_batch() {
    let (big, micro) = (12, 3);
    let data = |from: usize, rows: usize, width: usize, phase: f64| {
        let values = (from * width..(from + rows) * width).map(|i| (i as f64 * 0.7 + phase).sin()).collect();
        Tensor::f64([rows, width], values)
    };
    let options = StepOptions { clip: Some(0.5), ema: Some(0.9), ..StepOptions::new(adam(true)) };
    let engine = ENGINE();
    let fused = Step::fused(&regression(big), &options).unwrap();
    let options = StepOptions { accumulate: big / micro, ..options };
    let Step::Accumulated { accumulate, apply, every } = Step::build(&regression(micro), &options).unwrap() else {
        panic!("four micro-batches are accumulated");
    };
    assert_eq!(every, 4);
    let (mut one, mut two) = (engine.store(), engine.store());
    initialise(&fused, 3, one.as_mut()).unwrap();
    initialise(&accumulate, 3, two.as_mut()).unwrap();
    initialise(&apply, 3, two.as_mut()).unwrap();
    let (fused, accumulate, apply) =
        (engine.compile(&fused).unwrap(), engine.compile(&accumulate).unwrap(), engine.compile(&apply).unwrap());
    let named = |pairs: Vec<(&str, Tensor)>| -> Feeds { pairs.into_iter().map(|(n, t)| (n.to_owned(), t)).collect() };
    for k in 0..3 {
        let rates = [("learning_rate", Tensor::scalar(0.05)), ("step", Tensor::scalar(f64::from(k + 1)))];
        let phase = f64::from(k);
        let batch = |from, rows| vec![("x", data(from, rows, 3, phase)), ("y", data(from, rows, 2, phase + 0.3))];
        let whole = [batch(0, big), rates.to_vec()].concat();
        let norm = fused.run(one.as_mut(), &named(whole)).unwrap()["gradient_norm"].clone();
        for i in 0..every {
            accumulate.run(two.as_mut(), &named(batch(i * micro, micro))).unwrap();
        }
        let inputs = [rates.to_vec(), vec![("micro_batches", Tensor::scalar(every as f64))]].concat();
        let outputs = apply.run(two.as_mut(), &named(inputs)).unwrap();
        close(&outputs["gradient_norm"].to_f64(), &norm.to_f64());
    }
    for name in one.names() {
        close(&read(two.as_ref(), &name), &read(one.as_ref(), &name));
    }
    assert!(read(two.as_ref(), "gradient.w").iter().all(|&g| g == 0.0));
}

/// A group of one micro-batch is the fused step, statistics and their averages included.
#[test]
fn both_halves_make_a_whole() {
    let options = StepOptions { clip: Some(1.5), ema: Some(0.75), ..StepOptions::new(sgd(0.9, true)) };
    let (one, _) = run(&options);
    let engine = ENGINE();
    let halves = [Step::accumulate(&toy(), &options).unwrap(), Step::apply(&toy(), &options).unwrap()];
    let mut two = engine.store();
    halves.iter().for_each(|graph| drop(initialise(graph, 1, two.as_mut()).unwrap()));
    for k in 0..3 {
        let mut all = feeds(k);
        all.insert("micro_batches".to_owned(), Tensor::scalar(1.0));
        for graph in &halves {
            let inputs = all.iter().filter(|(name, _)| graph.argument(name).is_some());
            let inputs = inputs.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
            engine.compile(graph).unwrap().run(two.as_mut(), &inputs).unwrap();
        }
    }
    for name in ["w", "b", "mean", "ema.w", "ema.b", "ema.mean", "optimiser.momentum.w"] {
        close(&read(two.as_ref(), name), &read(one.as_ref(), name));
    }
}

#[test]
fn what_cannot_train_is_named() {
    let options = StepOptions::new(sgd(0.0, false));
    let b = model();
    b.parameter("spare.weight", &[3], Init::Zeros).unwrap();
    let graph = b.finish();
    let e = Step::fused(&graph, &options).unwrap_err();
    assert_eq!(e, StepError::NoGradient { names: vec!["spare.weight".into()] });
    let frozen = Group { pattern: "spare.*".into(), learning_rate_scale: 1.0, weight_decay: None, frozen: true };
    Step::fused(&graph, &StepOptions { groups: vec![frozen.clone()], ..options.clone() }).unwrap();
    let all = Group { pattern: "*".into(), ..frozen };
    let e = Step::fused(&graph, &StepOptions { groups: vec![all], ..options.clone() }).unwrap_err();
    assert_eq!(e, StepError::NothingToTrain);

    let b = model();
    b.state("ema.x", &[1], Init::Zeros).unwrap();
    assert!(matches!(Step::fused(&b.finish(), &options), Err(StepError::Reserved { .. })));
    let mut graph = toy();
    graph.outputs.clear();
    assert_eq!(Step::fused(&graph, &options), Err(StepError::NoLoss));
    for bad in [
        StepOptions { clip: Some(0.0), ..options.clone() },
        StepOptions { ema: Some(1.0), ..options.clone() },
        StepOptions { accumulate: 0, ..options.clone() },
        StepOptions::new(sgd(0.0, true)),
        StepOptions::new(sgd(-0.1, false)),
        StepOptions::new(Optimiser::Adam { learning_rate: 1.0, betas: (0.9, 1.0), eps: 1e-8, weight_decay: 0.0 }),
    ] {
        assert!(matches!(Step::build(&toy(), &bad), Err(StepError::Setting { .. })), "{bad:?}");
    }
}
