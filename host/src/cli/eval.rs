//! `fer-host eval RUN`: measures a run's weights on a split.

use std::{path::PathBuf, sync::atomic::AtomicBool};

use fer_data::LoaderOptions;
use serde_json::json;

use super::output::{print, print_json, table};
use crate::{
    failure::{Failure, Result},
    run::{DataRecord, Evaluator, FinishedRun, Material, Model, Reading, SplitResult, Weights},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A run folder, or the folder of an experiment's runs (the newest is taken)
    run: PathBuf,
    #[arg(long, value_enum, default_value = "test")]
    split: SplitArgument,
    #[arg(long, value_enum, default_value = "best")]
    weights: Weights,
    /// Images at once; the run's batch when absent
    #[arg(long)]
    batch: Option<usize>,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SplitArgument {
    Train,
    Validation,
    Test,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut finished = FinishedRun::open(&arguments.run, arguments.weights)?;
    let material = Material::open(&finished.session.resolved, &finished.session.recipe)?;
    let now = DataRecord::of(&material);
    if now.fingerprint != finished.environment.data.fingerprint {
        return Err(Failure::new("the data is not the data of the run")
            .note(format!("then: {} {}", finished.environment.data.name, finished.environment.data.fingerprint))
            .note(format!("now:  {} {}", now.name, now.fingerprint)));
    }
    let (name, images) = match arguments.split {
        SplitArgument::Train => ("train", &material.train),
        SplitArgument::Validation => ("validation", &material.validation),
        SplitArgument::Test => ("test", &material.test),
    };
    let batch = arguments.batch.unwrap_or(material.batch).max(1);
    let model = Model::new(&finished.session, &material);
    finished.fitted(&model.evaluation(1)?)?;
    let mut evaluator = Evaluator::new(&model, finished.engine.as_ref());
    let workers = finished.session.resolved.experiment.workers;
    let reading =
        Reading { batch, loader: LoaderOptions { workers, prefetch: 2, ..Default::default() }, mean_of_batches: false };
    let never = AtomicBool::new(false);
    let found =
        evaluator.evaluate(finished.store.as_mut(), name, images, &material.dataset.classes, &reading, &never)?;
    let found = found.ok_or_else(|| Failure::new("the evaluation was stopped"))?;
    let result = SplitResult::from(found.metrics);
    if arguments.json {
        let record = json!({ "run": finished.folder.root, "split": name, "data": now, "result": result });
        return print_json(&record);
    }
    print(&text(name, &now, &result))
}

fn text(split: &str, data: &DataRecord, result: &SplitResult) -> String {
    let m = &result.metrics;
    let percent = |v: f64| format!("{:.1}", 100.0 * v);
    let mut classes = vec![["class", "images", "precision", "recall", "F1"].map(str::to_owned).to_vec()];
    for c in &m.per_class {
        classes.push(vec![
            c.name.clone(),
            c.support.to_string(),
            percent(c.precision),
            percent(c.recall),
            percent(c.f1),
        ]);
    }
    let mut confusion = vec![[vec!["truth \\ answer".to_owned()], data.classes.clone()].concat()];
    for (name, row) in data.classes.iter().zip(&m.confusion) {
        confusion.push([vec![name.clone()], row.iter().map(u64::to_string).collect()].concat());
    }
    let (low, high) = result.accuracy_interval;
    format!(
        "{} {split}: {} images\naccuracy {} % ({} to {})   balanced {}   macro F1 {}   loss {:.4}\n\n{}\n\n{}",
        data.name,
        m.count,
        percent(m.accuracy),
        percent(low),
        percent(high),
        percent(m.balanced_accuracy),
        percent(m.macro_f1),
        m.loss,
        table(&classes),
        table(&confusion)
    )
}
