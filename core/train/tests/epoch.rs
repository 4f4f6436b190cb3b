//! The loop over an epoch: what it feeds, when it stops, and that a resumed run is an unbroken one.

use std::{
    any::Any,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use fer_engine::{Engine, Executable, Feeds, Outputs, Precision, Store, Tensor};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, Init, Node, TensorType};
use fer_train::{
    Batches, Checkpoint, EpochEnd, Metadata, Observer, Pace, Position, Progress, Step, StepOptions, StepReport,
    Stepper, TrainError, initialise,
    spec::{Optimiser, Schedule, WarmUp},
    train_epoch,
};

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
    let mut feeds = Batches::new(feeds.into_iter().map(Ok));
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
    Checkpoint::of(broken.store.as_ref(), progress, Metadata::new()).unwrap().save(&path).unwrap();
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

/// An engine that keeps the store as it was where a scalar that it is told of is not finite.
struct Keeping(&'static [&'static str]);

struct Kept(Box<dyn Executable>, &'static [&'static str]);

impl Engine for Keeping {
    fn name(&self) -> &'static str {
        "keeping"
    }
    fn precision(&self) -> Precision {
        Precision::F32
    }
    fn supports(&self, graph: &Graph, node: &Node) -> bool {
        DfdxEngine::new(Precision::F32).supports(graph, node)
    }
    fn store(&self) -> Box<dyn Store> {
        DfdxEngine::new(Precision::F32).store()
    }
    fn compile(&self, graph: &Graph) -> fer_engine::Result<Box<dyn Executable>> {
        Ok(Box::new(Kept(DfdxEngine::new(Precision::F32).compile(graph)?, self.0)))
    }
}

impl Executable for Kept {
    fn run(&self, store: &mut dyn Store, inputs: &Feeds) -> fer_engine::Result<Outputs> {
        let before: Vec<_> = store.names().into_iter().map(|n| (store.read(&n), n)).collect();
        let outputs = self.0.run(store, inputs)?;
        if self.1.iter().any(|name| outputs[*name].item().is_some_and(|v| !v.is_finite())) {
            before.into_iter().for_each(|(value, name)| store.write(&name, &value.unwrap()));
        }
        Ok(outputs)
    }
    fn stops_when_not_finite(&self, output: &str) -> bool {
        self.1.contains(&output)
    }
}

/// A store that gives no snapshot of itself.
struct Plain(Box<dyn Store>);

impl Store for Plain {
    fn names(&self) -> Vec<String> {
        self.0.names()
    }
    fn read(&self, name: &str) -> Option<Tensor> {
        self.0.read(name)
    }
    fn write(&mut self, name: &str, value: &Tensor) {
        self.0.write(name, value);
    }
    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self.0.as_any_mut()
    }
}

/// What is shown of diverged steps: the weight before each.
#[derive(Default)]
struct Diverged(Vec<Option<Tensor>>);

impl Observer for Diverged {
    fn on_step(&mut self, _report: &StepReport) {}
    fn on_diverged(&mut self, _inputs: &Feeds, before: Option<&dyn Store>) {
        self.0.push(before.and_then(|store| store.read("w")));
    }
}

/// A loss of 0 whose gradient is no number: what is shown is the store that the engine has kept, and no other.
#[test]
fn a_gradient_that_is_not_finite_under_a_finite_loss_is_traced_where_the_engine_keeps_the_store() {
    let b = Builder::new("root");
    let w = b.parameter("w", &[2, 3], Init::Normal { mean: 0.0, std: 1.0 }).unwrap();
    let x = b.input("x", TensorType::float([4, 3])).unwrap();
    let root = b.sqrt(b.linear(x, w, None).unwrap()).unwrap();
    b.output("loss", b.mean(root, &[0, 1]).unwrap());
    let step = Step::build(&b.finish(), &options(1)).unwrap();
    for (kept, shown) in [(&["loss", "gradient_norm"][..], true), (&["loss"], false)] {
        let engine = Keeping(kept);
        let mut store = engine.store();
        initialise(step.graphs()[0], 5, store.as_mut()).unwrap();
        let mut store = Plain(store);
        let before = store.read("w");
        let zeros = Feeds::from([("x".to_owned(), Tensor::f64([4, 3], vec![0.0; 12]))]);
        let mut feeds = Batches::new([Ok(zeros)].into_iter());
        let stepper = Stepper::compile(&engine, &step).unwrap();
        let mut seen = Diverged::default();
        let never = AtomicBool::new(false);
        let e = train_epoch(&stepper, &mut store, &mut feeds, &pace(6), Position::default(), &never, &mut seen);
        assert!(matches!(e, Err(TrainError::NotFinite { what: "the gradient's norm", .. })), "{e:?}");
        assert_eq!(seen.0, [before.filter(|_| shown)]);
    }
}

/// An engine that asks for the next step's inputs, and notes whether they were the ones that then came.
#[derive(Default)]
struct Asking(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    next: Option<Arc<Feeds>>,
    as_told: Vec<bool>,
}

