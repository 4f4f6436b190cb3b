//! Trains: owns epochs, checkpoints, the choice of the best epoch, and the results.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use fer_config::{Resolved, load_text};
use fer_data::{
    Loader, LoaderOptions,
    sampler::{batches, epoch_order},
};
use fer_engine::{Engine, Store};
use fer_train::{
    BatchError, Batches, EpochEnd, LineLog, Pace, Position, Step, Stepper, TrainError, initialise, train_epoch,
};
use serde_json::json;

use super::{
    checkpointing::{EpochSums, State, restore, save},
    evaluation::{Evaluation, Evaluator, Reading},
    folder::{RunFolder, read_json, write_json},
    material::Material,
    model::{Model, feeds},
    pictures::{draw_confusion, draw_curve},
    record::{DataRecord, Environment, Results, changed_plugins},
    report::Reporter,
    starting::{pretrained, pretrained_again},
    waiting::Waiting,
    watch::Watch,
};
use crate::{
    failure::{Failure, Result},
    session::Session,
    weights::Pretrained,
};

/// What the command line says about a run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Where run folders go; the config's `out`, or `runs`, when absent.
    pub out: Option<PathBuf>,
    /// Lines of JSON on standard output instead of words.
    pub json: bool,
    /// Build and plan everything, train nothing.
    pub dry_run: bool,
    /// Resume although a plugin library has changed.
    pub accept_changed_plugins: bool,
}

/// A run that is under way.
struct Run<'s> {
    session: &'s Session,
    material: &'s Material,
    engine: &'s dyn Engine,
    model: &'s Model<'s>,
    folder: &'s RunFolder,
    reporter: &'s Reporter,
    pretrained: Pretrained,
    stop: Arc<AtomicBool>,
    /// Whether it was said that training waits for its images: once is enough.
    told: Cell<bool>,
}

/// Starts a run in a new folder.
///
/// # Errors
/// Everything that can go wrong before, in and after training; what is written stays.
pub fn start(resolved: Resolved, options: &RunOptions) -> Result<()> {
    let session = Session::open(resolved)?;
    let engine = session.engine()?;
    let material = Material::open(&session.resolved, &session.recipe)?;
    let reporter = Reporter::new(options.json);
    let model = Model::new(&session, &material);
    if let Some(notice) = &material.dataset.notice {
        reporter.notice(notice);
    }
    let mut environment = Environment::of(&session.resolved, &session.recipe, engine.as_ref(), &material)?;
    let experiment = &session.resolved.experiment;
    let step = model.step(material.batch)?;
    reporter.header(&session, &environment, &step);
    let pretrained = pretrained(&session, &step, &reporter, !options.dry_run)?;
    environment.pretrained = pretrained.records.clone();
    if options.dry_run {
        let stepper = Stepper::compile(engine.as_ref(), &step)?;
        reporter.planned(&step, engine.precision(), &stepper.summaries())?;
        return Ok(());
    }
    let out = options.out.clone().or_else(|| experiment.out.clone()).unwrap_or_else(|| "runs".into());
    let folder = RunFolder::create(&out, &experiment.name)?;
    fer_train::write_atomically(&folder.config(), session.resolved.text.as_bytes())?;
    write_json(&folder.environment(), &environment)?;
    Run {
        session: &session,
        material: &material,
        engine: engine.as_ref(),
        model: &model,
        folder: &folder,
        reporter: &reporter,
        pretrained,
        stop: stop_flag()?,
        told: Cell::new(false),
    }
    .train(&step)
}

