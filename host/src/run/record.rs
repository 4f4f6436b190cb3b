//! What a run folder says of a run: `environment.json` at its start, `results.json` at its end.

use std::collections::BTreeMap;

use fer_config::Resolved;
use fer_engine::Engine;
use fer_train::{Metrics, wilson};
use serde::{Deserialize, Serialize};

use super::material::Material;
use crate::{
    compose::{Recipe, RecipePart},
    failure::{Failure, Result},
    trust::time_of,
    weights::PretrainedRecord,
};

/// With what a run was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub fer_host: String,
    pub fer_abi: String,
    pub rustc: String,
    pub system: String,
    pub engine: String,
    pub precision: String,
    /// What results depend on beside that: an instruction set, a card.
    #[serde(default)]
    pub device: String,
    pub threads: usize,
    pub seed: u64,
    pub config_files: Vec<String>,
    pub plugins: Vec<PluginRecord>,
    pub data: DataRecord,
    /// The weights that the run began with, by component.
    #[serde(default)]
    pub pretrained: Vec<PretrainedRecord>,
}

/// A component that took part, and its library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Where the config names it: `model.resizers.1`.
    #[serde(default)]
    pub path: String,
    pub kind: String,
    pub id: String,
    pub version: String,
    /// The boundary's version that the library speaks.
    #[serde(default)]
    pub abi: String,
    pub library: String,
    /// Of the library's bytes that were loaded.
    pub sha256: String,
    /// When the library's file was written, in UTC.
    #[serde(default)]
    pub modified: Option<String>,
    /// The library's size.
    #[serde(default)]
    pub bytes: u64,
}

impl PluginRecord {
    fn of(part: &RecipePart) -> Result<PluginRecord> {
        let component = &part.component;
        Ok(PluginRecord {
            path: part.path.clone(),
            kind: component.kind().to_owned(),
            id: component.id().to_owned(),
            version: component.version().to_owned(),
            abi: component.abi().to_owned(),
            library: component.library().display().to_string(),
            sha256: component.sha256().to_owned(),
            modified: component.modified().and_then(time_of),
            bytes: component.length(),
        })
    }
}

/// The data a run saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    pub name: String,
    /// How it was read: vote source, label mode.
    pub origin: String,
    /// The data set these stand in for, where it was absent.
    pub substitute_for: Option<String>,
    /// What the model is given.
    pub images: ImageRecord,
    pub classes: Vec<String>,
    pub counts: Counts,
    pub class_counts: BTreeMap<String, Vec<usize>>,
    pub dropped: BTreeMap<String, usize>,
    /// SHA-256 over samples, labels and file sizes.
    pub fingerprint: String,
}

/// Channels and side in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    pub channels: usize,
    pub size: usize,
}

/// Images by split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub train: usize,
    pub validation: usize,
    pub test: usize,
}

impl DataRecord {
    pub fn of(material: &Material) -> DataRecord {
        let set = &material.dataset;
        let [train, validation, test] = set.counts();
        DataRecord {
            name: set.name.clone(),
            origin: set.origin.clone(),
            substitute_for: set.substitute_for.clone(),
            images: ImageRecord { channels: material.pixels.channels, size: material.pixels.size },
            classes: set.classes.clone(),
            counts: Counts { train: set.train.len(), validation: set.validation.len(), test: set.test.len() },
            class_counts: [("train", train), ("validation", validation), ("test", test)]
                .map(|(name, counts)| (name.to_owned(), counts))
                .into(),
            dropped: set.dropped.clone(),
            fingerprint: set.fingerprint(),
        }
    }
}

impl Environment {
    /// # Errors
    /// A library that has changed since it was found.
    pub fn of(resolved: &Resolved, recipe: &Recipe, engine: &dyn Engine, material: &Material) -> Result<Environment> {
        Ok(Environment {
            fer_host: env!("CARGO_PKG_VERSION").into(),
            fer_abi: fer_abi::VERSION.into(),
            rustc: env!("FER_RUSTC").into(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            engine: engine.name().into(),
            precision: engine.precision_name().into(),
            device: engine.device(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            seed: resolved.experiment.seed,
            config_files: resolved.files().map(|f| f.display().to_string()).collect(),
            plugins: recipe.parts().map(PluginRecord::of).collect::<Result<_>>()?,
            data: DataRecord::of(material),
            pretrained: vec![],
        })
    }
}

/// What is to be said where components come from other libraries than they did.
pub fn changed_plugins(then: &Environment, now: &Environment) -> Option<Failure> {
    let before = |p: &PluginRecord| then.plugins.iter().find(|q| (&q.kind, &q.id) == (&p.kind, &p.id)).cloned();
    let same = |p: &PluginRecord| before(p).is_some_and(|q| q.sha256 == p.sha256);
    let mut changed: Vec<&PluginRecord> = now.plugins.iter().filter(|p| !same(p)).collect();
    changed.dedup_by_key(|p| (&p.kind, &p.id));
    let names: Vec<&str> = changed.iter().map(|p| p.id.as_str()).collect();
    if changed.is_empty() {
        return None;
    }
    let tell = |failure: Failure, p: &PluginRecord| {
        let time = p.modified.as_ref().map_or(String::new(), |time| format!(", changed {time}"));
        failure
            .note(format!("{} {}: {}", p.kind, p.id, p.library))
            .note(format!("  then: {}", before(p).map_or("not there".into(), |q| q.sha256)))
            .note(format!("  now:  {}{time}", p.sha256))
    };
    let failure = Failure::new(format!("plugin libraries have changed since the run began: {}", names.join(", ")));
    Some(changed.into_iter().fold(failure, tell))
}

/// One split's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitResult {
    #[serde(flatten)]
    pub metrics: Metrics,
    /// 95 % Wilson interval of the accuracy.
    pub accuracy_interval: (f64, f64),
}

impl From<Metrics> for SplitResult {
    fn from(metrics: Metrics) -> SplitResult {
        let right = (0..metrics.confusion.len()).map(|c| metrics.confusion[c][c]).sum();
        let accuracy_interval = wilson(right, metrics.count);
        SplitResult { metrics, accuracy_interval }
    }
}

/// What came out. Epochs count from 1, as on the screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub name: String,
    pub data: DataRecord,
    pub epochs: usize,
    pub best_epoch: usize,
    pub stopped_early: bool,
    /// The best epoch's.
    pub validation: SplitResult,
    /// Of the best epoch's weights, computed once, after training.
    pub test: SplitResult,
    /// Training throughput, the median over epochs.
    pub images_per_second: f64,
    pub parameters: usize,
    /// True where the run follows the paper's own evaluation, whose numbers are not comparable with a clean protocol's.
    pub paper_compat: bool,
}
