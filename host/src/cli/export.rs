//! `fer-host export CONFIG --out FOLDER`: what another framework needs to train the same experiment.

use std::path::PathBuf;

use serde_json::json;

use super::output::{grouped, print, print_json};
use crate::{
    failure::Result,
    run::{
        Material,
        export::{CONFIG, DATA, WEIGHTS, export},
    },
    session::{ConfigArguments, Session},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// A new folder for config.ron, initial.safetensors and data.safetensors
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::open(arguments.config.resolve()?)?;
    let material = Material::open(&session.resolved, &session.recipe)?;
    if let Some(notice) = &material.dataset.notice {
        eprintln!("{notice}");
    }
    let found = export(&session, &material, &arguments.out)?;
    let file = |name: &str| arguments.out.join(name).display().to_string();
    if arguments.json {
        return print_json(&json!({
            "config": file(CONFIG),
            "weights": file(WEIGHTS),
            "data": file(DATA),
            "tensors": found.weights,
            "images": { "train": found.images[0], "validation": found.images[1], "test": found.images[2] },
            "epochs": found.epochs,
            "batches": found.batches[0],
            "batch": found.batches[1],
        }));
    }
    let [train, validation, test] = found.images.map(|count| grouped(count as u64));
    let [batches, batch] = found.batches;
    print(&format!(
        "{}: the whole experiment\n\
         {}: {} tensors, as before the first step\n\
         {}: {train} images to train on, {validation} and {test} to validate and test; epochs: {}, each of {batches} batches of {batch}",
        file(CONFIG),
        file(WEIGHTS),
        found.weights,
        file(DATA),
        found.epochs,
    ))
}
