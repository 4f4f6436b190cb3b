//! `fer-host run CONFIG`, `fer-host run --resume RUN`.

use std::path::PathBuf;

use crate::{
    failure::Result,
    run::{RunOptions, resume, start},
    session::{ConfigArguments, EngineArgument, PrecisionArgument},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The experiment, a RON file
    #[arg(value_name = "CONFIG", required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Continue a run, to the same bits as if it had never stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "sets", "data", "engine", "precision", "no_fuse", "out", "dry_run"])]
    resume: Option<PathBuf>,
    /// Change one setting, e.g. model.backbone.variant="base"; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// The data: builtin, or the root of the config's data set
    #[arg(long, value_name = "builtin|ROOT")]
    data: Option<String>,
    /// The engine that computes; cuda:1 is the second card
    #[arg(long, value_name = "auto|dfdx|cpu|cuda|cuda:N")]
    engine: Option<EngineArgument>,
    /// What numbers are computed in
    #[arg(long, value_enum)]
    precision: Option<PrecisionArgument>,
    /// Compute an op by its decomposition instead of a kernel of its own, e.g. layer_norm; all: every op; may be repeated
    #[arg(long = "no-fuse", value_name = "OP")]
    no_fuse: Vec<String>,
    /// Where run folders go
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Build and plan everything, train nothing
    #[arg(long)]
    dry_run: bool,
    /// Lines of JSON instead of words
    #[arg(long)]
    json: bool,
    /// Resume although a plugin library has changed
    #[arg(long, requires = "resume")]
    accept_changed_plugins: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let options = RunOptions {
        out: arguments.out.clone(),
        json: arguments.json,
        dry_run: arguments.dry_run,
        accept_changed_plugins: arguments.accept_changed_plugins,
    };
    if let Some(path) = &arguments.resume {
        return resume(path, &options);
    }
    let config = ConfigArguments {
        config: arguments.config.clone().unwrap_or_default(),
        sets: arguments.sets.clone(),
        data: arguments.data.clone(),
        engine: arguments.engine.clone(),
        precision: arguments.precision,
        no_fuse: arguments.no_fuse.clone(),
    };
    start(config.resolve()?, &options)
}
