//! The data of a run: the opened set, its images, the prior, the class weights.

use std::sync::Arc;

use fer_config::{ClassWeights, ConfigError, Prior, Resolved};
use fer_data::{
    Dataset, ImageSet, Pixels, Split,
    prior::{PriorTable, estimate_prior, prior_for, prior_from_csv},
    spec::{DataSpec, Otherwise},
};

use crate::{
    compose::{Recipe, did_you_mean, uses_prior},
    failure::{Failure, Result},
};

/// Decoded images kept in memory, at most.
const CACHE_BYTES: usize = 2 << 30;

/// Everything the run takes from its data.
pub struct Material {
    pub dataset: Dataset,
    pub pixels: Pixels,
    pub train: Arc<ImageSet>,
    pub validation: Arc<ImageSet>,
    pub test: Arc<ImageSet>,
    pub prior: PriorTable,
    pub class_weights: Option<Vec<f32>>,
    /// The experiment's, or fewer where the built-in faces stand in.
    pub epochs: usize,
    /// The experiment's, or fewer where the built-in faces stand in.
    pub batch: usize,
}

impl Material {
    /// # Errors
    /// A data set that is absent, broken, or too small for the experiment.
    pub fn open(resolved: &Resolved, recipe: &Recipe) -> Result<Material> {
        let experiment = &resolved.experiment;
        let mut dataset = fer_data::open(&experiment.data, experiment.seed)
            .map_err(|e| resolved.error_at("data", &e.to_string(), "asked for here", None))?;
        let pixels = dataset.prepare(&experiment.images)?;
        let prior = prior(resolved, recipe, &dataset)?;
        let class_weights = class_weights(resolved, &dataset)?;
        let classes = dataset.classes.len();
        let set = |split: Split| -> Result<Arc<ImageSet>> {
            Ok(Arc::new(ImageSet::new(dataset.split(split).to_vec(), classes, pixels, CACHE_BYTES / 3)?))
        };
        let train = set(Split::Train)?;
        let (epochs, batch) = limits(resolved, &dataset);
        if batch > train.len() {
            let message = format!("batch {batch} is larger than the {} training images", train.len());
            let help = format!("set batch to at most {}", train.len());
            return Err(resolved.error_at("batch", &message, "asked for here", Some(&help)).into());
        }
        Ok(Material {
            pixels,
            train,
            validation: set(Split::Validation)?,
            test: set(Split::Test)?,
            prior,
            class_weights,
            epochs,
            batch,
            dataset,
        })
    }
}

/// Epochs and batch: the experiment's, unless built-in faces are used and say otherwise.
fn limits<'r>(resolved: &'r Resolved, dataset: &Dataset) -> (usize, usize) {
    let experiment = &resolved.experiment;
    let stands_in = |otherwise: &'r Option<Otherwise>| {
        let Otherwise::Builtin(faces) = otherwise.as_ref().filter(|_| dataset.substitute_for.is_some())?;
        Some(faces)
    };
    let faces = match &experiment.data {
        DataSpec::FerPlus { otherwise, .. }
        | DataSpec::Fer2013 { otherwise, .. }
        | DataSpec::RafDb { otherwise, .. }
        | DataSpec::AffectNet { otherwise, .. }
        | DataSpec::CkPlus { otherwise, .. }
        | DataSpec::ImageFolder { otherwise, .. } => stands_in(otherwise),
        DataSpec::Builtin(faces) => Some(faces),
    };
    let epochs = faces.and_then(|f| f.epochs).unwrap_or(experiment.epochs);
    (epochs, faces.and_then(|f| f.batch).unwrap_or(experiment.batch))
}

fn prior(resolved: &Resolved, recipe: &Recipe, dataset: &Dataset) -> Result<PriorTable> {
    let at = |e: fer_data::DataError, help: &str| -> Failure {
        resolved.error_at("prior", &e.to_string(), "asked for here", Some(help)).into()
    };
    match &resolved.experiment.prior {
        Prior::Paper => {
            // The paper's table speaks of FERPlus's classes. A loss without a prior works on any others.
            if let Ok(table) = prior_for(&dataset.classes) {
                return Ok(table);
            }
            let k = dataset.classes.len();
            if !uses_prior(resolved, &recipe.loss, k)? {
                return Ok(PriorTable { classes: dataset.classes.clone(), rows: vec![vec![1.0 / k as f64; k]; k] });
            }
            prior_for(&dataset.classes)
                .map_err(|e| at(e, "give prior: File(\"table.csv\"), or prior: Votes where there are votes"))
        }
        Prior::Votes => estimate_prior(&dataset.train).map_err(|e| at(e, "prior: Paper needs no votes")),
        Prior::File(path) => {
            let table = prior_from_csv(path)
                .map_err(|e| at(e, "one header row and one column of class names, rows that sum to 1"))?;
            Ok(table
                .select(&dataset.classes)
                .map_err(|e| at(e, "the file must have a row and a column for every class"))?)
        }
    }
}

fn class_weights(resolved: &Resolved, dataset: &Dataset) -> Result<Option<Vec<f32>>> {
    Ok(match &resolved.experiment.class_weights {
        ClassWeights::None => None,
        ClassWeights::Balanced => Some(dataset.balanced_weights()),
        ClassWeights::Values(values) => {
            let mut weights = vec![1.0f64; dataset.classes.len()];
            for (name, weight) in values {
                let Some(i) = dataset.classes.iter().position(|c| c == name) else {
                    return Err(unknown_class(resolved, dataset, name).into());
                };
                weights[i] = *weight;
            }
            // Mean 1 over the training images, so that the learning rate keeps its meaning.
            let [train, ..] = dataset.counts();
            let total: f64 = train.iter().zip(&weights).map(|(&n, w)| n as f64 * w).sum();
            let scale = dataset.train.len() as f64 / total;
            Some(weights.into_iter().map(|w| (w * scale) as f32).collect())
        }
    })
}

fn unknown_class(resolved: &Resolved, dataset: &Dataset, name: &str) -> ConfigError {
    let help = did_you_mean(name, dataset.classes.iter().map(String::as_str));
    let message = format!("{} has no class {name:?}; it has {}", dataset.name, dataset.classes.join(", "));
    resolved.error_at("class_weights", &message, "asked for here", help.as_deref())
}