struct AskingRun(Box<dyn Executable>, Arc<Mutex<Asked>>);

impl Engine for Asking {
    fn name(&self) -> &'static str {
        "asking"
    }
    fn precision(&self) -> Precision {
        Precision::F32
    }
    fn supports(&self, graph: &Graph, node: &Node) -> bool {
        DfdxEngine::new(Precision::F32).supports(graph, node)
    }
    fn store(&self) -> Box<dyn Store> {
        DfdxEngine::new(Precision::F32).store()
    }
    fn compile(&self, graph: &Graph) -> fer_engine::Result<Box<dyn Executable>> {
        Ok(Box::new(AskingRun(DfdxEngine::new(Precision::F32).compile(graph)?, self.0.clone())))
    }
}

impl Executable for AskingRun {
    fn run(&self, store: &mut dyn Store, inputs: &Feeds) -> fer_engine::Result<Outputs> {
        self.0.run(store, inputs)
    }
    fn run_ahead(
        &self,
        store: &mut dyn Store,
        inputs: &Arc<Feeds>,
        next: &mut dyn FnMut() -> Option<Arc<Feeds>>,
    ) -> fer_engine::Result<Outputs> {
        let mut asked = self.1.lock().unwrap();
        if let Some(told) = asked.next.take() {
            asked.as_told.push(Arc::ptr_eq(&told, inputs));
        }
        asked.next = next();
        self.0.run(store, inputs)
    }
}

/// Whether or not an engine asks for what comes next, and across a stop, steps are given the same.
#[test]
fn batches_that_are_taken_ahead_are_the_ones_that_come() {
    for accumulate in [1, 3] {
        let mut plain = start(accumulate);
        let mut reports = vec![];
        let never = AtomicBool::new(false);
        let mut note = |r: &StepReport| reports.push(r.clone());
        epoch(&mut plain, batches(7), Position::default(), &never, &mut note).unwrap();

        let engine = Asking::default();
        let mut store = engine.store();
        for graph in plain.step.graphs() {
            initialise(graph, 5, store.as_mut()).unwrap();
        }
        let stepper = Stepper::compile(&engine, &plain.step).unwrap();
        let mut incoming = Batches::new(batches(7).into_iter().map(Ok));
        let (mut position, mut again) = (Position::default(), vec![]);
        loop {
            // Stopped after every step, as for checkpoints.
            let stop = AtomicBool::new(false);
            let mut note = |r: &StepReport| {
                again.push(r.clone());
                stop.store(true, Ordering::Relaxed);
            };
            let end =
                train_epoch(&stepper, store.as_mut(), &mut incoming, &pace(6), position, &stop, &mut note).unwrap();
            match end {
                EpochEnd::Stopped(next) => position = next,
                EpochEnd::Finished(_) => break,
            }
        }
        assert_eq!(again, reports);
        for name in plain.store.names() {
            assert_eq!(store.read(&name), plain.store.read(&name), "{name}");
        }
        let asked = engine.0.lock().unwrap();
        assert_eq!(asked.as_told, [true; 6], "accumulate {accumulate}");
        assert!(asked.next.is_none());
    }
}

/// Going on elsewhere than was said: what was prepared for another step is prepared anew.
#[test]
fn a_batch_that_was_prepared_for_another_step_is_prepared_anew() {
    let engine = Asking::default();
    let run = start(1);
    let mut store = engine.store();
    initialise(run.step.graphs()[0], 5, store.as_mut()).unwrap();
    let stepper = Stepper::compile(&engine, &run.step).unwrap();
    let mut incoming = Batches::new(batches(3).into_iter().map(Ok));
    let mut keys = vec![];
    for global_step in [0, 50] {
        let position = Position { global_step, ..Position::default() };
        let stop = AtomicBool::new(false);
        let mut watch = Stopping { stop: &stop, keys: &mut keys };
        train_epoch(&stepper, store.as_mut(), &mut incoming, &pace(6), position, &stop, &mut watch).unwrap();
    }
    assert_eq!(keys, [0.0, 50.0]);
    assert_eq!(engine.0.lock().unwrap().as_told, [false]);
}

/// Stops after a step.
struct Stopping<'a> {
    stop: &'a AtomicBool,
    keys: &'a mut Vec<f64>,
}

impl Observer for Stopping<'_> {
    fn on_batch(&mut self, inputs: &Feeds, _outputs: &Outputs) {
        self.keys.push(inputs["rng"].to_f64()[2]);
    }
    fn on_step(&mut self, _report: &StepReport) {
        self.stop.store(true, Ordering::Relaxed);
    }
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
    let mut feeds = Batches::new(batches(1).into_iter().map(Ok).chain([Err("face.png is gone".into())]));
    let mut silent = |_: &StepReport| {};
    let end =
        train_epoch(&run.stepper, run.store.as_mut(), &mut feeds, &pace(6), Position::default(), &never, &mut silent);
    assert_eq!(end.unwrap_err().to_string(), "no batch for epoch 1, step 2: face.png is gone");
}
