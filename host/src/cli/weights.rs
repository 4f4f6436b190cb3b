//! `fer-host weights inspect FILE`, `weights convert IN OUT`, `weights fetch NAME`: weight files on their own.

use std::{
    cell::{Cell, RefCell},
    io::IsTerminal,
    path::{Path, PathBuf},
};

use fer_train::write_safetensors;
use fer_weights::{Fetched, Format, HubName, Inspection, ModelCard, fetch, inspect, read};
use indicatif::ProgressBar;
use serde_json::json;

use super::output::{binary, grouped, print, print_json, table};
use crate::{
    failure::{Failure, Result},
    run::progress::fetching,
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List what a safetensors file or a PyTorch state dict holds
    Inspect {
        file: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Write a weight file as safetensors, under the same names
    Convert {
        /// A safetensors file or a PyTorch state dict
        input: PathBuf,
        /// A file whose name ends with .safetensors
        output: PathBuf,
        /// Replace the output where it exists
        #[arg(long)]
        force: bool,
    },
    /// Get a model's weights from the hub into the cache, and print where they lie
    Fetch {
        /// owner/name, owner/name@revision, owner/name:file or owner/name@revision:file
        name: String,
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Inspect { file, json } => show(&inspect(file)?, *json),
        Command::Convert { input, output, force } => convert(input, output, *force),
        Command::Fetch { name, json } => get(&name.parse()?, *json),
    }
}

fn show(inspection: &Inspection, as_json: bool) -> Result<()> {
    if as_json {
        let mut value =
            serde_json::to_value(inspection).map_err(|e| Failure::new(format!("cannot write JSON: {e}")))?;
        value["elements"] = json!(inspection.elements());
        return print_json(&value);
    }
    let mut rows = vec![["name", "type", "shape", "elements"].map(str::to_owned).to_vec()];
    rows.extend(inspection.tensors.iter().map(|tensor| {
        let shape = tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        // A tensor of no axes is one number.
        let shape = if shape.is_empty() { "-".to_owned() } else { shape };
        vec![tensor.name.escape_debug().to_string(), tensor.dtype.to_string(), shape, grouped(tensor.elements)]
    }));
    let mut blocks = vec![
        format!("{}: {}, {}", inspection.path.display(), inspection.format, binary(inspection.bytes as f64)),
        table(&rows),
        format!("{} tensors, {} elements", grouped(inspection.tensors.len() as u64), grouped(inspection.elements())),
    ];
    if !inspection.metadata.is_empty() {
        let lines = inspection.metadata.iter().map(|(key, value)| {
            let shown: String = value.chars().take(VALUE).collect();
            let rest = if shown.len() < value.len() { "..." } else { "" };
            format!("  {} = {}{rest}", key.escape_debug(), shown.escape_debug())
        });
        blocks.push(format!("metadata\n{}", lines.collect::<Vec<_>>().join("\n")));
    }
    blocks.extend(inspection.notes.iter().map(|note| format!("note: {note}")));
    print(&blocks.join("\n\n"))
}

/// Characters of a metadata value that are shown; a checkpoint keeps whole documents there.
const VALUE: usize = 200;

fn convert(input: &Path, output: &Path, force: bool) -> Result<()> {
    if output.extension().is_none_or(|e| e != "safetensors") {
        return Err(Failure::new(format!(
            "weights are written as safetensors, and {} is not named so",
            output.display()
        ))
        .help(format!(
            "fer-host weights convert {} {}",
            input.display(),
            output.with_extension("safetensors").display()
        )));
    }
    if output.exists() && !force {
        return Err(
            Failure::new(format!("{} exists", output.display())).help("choose another name, or --force to replace it")
        );
    }
    let mut weights = read(input)?;
    if weights.format == Format::PyTorch {
        // What PyTorch's own writer says; other readers of safetensors ask for it.
        weights.metadata.insert("format".into(), "pt".into());
    }
    write_safetensors(output, &weights.tensors, &weights.metadata)?;
    let mut lines = vec![format!("{}: {} tensors", output.display(), grouped(weights.tensors.len() as u64))];
    lines.extend(weights.notes.iter().map(|note| format!("note: {note}")));
    print(&lines.join("\n"))
}

fn get(name: &HubName, as_json: bool) -> Result<()> {
    let progress = Progress::new(name);
    let fetched = fetch(name, &|bytes, total| progress.show(bytes, total));
    progress.end();
    let fetched = fetched?;
    if as_json {
        return print_json(&fetched);
    }
    about(&fetched).iter().for_each(|line| eprintln!("{line}"));
    print(&fetched.path.display().to_string())
}

/// What came, for people: standard output has the path alone, for scripts.
fn about(fetched: &Fetched) -> Vec<String> {
    let Fetched { repo, revision, file, bytes, sha256, .. } = fetched;
    let how = match (fetched.downloaded, fetched.verified) {
        (false, _) => "in the cache",
        (true, true) => "fetched, its sha256 is the hub's",
        (true, false) => "fetched; the hub names no sha256 to compare it with",
    };
    let mut lines =
        vec![format!("{repo}@{revision:.12} {file}: {}, {how}", binary(*bytes as f64)), format!("sha256 {sha256}")];
    lines.extend(fetched.card.as_ref().and_then(card));
    lines
}

/// `vit_tiny_patch16_224, images 3 x 224 x 224 bicubic, mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5], 1000 classes`.
fn card(card: &ModelCard) -> Option<String> {
    let parts = [
        card.architecture.clone(),
        card.input_size.map(|[c, h, w]| {
            let how = card.interpolation.as_ref().map(|i| format!(" {i}")).unwrap_or_default();
            format!("images {c} x {h} x {w}{how}")
        }),
        card.mean.as_ref().map(|mean| format!("mean {mean:?}")),
        card.std.as_ref().map(|std| format!("std {std:?}")),
        card.num_classes.map(|classes| format!("{classes} classes")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A bar on a terminal, a line each tenth when piped; nothing of it where nothing comes in.
struct Progress {
    name: String,
    bar: RefCell<Option<ProgressBar>>,
    tenth: Cell<Option<u64>>,
}

impl Progress {
    fn new(name: &HubName) -> Progress {
        Progress { name: name.to_string(), bar: RefCell::new(None), tenth: Cell::new(None) }
    }

    fn show(&self, bytes: u64, total: u64) {
        if std::io::stderr().is_terminal() {
            let mut bar = self.bar.borrow_mut();
            let bar = bar.get_or_insert_with(|| fetching(&self.name));
            bar.set_length(total);
            bar.set_position(bytes);
            return;
        }
        let tenth = (u128::from(bytes) * 10).checked_div(total.into()).map_or(0, |tenth| tenth as u64);
        if self.tenth.replace(Some(tenth)) != Some(tenth) {
            eprintln!("fetching {}: {} of {}", self.name, binary(bytes as f64), binary(total as f64));
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
