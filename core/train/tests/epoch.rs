//! The loop over an epoch: what it feeds, when it stops, and that a resumed run is an unbroken one.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
};

use fer_engine::{Engine, Feeds, Outputs, Precision, Store, Tensor};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, Init, TensorType};
use fer_train::{
    Checkpoint, EpochEnd, Metadata, Observer, Pace, Position, Progress, Step, StepOptions, StepReport, Stepper,
    TrainError, initialise,
    spec::{Optimiser, Schedule, WarmUp},
    train_epoch,
};

type Batch = Result<Feeds, Box<dyn Error + Send + Sync>>;

/// A linear layer with dropout, on four rows.
fn model() -> Graph {
    let b = Builder::new("toy");
    let w = b.parameter("w", &[2, 3], Init::Normal { mean: 0.0, std: 1.0 }).unwrap();
    let x = b.input("x", TensorType::float([4, 3])).unwrap();
    let out = b.dropout(b.linear(x, w, None).unwrap(), 0.5).unwrap();
    b.output("loss", b.mean(b.multiply(out, out).unwrap(), &[0, 1]).unwrap());
    b.output("logits", out);
    b.finish()
}

fn batches(count: usize) -> Vec<Feeds> {
    let batch = |k: usize| Tensor::f64([4, 3], (0..12).map(|i| ((i + 12 * k) as f64).sin()).collect());
    (0..count).map(|k| [("x".to_owned(), batch(k))].into()).collect()
}

fn options(accumulate: usize) -> StepOptions {
    let optimiser = Optimiser::AdamW { learning_rate: 0.05, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01 };
    StepOptions { accumulate, ema: Some(0.9), clip: Some(1.0), ..StepOptions::new(optimiser) }
}

fn pace(steps_per_epoch: usize) -> Pace {
    Pace {
        learning_rate: 0.05,
        schedule: Schedule::Cosine { final_factor: 0.0 },
        warm_up: Some(WarmUp { epochs: 1.0, start_factor: 0.5 }),
        steps_per_epoch,
        epochs: 2,
        seed: 1111,
        offset: 0,
    }
}

struct Run {
    step: Step,
    stepper: Stepper,
    store: Box<dyn Store>,
}

fn start(accumulate: usize) -> Run {
    let engine = DfdxEngine::new(Precision::F32);
    let step = Step::build(&model(), &options(accumulate)).unwrap();
    let mut store = engine.store();
    for graph in step.graphs() {
        initialise(graph, 5, store.as_mut()).unwrap();
    }
    Run { stepper: Stepper::compile(&engine, &step).unwrap(), step, store }
}

fn epoch(
    run: &mut Run,
    feeds: Vec<Feeds>,
    position: Position,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<EpochEnd, TrainError> {
    let mut feeds = feeds.into_iter().map(|f| -> Batch { Ok(f) });
    train_epoch(&run.stepper, run.store.as_mut(), &mut feeds, &pace(6), position, stop, observer)
}

#[test]
fn a_resumed_run_is_an_unbroken_one() {
    let never = AtomicBool::new(false);
    let mut whole = start(1);
    let mut position = Position::default();
    let mut reports = vec![];
    for _ in 0..2 {
        let end = epoch(&mut whole, batches(6), position, &never, &mut |r: &StepReport| reports.push(r.clone()));
        let EpochEnd::Finished(next) = end.unwrap() else { panic!("nobody stops it") };
        position = next;
    }
    assert_eq!(position, Position { epoch: 2, step_in_epoch: 0, global_step: 12 });
    assert_eq!(reports[0].learning_rate, 0.025);
    assert_eq!(reports[9].position, Position { epoch: 1, step_in_epoch: 3, global_step: 9 });

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let mut broken = start(1);
    let stop = AtomicBool::new(false);
    let mut halt = |r: &StepReport| stop.store(r.position.step_in_epoch == 2, Ordering::Relaxed);
    let end = epoch(&mut broken, batches(6), Position::default(), &stop, &mut halt).unwrap();
    let EpochEnd::Stopped(at) = end else { panic!("it is stopped in its third step") };
    assert_eq!(at, Position { epoch: 0, step_in_epoch: 3, global_step: 3 });
    let progress = Progress { step_in_epoch: 3, global_step: 3, ..Progress::default() };
    Checkpoint::of(broken.store.as_ref(), progress, Metadata::new()).save(&path).unwrap();
    drop(broken);

    let mut resumed = start(1);
    let checkpoint = Checkpoint::load(&path).unwrap();
    checkpoint.restore(resumed.store.as_mut(), &resumed.step.graphs()).unwrap();
    let mut again = vec![];
    let mut note = |r: &StepReport| again.push(r.clone());
    let EpochEnd::Finished(next) = epoch(&mut resumed, batches(6).split_off(3), at, &never, &mut note).unwrap() else {
        panic!("nobody stops it")
    };
    epoch(&mut resumed, batches(6), next, &never, &mut note).unwrap();
    assert_eq!(again, reports[3..]);
    for name in whole.store.names() {
        assert_eq!(resumed.store.read(&name), whole.store.read(&name), "{name}");
    }
}

#[derive(Default)]
struct Watch {
    keys: Vec<Tensor>,
    micro: Vec<usize>,
}

impl Observer for Watch {
    fn on_batch(&mut self, inputs: &Feeds, outputs: &Outputs) {
        self.keys.push(inputs["rng"].clone());
        assert_eq!(outputs["logits"].shape, [4, 2]);
    }
    fn on_step(&mut self, report: &StepReport) {
        self.micro.push(report.micro_batches);
    }
}

#[test]
fn a_short_group_ends_an_epoch() {
    let mut run = start(3);
    let mut watch = Watch::default();
    let end = epoch(&mut run, batches(7), Position::default(), &AtomicBool::new(false), &mut watch).unwrap();
    assert_eq!(end, EpochEnd::Finished(Position { epoch: 1, step_in_epoch: 0, global_step: 3 }));
    assert_eq!(watch.micro, [3, 3, 1]);
    let steps: Vec<f64> = watch.keys.iter().map(|k| k.to_f64()[2]).collect();
    assert_eq!(steps, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn divergence_and_a_failing_loader_say_where() {
    let never = AtomicBool::new(false);
    for accumulate in [1, 2] {
        let mut run = start(accumulate);
        let mut feeds = batches(4);
        feeds[3].insert("x".to_owned(), Tensor::f64([4, 3], vec![f64::NAN; 12]));
        let before = run.store.read("w");
        let e = epoch(&mut run, feeds, Position { epoch: 7, ..Position::default() }, &never, &mut |_: &StepReport| {});
        let e = e.unwrap_err();
        let expected = 4 / accumulate - 1;
        assert!(matches!(e, TrainError::NotFinite { epoch: 7, step, .. } if step == expected), "{e}");
        assert_ne!(run.store.read("w"), before);
    }
    let mut run = start(1);
    let mut feeds = batches(1).into_iter().map(|f| -> Batch { Ok(f) }).chain([Err("face.png is gone".into())]);
    let mut silent = |_: &StepReport| {};
    let end =
        train_epoch(&run.stepper, run.store.as_mut(), &mut feeds, &pace(6), Position::default(), &never, &mut silent);
    assert_eq!(end.unwrap_err().to_string(), "no batch for epoch 1, step 2: face.png is gone");
}
