//! `fer-host trace CONFIG`: one pass on given tensors; or one component, as a failed property leaves it.

use std::{collections::BTreeMap, path::PathBuf};

use fer_engine::{Precision, Tensor};
use fer_train::{read_safetensors, write_safetensors};

use super::output::{print, table};
use crate::{
    failure::{Failure, Result},
    session::{ConfigArguments, PrecisionArgument, Session},
    trace::{Mode, TraceRequest, reproduce, reproduction, trace},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Weights by name, full (backbone.norm.weight) or as timm and PyTorch name them; absent: drawn from the seed
    #[arg(long, value_name = "SAFETENSORS")]
    weights: Option<PathBuf>,
    /// Tensors by name: images, labels, targets, weights, rng, any named value, cotangent/<value>
    #[arg(long, value_name = "SAFETENSORS")]
    inputs: Option<PathBuf>,
    /// Where to write logits, loss, grad/<name> and values
    #[arg(long, value_name = "SAFETENSORS")]
    out: Option<PathBuf>,
    /// The training or the evaluation graph
    #[arg(long, value_enum, default_value = "eval")]
    mode: Mode,
    /// Also the gradients of the loss (or of the cotangents' sum) by parameters and float inputs
    #[arg(long)]
    grad: bool,
    /// Also the named values that match this pattern, e.g. "resizers.*"
    #[arg(long, value_name = "PATTERN")]
    values: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some((text, component)) = reproduction(&arguments.config.config)? {
        return component_alone(arguments, &text, &component);
    }
    let (Some(inputs), Some(out)) = (&arguments.inputs, &arguments.out) else {
        return Err(Failure::new("an experiment is traced with --inputs and --out, and one of them is missing")
            .help("fer-host trace CONFIG --inputs in.safetensors --out out.safetensors"));
    };
    let mut config = arguments.config.clone();
    // A comparison wants the truth: f64 unless told otherwise.
    config.precision.get_or_insert(PrecisionArgument::F64);
    let session = Session::open(config.resolve()?)?;
    let weights = arguments.weights.as_deref().map(read_safetensors).transpose()?;
    let request = TraceRequest {
        weights,
        inputs: read_safetensors(inputs)?,
        mode: arguments.mode,
        gradients: arguments.grad,
        values: arguments.values.clone(),
    };
    let answers = trace(&session, &request)?;
    write_safetensors(out, &answers, &BTreeMap::new())?;
    let rows: Vec<Vec<String>> =
        answers.iter().map(|(name, t)| vec![name.clone(), t.ty().to_string(), format!("{:.6e}", norm(t))]).collect();
    print(&format!(
        "{}\n{}",
        table(&[vec![vec!["value".into(), "type".into(), "L2 norm".into()]], rows].concat()),
        out.display()
    ))
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.to_f64().iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Everything that is asked stands in the text.
fn component_alone(
    arguments: &Arguments,
    text: &fer_contract::Reproduction,
    component: &fer_registry::Component,
) -> Result<()> {
    let config = &arguments.config;
    let given = [
        ("--inputs", arguments.inputs.is_some()),
        ("--weights", arguments.weights.is_some()),
        ("--values", arguments.values.is_some()),
        ("--set", !config.sets.is_empty()),
        ("--data", config.data.is_some()),
        ("--engine", config.engine.is_some()),
        ("--no-fuse", !config.no_fuse.is_empty()),
    ];
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
        return Err(Failure::new(format!("a reproduction is traced without {flag}"))
            .help("it says itself what is computed; --grad, --out and --precision may be given"));
    }
    let precision = match config.precision {
        None | Some(PrecisionArgument::F64) => Precision::F64,
        Some(PrecisionArgument::F32) => Precision::F32,
        Some(other @ (PrecisionArgument::Tf32 | PrecisionArgument::Bf16)) => {
            let name = format!("{other:?}").to_lowercase();
            let message = format!("the reference engine, which traces reproductions, does not compute in {name}");
            return Err(Failure::new(message).help("it has f32 and f64"));
        }
    };
    let found = reproduce(text, component, precision, arguments.grad)?;
    let mut rows = vec![["value", "type", "L2 norm", "least", "largest"].map(str::to_owned).to_vec()];
    for (name, t) in &found.answers {
        let values = t.to_f64();
        let (least, largest) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        let numbers = [norm(t), least, largest].map(|v| format!("{v:.6e}"));
        rows.push([vec![name.clone(), t.ty().to_string()], numbers.to_vec()].concat());
    }
    let mut blocks = vec![format!("{} {}\n  {}", text.kind, text.id, text.case)];
    if !found.answers.is_empty() {
        blocks.push(table(&rows));
    }
    match &found.property {
        Some((name, Some(message))) => blocks.push(format!("{name:?} does not hold: {message}")),
        Some((name, None)) => blocks.push(format!("{name:?} holds here")),
        None => {}
    }
    if let Some(out) = &arguments.out {
        write_safetensors(out, &found.answers, &BTreeMap::new())?;
        blocks.push(out.display().to_string());
    }
    print(&blocks.join("\n\n"))
}
