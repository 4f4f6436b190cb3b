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
    /// Steps that count, after the first
    #[arg(long, default_value_t = 5)]
    steps: usize,
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
    let start_seconds = started.elapsed().as_secs_f64();
    let steps = 1 + arguments.steps.max(1);
    let mut seconds = time(executable.as_ref(), store.as_mut(), steps, |step| feeds(&graph, step))?;
    let first = seconds.remove(0);
    let mut speeds: Vec<f64> = seconds.iter().map(|s| batch as f64 / s).collect();
    speeds.sort_by(f64::total_cmp);
    let median = (speeds[(speeds.len() - 1) / 2] + speeds[speeds.len() / 2]) / 2.0;
    let (min, max) = (speeds[0], speeds[speeds.len() - 1]);
    let memory = peak_memory();
    let phase = format!("{:?}", arguments.phase).to_lowercase();
    if arguments.json {
        return print_json(&json!({
            "name": session.resolved.experiment.name,
            "engine": engine.name(),
            "precision": engine.precision_name(),
            "phase": phase,
            "batch": batch,
            "steps": speeds.len(),
            "images_per_second": { "median": median, "min": min, "max": max },
            "first_step_seconds": first,
            "start_seconds": start_seconds,
            "peak_memory_bytes": memory,
        }));
    }
    print(&format!(
        "{} {phase}, batch {batch}, {} {}: {median:.2} images/s ({min:.2} to {max:.2} over {} steps)\n\
         first step {first:.2} s, from start to it {start_seconds:.2} s, peak memory {}",
        session.resolved.experiment.name,
        engine.name(),
        engine.precision_name(),
        speeds.len(),
        memory.map_or("unknown".into(), |b| binary(b as f64)),
    ))
}

/// Seconds of each step, whose inputs are made before it, and brought in while the step before runs, as in training.
fn time(
    executable: &dyn Executable,
    store: &mut dyn Store,
    steps: usize,
    feeds: impl Fn(u64) -> Feeds,
) -> Result<Vec<f64>> {
    let mut seconds = vec![];
    let mut now = Arc::new(feeds(0));
    for step in 1..=steps as u64 {
        let next = Arc::new(feeds(step));
        let began = Instant::now();
        executable.run_ahead(store, &now, &mut || Some(next.clone()))?;
        seconds.push(began.elapsed().as_secs_f64());
        now = next;
    }
    Ok(seconds)
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

/// Noise for images, the first class for truth: what is computed does not depend on them.
pub(super) fn feeds(graph: &Graph, step: u64) -> Feeds {
    let feed = |name: &str, dtype: DType, shape: &[usize]| match (name, dtype) {
        ("rng", _) => rng_key(1, step),
        ("learning_rate", _) => Tensor::scalar(1e-4),
        ("step", _) => Tensor::scalar((step + 1) as f64),
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
    inputs.map(|a| (a.name.clone(), feed(&a.name, graph.ty(a.value).dtype, graph.shape(a.value)))).collect()
}

/// The most memory this process has held, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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
        let feeds = |step: u64| Feeds::from([("step".to_owned(), Tensor::scalar(step as f64))]);
        let seconds = time(&noting, DfdxEngine::new(Precision::F32).store().as_mut(), 4, feeds).expect("runs");
        let noted = noting.0.into_inner().expect("one thread");
        assert_eq!((seconds.len(), noted.len()), (4, 4));
        for (step, [given, _]) in noted.iter().enumerate() {
            assert_eq!(given["step"].item(), Some(step as f64));
        }
        for pair in noted.windows(2) {
            assert!(Arc::ptr_eq(&pair[0][1], &pair[1][0]));
        }
    }
}
