//! What another framework needs to train the same experiment: the weights that it starts from, the images, their order.

use std::{collections::BTreeMap, fs, path::Path};

use fer_data::{
    Batch, ImageSet, Loader, LoaderOptions,
    sampler::{batches, epoch_order},
};
use fer_engine::{Engine, Precision, Tensor};
use fer_engine_dfdx::DfdxEngine;
use fer_train::{initialise, write_atomically, write_safetensors};

use super::{material::Material, model::Model};
use crate::{
    compose::colours,
    failure::{Failure, Result},
    session::Session,
    weights::{Network, Pretrained},
};

/// What was written where.
#[derive(Clone, Copy, Debug)]
pub struct Exported {
    /// Tensors of weights and running statistics.
    pub weights: usize,
    /// Of training, validation, test.
    pub images: [usize; 3],
    pub epochs: usize,
    /// Batches in an epoch, and images in a batch.
    pub batches: [usize; 2],
}

/// The names of the files in the folder.
pub const CONFIG: &str = "config.ron";
pub const WEIGHTS: &str = "initial.safetensors";
pub const DATA: &str = "data.safetensors";

/// Images that are read at once.
const CHUNK: usize = 256;

/// Writes the experiment's config, first weights and data into a new or empty folder.
///
/// # Errors
/// A folder that holds something, an experiment that changes its images at random, and what can be wrong with data and weights.
pub fn export(session: &Session, material: &Material, folder: &Path) -> Result<Exported> {
    let experiment = &session.resolved.experiment;
    if !experiment.augment.is_empty() {
        let message = "images that are changed at random are others in every epoch, and cannot be exported once";
        let help = "train both sides without: --set augment=[]";
        return Err(session.resolved.error_at("augment", message, "asked for here", Some(help)).into());
    }
    let fail = |doing: &str, e: std::io::Error| Failure::new(format!("cannot {doing} {}: {e}", folder.display()));
    fs::create_dir_all(folder).map_err(|e| fail("create", e))?;
    if let Some(entry) = fs::read_dir(folder).map_err(|e| fail("read", e))?.next() {
        let name = entry.map_err(|e| fail("read", e))?.file_name();
        let message = format!("{} is not empty: it holds {}", folder.display(), name.display());
        return Err(Failure::new(message).help("name a new folder, or remove this one"));
    }
    let weights = weights(session, material)?;
    let order = order(session, material);
    let exported = Exported {
        weights: weights.len(),
        images: [&material.train, &material.validation, &material.test].map(|set| set.len()),
        epochs: material.epochs,
        batches: [material.train.len() / material.batch, material.batch],
    };
    let mut data = BTreeMap::from([("order".to_owned(), order)]);
    let (mean, deviation) = colours(&experiment.normalise);
    let classes = material.dataset.classes.len();
    let prior = material.prior.rows.iter().flatten().copied().collect();
    data.insert("mean".to_owned(), Tensor::f64([3], mean.to_vec()));
    data.insert("deviation".to_owned(), Tensor::f64([3], deviation.to_vec()));
    data.insert("prior".to_owned(), Tensor::f64([classes, classes], prior));
    for (name, set) in [("train", &material.train), ("validation", &material.validation), ("test", &material.test)] {
        // As in a run, classes count differently in training alone.
        let class_weights = material.class_weights.clone().filter(|_| name == "train");
        let split = split(set, class_weights, experiment.workers)?;
        data.extend(split.into_iter().map(|(part, tensor)| (format!("{name}/{part}"), tensor)));
    }
    write_atomically(&folder.join(CONFIG), session.resolved.text.as_bytes())?;
    write_safetensors(&folder.join(WEIGHTS), &weights, &BTreeMap::new())?;
    write_safetensors(&folder.join(DATA), &data, &BTreeMap::new())?;
    Ok(exported)
}

/// Parameters and running statistics as a run has them before its first step. They are the same on every engine.
fn weights(session: &Session, material: &Material) -> Result<BTreeMap<String, Tensor>> {
    let graph = Model::new(session, material).training(material.batch)?;
    let mut store = DfdxEngine::new(Precision::F32).store();
    Pretrained::gather(session, &graph, Network::Allowed(&|_, _, _| {}))?.write(store.as_mut());
    initialise(&graph, session.resolved.experiment.seed, store.as_mut())?;
    Ok(store.names().into_iter().filter_map(|name| store.read(&name).map(|tensor| (name, tensor))).collect())
}

/// `i32[epochs, batches, batch]`: which training images an epoch's batches hold, as a run takes them.
fn order(session: &Session, material: &Material) -> Tensor {
    let experiment = &session.resolved.experiment;
    let labels = material.train.labels();
    let epochs = (0..material.epochs).flat_map(|epoch| {
        let order = epoch_order(&labels, experiment.sampling, experiment.seed, epoch);
        batches(&order, material.batch, true).concat()
    });
    let indices: Vec<i32> = epochs.map(|index| index as i32).collect();
    Tensor::i32([material.epochs, labels.len() / material.batch, material.batch], indices)
}

/// A split's images and what is true of them, in its own order.
fn split(
    set: &std::sync::Arc<ImageSet>,
    class_weights: Option<Vec<f32>>,
    workers: usize,
) -> Result<Vec<(&'static str, Tensor)>> {
    let all: Vec<usize> = (0..set.len()).collect();
    let options = LoaderOptions { class_weights, workers, prefetch: 2, ..LoaderOptions::default() };
    let mut whole = Batch::default();
    for batch in Loader::start(set.clone(), &batches(&all, CHUNK, false), options)? {
        let batch = batch?;
        whole.images.extend(batch.images);
        whole.labels.extend(batch.labels);
        whole.targets.extend(batch.targets);
        whole.weights.extend(batch.weights);
    }
    let (n, pixels) = (set.len(), set.pixels());
    Ok(vec![
        ("images", Tensor::u8([n, pixels.channels, pixels.size, pixels.size], whole.images)),
        ("labels", Tensor::i32([n], whole.labels)),
        ("targets", Tensor::f32([n, set.classes()], whole.targets)),
        ("weights", Tensor::f32([n], whole.weights)),
    ])
}
