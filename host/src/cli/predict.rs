//! `fer-host predict RUN IMAGE...`: the classes of given images.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use fer_data::{DataError, ImageSource, Pixels, Sample, decode::decode};
use fer_engine::{Executable, Feeds, Tensor};
use rayon::prelude::*;
use serde_json::json;

use super::output::{print, print_json};
use crate::{
    failure::{Failure, Result},
    run::{FinishedRun, Model, Weights, progress, softmax},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A run folder, or the folder of an experiment's runs (the newest is taken)
    run: PathBuf,
    /// Images, or folders of images
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "best")]
    weights: Weights,
    /// Images at once
    #[arg(long, default_value_t = 32)]
    batch: usize,
    #[arg(long)]
    json: bool,
}

const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "webp", "pgm", "ppm"];

pub fn run(arguments: &Arguments) -> Result<()> {
    let files = files(&arguments.images)?;
    let mut finished = FinishedRun::open(&arguments.run, arguments.weights)?;
    let data = finished.environment.data.clone();
    let pixels = Pixels { channels: data.images.channels, size: data.images.size };
    let classes = data.classes.len();
    let model = Model::of(&finished.session, pixels, classes, vec![1.0 / classes as f64; classes * classes]);
    let batch = arguments.batch.max(1);
    let bar = progress::evaluating("images", files.len() as u64);
    let (mut rows, mut unreadable) = (vec![], vec![]);
    let (images, incoming) = sync_channel(batch);
    let reader = std::thread::spawn(move || read_all(&files, pixels, batch, &images));
    let mut next = || Part::take(&incoming, batch, pixels, &mut unreadable);
    let mut compiled: Option<(usize, Box<dyn Executable>)> = None;
    let mut ahead = next();
    while let Some(part) = ahead.take() {
        let count = part.paths.len();
        if compiled.as_ref().is_none_or(|(n, _)| *n != count) {
            let graph = finished.fitted(&model.prediction(count)?)?;
            compiled = Some((count, finished.engine.compile(&graph)?));
        }
        let executable = &compiled.as_ref().expect("compiled above").1;
        let outputs = executable.run_ahead(finished.store.as_mut(), &part.feeds, &mut || {
            ahead = ahead.take().or_else(&mut next);
            ahead.as_ref().map(|part| part.feeds.clone())
        })?;
        ahead = ahead.or_else(&mut next);
        let logits = outputs.get("logits").map(Tensor::to_f64).unwrap_or_default();
        rows.extend(part.paths.into_iter().zip(logits.chunks_exact(classes).map(softmax)));
        bar.inc(count as u64);
    }
    // That it ended early would look like the end of the images.
    if let Err(panic) = reader.join() {
        std::panic::resume_unwind(panic);
    }
    bar.finish_and_clear();
    show(arguments.json, &rows, &unreadable, &data.classes)?;
    match unreadable.as_slice() {
        [] => Ok(()),
        [(path, reason), ..] => {
            let n = unreadable.len();
            let images = if n == 1 { "image" } else { "images" };
            Err(Failure::new(format!("{n} {images} could not be read, the first is {}: {reason}", path.display())))
        }
    }
}

fn show(
    as_json: bool,
    rows: &[(PathBuf, Vec<f64>)],
    unreadable: &[(PathBuf, String)],
    classes: &[String],
) -> Result<()> {
    if as_json {
        let mut list: Vec<_> = rows
            .iter()
            .map(|(path, p)| {
                let shares: serde_json::Map<String, serde_json::Value> =
                    classes.iter().zip(p).map(|(c, v)| (c.clone(), json!(v))).collect();
                json!({ "image": path, "class": classes[largest(p)], "probabilities": shares })
            })
            .collect();
        list.extend(unreadable.iter().map(|(path, reason)| json!({ "image": path, "error": reason })));
        return print_json(&list);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let width = rows.iter().map(|(p, _)| p.display().to_string().chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(path, p)| {
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
        let top: Vec<String> =
            order.iter().take(3).map(|&c| format!("{:<9} {:>5.1} %", classes[c], 100.0 * p[c])).collect();
        format!("{:<width$}   {}", path.display().to_string(), top.join("   "))
    });
    print(&lines.collect::<Vec<_>>().join("\n"))
}

fn largest(row: &[f64]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// An image, and its numbers or why it has none.
type Image = (PathBuf, Result<Vec<u8>, String>);

/// Reads images in their order, as many side by side as a batch has and there are cores for. Ends early where nobody wants them any more.
fn read_all(files: &[PathBuf], pixels: Pixels, batch: usize, to: &SyncSender<Image>) {
    for part in files.chunks(batch) {
        let images: Vec<Image> = part.par_iter().map(|path| (path.clone(), read(path, pixels))).collect();
        for image in images {
            if to.send(image).is_err() {
                return;
            }
        }
    }
}

/// Images of one step.
struct Part {
    paths: Vec<PathBuf>,
    feeds: Arc<Feeds>,
}

impl Part {
    /// The next ones that could be read, `batch` of them if there are as many.
    fn take(
        images: &Receiver<Image>,
        batch: usize,
        pixels: Pixels,
        unreadable: &mut Vec<(PathBuf, String)>,
    ) -> Option<Part> {
        let (mut paths, mut bytes) = (vec![], vec![]);
        while paths.len() < batch
            && let Ok((path, image)) = images.recv()
        {
            match image {
                Ok(image) => {
                    paths.push(path);
                    bytes.extend(image);
                }
                Err(reason) => unreadable.push((path, reason)),
            }
        }
        let shape = [paths.len(), pixels.channels, pixels.size, pixels.size];
        let feeds = Feeds::from([("images".to_owned(), Tensor::u8(shape, bytes))]);
        (!paths.is_empty()).then(|| Part { paths, feeds: Arc::new(feeds) })
    }
}

fn read(path: &Path, pixels: Pixels) -> Result<Vec<u8>, String> {
    let bytes = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    let sample = Sample {
        id: path.display().to_string(),
        image: ImageSource::File { path: path.to_owned(), crop: None, bytes },
        label: 0,
        target: None,
        votes: None,
        subject: None,
    };
    decode(&sample, pixels).map_err(|error| match error {
        // Its own text names the path again, and advises a setting of training runs.
        DataError::Unreadable { reason, .. } => reason,
        other => other.to_string(),
    })
}

/// The images given, and those directly in the folders given, in the order of their names.
fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries =
            std::fs::read_dir(path).map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))?;
        let is_image = |p: &PathBuf| {
            p.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e.to_lowercase().as_str()))
        };
        let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(is_image).collect();
        if found.is_empty() {
            return Err(Failure::new(format!("{} holds no images", path.display()))
                .note(format!("images end in {}", ENDINGS.join(", "))));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}