/// Continues a run: the same bits as if it had never stopped.
///
/// # Errors
/// A folder that is no run, data or plugins that have changed, and all that [`start`] can meet.
pub fn resume(path: &Path, options: &RunOptions) -> Result<()> {
    let folder = RunFolder::open(path)?;
    let config = folder.config();
    let text =
        std::fs::read_to_string(&config).map_err(|e| Failure::new(format!("cannot read {}: {e}", config.display())))?;
    let session = Session::open(load_text(&config.display().to_string(), &text, &[])?)?;
    let engine = session.engine()?;
    let material = Material::open(&session.resolved, &session.recipe)?;
    let reporter = Reporter::new(options.json);
    if folder.results().is_file() {
        if options.json {
            return reporter.results(&read_json(&folder.results())?, &folder);
        }
        reporter.say(&format!("{} is finished: see {}", folder.root.display(), folder.results().display()));
        return Ok(());
    }
    let model = Model::new(&session, &material);
    let mut environment = Environment::of(&session.resolved, &session.recipe, engine.as_ref(), &material)?;
    if folder.environment().is_file() {
        let then: Environment = read_json(&folder.environment())?;
        unchanged(&then, &environment, options)?;
        environment.pretrained = then.pretrained;
    } else {
        write_json(&folder.environment(), &environment)?;
    }
    folder.tidy()?;
    let step = model.step(material.batch)?;
    reporter.header(&session, &environment, &step);
    let pretrained = match folder.last().is_file() {
        true => Pretrained::default(),
        false => pretrained_again(&session, &step, &reporter, &environment)?,
    };
    Run {
        session: &session,
        material: &material,
        engine: engine.as_ref(),
        model: &model,
        folder: &folder,
        reporter: &reporter,
        pretrained,
        stop: stop_flag()?,
        told: Cell::new(false),
    }
    .train(&step)
}

/// Refuses to continue with other data, and with other plugins unless told to.
fn unchanged(then: &Environment, now: &Environment, options: &RunOptions) -> Result<()> {
    if then.data != now.data {
        return Err(Failure::new("the data has changed since the run began")
            .note(format!("then: {} {:?} {:.12}", then.data.name, then.data.counts, then.data.fingerprint))
            .note(format!("now:  {} {:?} {:.12}", now.data.name, now.data.counts, now.data.fingerprint))
            .help("a resumed run would mix results; start a new one"));
    }
    match changed_plugins(then, now) {
        Some(failure) if !options.accept_changed_plugins => Err(failure.help(
            "a resumed run promises the bits of an unbroken one: --accept-changed-plugins goes on without that promise",
        )),
        _ => Ok(()),
    }
}

/// Set by the first Ctrl-C; a second one ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .map_err(|e| Failure::new(format!("cannot listen for Ctrl-C: {e}")))?;
    Ok(stop)
}

