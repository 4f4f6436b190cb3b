//! `fer-host trace CONFIG`: one pass on given tensors.

use std::{collections::BTreeMap, path::PathBuf};

use fer_train::{read_safetensors, write_safetensors};

use super::output::{print, table};
use crate::{
    failure::Result,
    session::{ConfigArguments, PrecisionArgument, Session},
    trace::{Mode, TraceRequest, trace},
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
    inputs: PathBuf,
    /// Where to write logits, loss, grad/<name> and values
    #[arg(long, value_name = "SAFETENSORS")]
    out: PathBuf,
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
    let mut config = arguments.config.clone();
    // A comparison wants the truth: f64 unless told otherwise.
    config.precision.get_or_insert(PrecisionArgument::F64);
    let session = Session::open(config.resolve()?)?;
    let weights = arguments.weights.as_deref().map(read_safetensors).transpose()?;
    let request = TraceRequest {
        weights,
        inputs: read_safetensors(&arguments.inputs)?,
        mode: arguments.mode,
        gradients: arguments.grad,
        values: arguments.values.clone(),
    };
    let answers = trace(&session, &request)?;
    write_safetensors(&arguments.out, &answers, &BTreeMap::new())?;
    let rows: Vec<Vec<String>> = answers
        .iter()
        .map(|(name, t)| {
            let norm = t.to_f64().iter().map(|x| x * x).sum::<f64>().sqrt();
            vec![name.clone(), t.ty().to_string(), format!("{norm:.6e}")]
        })
        .collect();
    print(&format!(
        "{}\n{}",
        table(&[vec![vec!["value".into(), "type".into(), "L2 norm".into()]], rows].concat()),
        arguments.out.display()
    ))
}
