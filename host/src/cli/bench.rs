//! `fer-host bench CONFIG`: how fast an engine runs the experiment's step.

use std::{sync::Arc, time::Instant};

use fer_engine::{Executable, Feeds, Store, Tensor, uniform};
use fer_graph::{DType, Graph, Role};
use fer_train::{Step, initialise, rng_key};
use serde_json::json;

use super::output::{binary, print, print_json};
use crate::{
    compose::{Entry, Part, Spec, Truth, forward},
    failure::{Failure, Result},
    run::step_options,
    session::{ConfigArguments, Session, published_classes, published_side},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Images in a step; the config's batch when absent
    #[arg(long)]
    batch: Option<usize>,
    /// Steps that count, or blocks of them, after those that warm up
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Steps that are timed together
    #[arg(long, default_value_t = 1)]
    block: usize,
    /// Steps before those that count
    #[arg(long, default_value_t = 1)]
    warm_up: usize,
    #[arg(long, value_enum, default_value = "train")]
    phase: Phase,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Phase {
    /// Forward, backward, optimiser.
    Train,
    /// Forward alone.
    Infer,
}

pub fn run(arguments: &Arguments, started: Instant) -> Result<()> {
    let session = Session::open(arguments.config.resolve()?)?;
    let engine = session.engine()?;
    let batch = arguments.batch.unwrap_or(session.resolved.experiment.batch).max(1);
    let graph = graph(&session, batch, arguments.phase)?;
    let executable = engine.compile(&graph)?;
    let mut store = engine.store();
    initialise(&graph, session.resolved.experiment.seed, store.as_mut())?;
    let (warm_up, block) = (arguments.warm_up.max(1), arguments.block.max(1));
    let steps = warm_up + arguments.steps.max(1) * block;
    let marks = time(executable.as_ref(), store.as_mut(), steps, |step| feeds(&graph, step))?;
    let times = Times::of(started, &marks, warm_up, block, batch);
    let (memory, device_memory) = (peak_memory(), engine.device_memory()?);
    let phase = format!("{:?}", arguments.phase).to_lowercase();
    if arguments.json {
        return print_json(&json!({
            "name": session.resolved.experiment.name,
            "engine": engine.name(),
            "precision": engine.precision_name(),
            "phase": phase,
            "batch": batch,
            "steps": times.speeds.len(),
            "block": block,
            "warm_up": warm_up,
            "images_per_second": { "median": times.median(), "min": times.min(), "max": times.max() },
            "first_step_seconds": times.first,
            "start_seconds": times.start,
            "tenth_step_seconds": times.tenth,
            "peak_memory_bytes": memory,
            "device_memory_bytes": device_memory,
        }));
    }
    let counted = match block {
        1 => format!("{} steps", times.speeds.len()),
        _ => format!("{} times {block} steps", times.speeds.len()),
    };
    let tenth = times.tenth.map_or_else(String::new, |s| format!(", to the end of the tenth {s:.2} s"));
    let in_use = device_memory.map_or_else(String::new, |b| format!(", in use on the device {}", binary(b as f64)));
    print(&format!(
        "{} {phase}, batch {batch}, {} {}: {:.2} images/s ({:.2} to {:.2} over {counted})\n\
         first step {:.2} s, from start to it {:.2} s{tenth}, peak memory {}{in_use}",
        session.resolved.experiment.name,
        engine.name(),
        engine.precision_name(),
        times.median(),
        times.min(),
        times.max(),
        times.first,
        times.start,
        memory.map_or("unknown".into(), |b| binary(b as f64)),
    ))
}

/// What was measured, in seconds and images a second.
#[derive(Clone, Debug, PartialEq)]
struct Times {
    /// From the start of the program to that of the first step.
    start: f64,
    /// The first step's own.
    first: f64,
    /// From the start of the program to the end of the tenth step, if there were so many.
    tenth: Option<f64>,
    /// Images a second of every block that counts, the slowest first.
    speeds: Vec<f64>,
}

impl Times {
    /// Of when the first step began, and when each was done; the steps after the warm-up are whole blocks.
    fn of(started: Instant, marks: &[Instant], warm_up: usize, block: usize, batch: usize) -> Times {
        let between = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        let ends: Vec<Instant> = marks[warm_up..].iter().copied().step_by(block).collect();
        let mut speeds: Vec<f64> =
            ends.windows(2).map(|ends| (batch * block) as f64 / between(ends[0], ends[1])).collect();
        speeds.sort_by(f64::total_cmp);
        Times {
            start: between(started, marks[0]),
            first: between(marks[0], marks[1]),
            tenth: marks.get(10).map(|&end| between(started, end)),
            speeds,
        }
    }

    fn median(&self) -> f64 {
        (self.speeds[(self.speeds.len() - 1) / 2] + self.speeds[self.speeds.len() / 2]) / 2.0
    }

    fn min(&self) -> f64 {
        self.speeds[0]
    }

    fn max(&self) -> f64 {
        self.speeds[self.speeds.len() - 1]
    }
}

/// When the first step began, and when each was done.
///
/// Between two of these moments lies what a training loop costs, also on a card. A step's inputs are brought in while the step before runs,
/// as the trainer does it. `run_ahead` returns with the step's outputs on the host, the loss that a loop looks at among them, and so has
/// waited for the device. Nothing else is done in between: two batches of images are made before and take turns, so that a card does not
/// stand idle while more are drawn, which a run's loader does on other threads.
fn time(
    executable: &dyn Executable,
    store: &mut dyn Store,
    steps: usize,
    feeds: impl Fn(u64) -> Feeds,
) -> Result<Vec<Instant>> {
    let (mut now, mut next) = (Arc::new(feeds(0)), Arc::new(feeds(1)));
    let mut marks = vec![Instant::now()];
    for step in 0..steps as u64 {
        executable.run_ahead(store, &now, &mut || Some(next.clone()))?;
        marks.push(Instant::now());
        // Nobody else holds these feeds any more, so that no image is copied.
        for (name, value) in Arc::make_mut(&mut now) {
            if let Some(other) = of_step(name, step + 2) {
                *value = other;
            }
        }
        std::mem::swap(&mut now, &mut next);
    }
    Ok(marks)
}

/// The graph of a step.
pub(super) fn graph(session: &Session, batch: usize, phase: Phase) -> Result<Graph> {
    let experiment = &session.resolved.experiment;
    let side = experiment.images.size.or_else(|| published_side(&experiment.data));
    let (Some(side), Some(classes)) = (side, published_classes(&experiment.data)) else {
        return Err(Failure::new("the data set does not say how large its images are or how many classes it has")
            .help("bench on other data: --data builtin, or --set images.size=224"));
    };
    let spec = Spec {
        images: [batch, experiment.images.channels, side, side],
        entry: Entry::Pixels,
        classes,
        training: phase == Phase::Train,
        part: if phase == Phase::Train { Part::Loss(Truth::Targets) } else { Part::Logits },
        prior: vec![1.0 / classes as f64; classes * classes],
    };
    let forward = forward(&session.resolved, &session.recipe, &spec)?;
    if phase == Phase::Infer {
        return Ok(forward);
    }
    match Step::build(&forward, &step_options(experiment))? {
        Step::Fused(graph) | Step::Accumulated { accumulate: graph, .. } => Ok(graph),
    }
}

/// What differs from step to step beside the images.
fn of_step(name: &str, step: u64) -> Option<Tensor> {
    match name {
        "rng" => Some(rng_key(1, step)),
        "step" => Some(Tensor::scalar((step + 1) as f64)),
        _ => None,
    }
}

/// Noise for images, the first class for truth: what is computed does not depend on them.
pub(super) fn feeds(graph: &Graph, step: u64) -> Feeds {
    let feed = |name: &str, dtype: DType, shape: &[usize]| match (name, dtype) {
        ("learning_rate", _) => Tensor::scalar(1e-4),
        ("weights", _) => Tensor::f64(shape, vec![1.0; shape.iter().product()]),
        ("targets", _) => {
            let classes = shape.last().copied().unwrap_or(1);
            Tensor::f64(shape, (0..shape.iter().product()).map(|i| f64::from(u8::from(i % classes == 0))).collect())
        }
        _ => {
            let count = shape.iter().product();
            Tensor::u8(shape, uniform([1, 2, step as i32], 0, count).map(|u| (256.0 * u) as u8).collect())
        }
    };
    let inputs = graph.by_role(Role::Input);
    inputs
        .map(|a| {
            let other = || feed(&a.name, graph.ty(a.value).dtype, graph.shape(a.value));
            (a.name.clone(), of_step(&a.name, step).unwrap_or_else(other))
        })
        .collect()
}

/// The most memory this process has held, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use fer_engine::{Engine, Outputs, Precision};
    use fer_engine_dfdx::DfdxEngine;

    use super::*;

    /// Runs nothing, and notes what each step is given, and what is said to come after it.
    #[derive(Default)]
    struct Noting(Mutex<Vec<[Arc<Feeds>; 2]>>);

    impl Executable for Noting {
        fn run(&self, _: &mut dyn Store, _: &Feeds) -> fer_engine::Result<Outputs> {
            panic!("a step is run ahead of the next");
        }
        fn run_ahead(
            &self,
            _: &mut dyn Store,
            inputs: &Arc<Feeds>,
            next: &mut dyn FnMut() -> Option<Arc<Feeds>>,
        ) -> fer_engine::Result<Outputs> {
            self.0.lock().expect("one thread").push([inputs.clone(), next().expect("the next step is known")]);
            Ok(Outputs::new())
        }
    }

    #[test]
    fn every_step_is_given_what_was_said_to_come() {
        let noting = Noting::default();
        let feeds = |step: u64| {
            Feeds::from([
                ("step".to_owned(), of_step("step", step).expect("every step has its own")),
                ("images".to_owned(), Tensor::u8([1], vec![step as u8])),
            ])
        };
        let marks = time(&noting, DfdxEngine::new(Precision::F32).store().as_mut(), 4, feeds).expect("runs");
        let noted = noting.0.into_inner().expect("one thread");
        assert_eq!((marks.len(), noted.len()), (5, 4));
        for (step, [given, _]) in noted.iter().enumerate() {
            assert_eq!(given["step"].item(), Some((step + 1) as f64));
            assert_eq!(given["images"], Tensor::u8([1], vec![step as u8 % 2]), "two batches take turns");
        }
        for pair in noted.windows(2) {
            assert!(Arc::ptr_eq(&pair[0][1], &pair[1][0]));
        }
    }

    #[test]
    fn times_are_of_whole_blocks_after_the_warm_up() {
        let started = Instant::now();
        // The first step begins after 2 s and takes 4; those after it take 1 s each, and every fifth of them 2.
        let mut at = 2.0;
        let mut marks = vec![started + Duration::from_secs_f64(at)];
        for step in 0..11 {
            at += if step == 0 { 4.0 } else { 1.0 + f64::from(u8::from(step % 5 == 0)) };
            marks.push(started + Duration::from_secs_f64(at));
        }
        let rounded = |times: Times| {
            let round = |x: f64| (1000.0 * x).round() / 1000.0;
            (
                round(times.start),
                round(times.first),
                times.tenth.map(round),
                times.speeds.iter().map(|&s| round(s)).collect(),
            )
        };
        assert_eq!(rounded(Times::of(started, &marks, 1, 5, 6)), (2.0, 4.0, Some(16.0), vec![5.0, 5.0]));
        assert_eq!(rounded(Times::of(started, &marks[..6], 3, 1, 6)), (2.0, 4.0, None, vec![6.0, 6.0]));
        let three = Times { start: 0.0, first: 0.0, tenth: None, speeds: vec![1.0, 2.0, 6.0] };
        assert_eq!((three.min(), three.median(), three.max()), (1.0, 2.0, 6.0));
    }
}