impl Run<'_> {
    fn train(&self, step: &Step) -> Result<()> {
        let experiment = &self.session.resolved.experiment;
        let started = Instant::now();
        let stepper = Stepper::compile(self.engine, step)?;
        let mut store = self.engine.store();
        let mut state = State::default();
        if self.folder.last().is_file() {
            state = restore(&self.folder.last(), store.as_mut(), &step.graphs())?;
        } else {
            self.pretrained.write(store.as_mut());
        }
        for graph in step.graphs() {
            initialise(graph, experiment.seed, store.as_mut())?;
        }
        self.reporter.ready(&self.folder.root, started.elapsed(), &state);
        let mut log = self.folder.log(|line| belongs(line, &state))?;
        let pace = self.pace(&stepper);
        let mut evaluator = Evaluator::new(self.model, self.engine);
        let mut speeds = vec![];
        // A run that was stopped between its last verdict and its results has nothing left to train.
        let rule = experiment.early_stopping.as_ref();
        let mut stopped_early = rule.is_some_and(|r| state.selection.epochs_without_improvement >= r.patience.max(1));
        while state.position.epoch < self.material.epochs && !stopped_early {
            let speed = self.epoch(&stepper, step, store.as_mut(), &pace, &mut state, &mut log)?;
            speeds.extend(speed);
            stopped_early = self.judge(&mut evaluator, store.as_mut(), &mut state, &mut log, speed)?;
        }
        self.conclude(&mut evaluator, step, store.as_mut(), stopped_early, &speeds)
    }

    fn batches_per_epoch(&self) -> usize {
        self.material.train.len() / self.material.batch
    }

    fn pace(&self, stepper: &Stepper) -> Pace {
        let experiment = &self.session.resolved.experiment;
        let steps_per_epoch = self.batches_per_epoch().div_ceil(stepper.every());
        Pace {
            learning_rate: experiment.optimiser.learning_rate(),
            schedule: experiment.schedule.clone(),
            warm_up: experiment.warm_up.clone(),
            steps_per_epoch,
            epochs: self.material.epochs,
            seed: experiment.seed,
            // The paper's code steps its scheduler before the first epoch.
            offset: if experiment.paper_compat { steps_per_epoch as u64 } else { 0 },
        }
    }

    /// One epoch of training, or the rest of one; gives its throughput in images per second.
    fn epoch(
        &self,
        stepper: &Stepper,
        step: &Step,
        store: &mut dyn Store,
        pace: &Pace,
        state: &mut State,
        log: &mut LineLog,
    ) -> Result<Option<f64>> {
        let experiment = &self.session.resolved.experiment;
        let epoch = state.position.epoch;
        let labels = self.material.train.labels();
        let order = epoch_order(&labels, experiment.sampling, experiment.seed, epoch);
        let parts = batches(&order, self.material.batch, true);
        let loader = LoaderOptions {
            augment: experiment.augment.clone(),
            seed: experiment.seed,
            epoch,
            class_weights: self.material.class_weights.clone(),
            workers: experiment.workers,
            prefetch: 2,
            skip: (state.position.step_in_epoch * stepper.every()).min(parts.len()),
        };
        let classes = self.material.dataset.classes.len();
        let waiting = Waiting::default();
        let loaded = waiting.watch(Loader::start(self.material.train.clone(), &parts, loader)?);
        let mut incoming = Batches::new(
            loaded.map(|batch| batch.map(|batch| feeds(batch, classes)).map_err(|error| Box::new(error) as BatchError)),
        );
        // Checkpoints within an epoch: train up to the next one, save, go on.
        let every = experiment.checkpoint_every.unwrap_or(usize::MAX);
        let epochs = (epoch, self.material.epochs);
        let mut watch = Watch::new(self.reporter, log, state.sums, epochs, pace.steps_per_epoch, self.stop.clone());
        let began = (Instant::now(), state.sums.images);
        loop {
            let stop = watch.begin(every);
            let end = train_epoch(stepper, store, &mut incoming, pace, state.position, &stop, &mut watch);
            let end = end.map_err(|error| self.diverged(error, &watch, step))?;
            watch.check()?;
            state.sums = watch.sums();
            match end {
                EpochEnd::Stopped(position) => {
                    state.position = position;
                    self.save(&self.folder.last(), store, state)?;
                    if self.stop.load(Ordering::SeqCst) {
                        return Err(self.interrupted());
                    }
                }
                EpochEnd::Finished(position) => {
                    // Training is done, judging is not: a stop in between resumes here.
                    state.position = Position { epoch, step_in_epoch: pace.steps_per_epoch, ..position };
                    break;
                }
            }
        }
        let (images, took) = (watch.sums().images - began.1, began.0.elapsed());
        if let Some(notice) = waiting.notice(took, experiment.workers.max(1))
            && !self.told.replace(true)
        {
            self.reporter.notice(&notice);
        }
        let speed = images as f64 / took.as_secs_f64();
        Ok((images > 0).then_some(speed))
    }

    /// Validates, keeps the best, saves; says whether to stop early.
    fn judge(
        &self,
        evaluator: &mut Evaluator<'_>,
        store: &mut dyn Store,
        state: &mut State,
        log: &mut LineLog,
        speed: Option<f64>,
    ) -> Result<bool> {
        let experiment = &self.session.resolved.experiment;
        let epoch = state.position.epoch;
        let Some(found) = self.measure(evaluator, store, true, epoch)? else {
            self.save(&self.folder.last(), store, state)?;
            return Err(self.interrupted());
        };
        let metrics = found.metrics;
        let score = experiment.criterion.score(&metrics);
        let verdict = state.selection.observe(experiment.criterion, experiment.early_stopping.as_ref(), epoch, score);
        let sums = std::mem::take(&mut state.sums);
        let line = json!({
            "kind": "epoch",
            "epoch": epoch + 1,
            "global_step": state.position.global_step,
            "train": { "loss": sums.mean_loss(), "accuracy": sums.accuracy() },
            "validation": {
                "loss": metrics.loss, "accuracy": metrics.accuracy,
                "balanced_accuracy": metrics.balanced_accuracy, "macro_f1": metrics.macro_f1,
            },
            "best": verdict.improved,
            "images_per_second": speed,
        });
        log.append(&line.to_string())?;
        draw_curve(self.folder, self.session, self.material)?;
        self.reporter.epoch(epoch, &sums, &metrics, verdict.improved, &line);
        state.position = Position { epoch: epoch + 1, step_in_epoch: 0, ..state.position };
        if verdict.improved {
            self.save(&self.folder.best(), store, state)?;
        }
        self.save(&self.folder.last(), store, state)?;
        Ok(verdict.stop)
    }

    /// The split that chooses the epoch (`true`), or the one that is reported.
    fn measure(
        &self,
        evaluator: &mut Evaluator<'_>,
        store: &mut dyn Store,
        choosing: bool,
        epoch: usize,
    ) -> Result<Option<Evaluation>> {
        let experiment = &self.session.resolved.experiment;
        let compat = experiment.paper_compat;
        // The paper's code chooses the epoch on the test set, with training's random changes.
        let (name, images) = match choosing && !compat {
            true => ("validation", &self.material.validation),
            false => ("test", &self.material.test),
        };
        let reading = Reading {
            batch: self.material.batch,
            loader: LoaderOptions {
                augment: if compat { experiment.augment.clone() } else { vec![] },
                seed: experiment.seed,
                epoch,
                workers: experiment.workers,
                prefetch: 2,
                ..LoaderOptions::default()
            },
            mean_of_batches: compat,
        };
        let found = evaluator.evaluate(store, name, images, &self.material.dataset.classes, &reading, &self.stop);
        found.map_err(|failure| self.resumable(failure))
    }

    /// Reports the best epoch's weights on the test split, once.
    fn conclude(
        &self,
        evaluator: &mut Evaluator<'_>,
        step: &Step,
        store: &mut dyn Store,
        stopped_early: bool,
        speeds: &[f64],
    ) -> Result<()> {
        let state = restore(&self.folder.best(), store, &step.graphs())?;
        let best = state.selection.best.map_or(state.position.epoch, |b| b.epoch);
        let chosen = self.measure(evaluator, store, true, best)?.ok_or_else(|| self.interrupted())?;
        let test = self.measure(evaluator, store, false, best)?.ok_or_else(|| self.interrupted())?;
        let results = Results {
            name: self.session.resolved.experiment.name.clone(),
            data: DataRecord::of(self.material),
            epochs: self.material.epochs,
            best_epoch: best + 1,
            stopped_early,
            validation: chosen.metrics.into(),
            test: test.metrics.into(),
            images_per_second: median(speeds),
            parameters: step.graphs()[0].parameter_count(),
            paper_compat: self.session.resolved.experiment.paper_compat,
        };
        write_json(&self.folder.results(), &results)?;
        draw_confusion(self.folder, &results)?;
        self.reporter.results(&results, self.folder)
    }

    /// Says how to go on after what need not happen again.
    fn resumable(&self, failure: Failure) -> Failure {
        match self.folder.last().is_file() {
            true => {
                let root = self.folder.root.display();
                failure.note(format!("the last checkpoint is kept: fer-host run --resume {root} goes on from it"))
            }
            false => failure,
        }
    }

    /// Keeps the state; a checkpoint that cannot be written leaves the one before.
    fn save(&self, path: &Path, store: &dyn Store, state: &State) -> Result<()> {
        save(path, store, self.session.resolved.experiment.seed, state).map_err(|failure| self.resumable(failure))
    }

    fn interrupted(&self) -> Failure {
        let mut failure = Failure::new("stopped; the step under way was finished and everything is saved")
            .help(format!("fer-host run --resume {}", self.folder.root.display()));
        failure.exit = 130;
        failure
    }

    /// Says which value was the first that was not finite, where that can be found out.
    fn diverged(&self, error: TrainError, watch: &Watch<'_>, step: &Step) -> Failure {
        let failure = Failure::new(error.to_string());
        let TrainError::NotFinite { .. } = error else { return self.resumable(failure) };
        let failure = match watch.first_non_finite(self.engine, step.graphs()[0]) {
            Some(place) => failure.note(format!("the first value that is not finite: {place}")),
            None => failure,
        };
        match self.folder.last().is_file() {
            true => failure.note(format!("the last good state is kept in {}", self.folder.last().display())),
            false => failure,
        }
    }
}

/// Whether a line of the log was written before the state it resumes from.
fn belongs(line: &str, state: &State) -> bool {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { return false };
    let number = |key: &str| value[key].as_u64().unwrap_or(u64::MAX);
    match value["kind"].as_str() {
        Some("step") => number("global_step") <= state.position.global_step,
        Some("epoch") => number("epoch") <= state.position.epoch as u64,
        _ => false,
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

impl EpochSums {
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.steps.max(1) as f64
    }

    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.images.max(1) as f64
    }
}
