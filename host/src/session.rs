//! What every command starts from: the resolved config, the plugins on this machine, the recipe.

use std::path::PathBuf;

use fer_config::{Engine as EngineName, Precision as Floats, Resolved, load};
use fer_data::spec::DataSpec;
use fer_engine::{Engine, Precision};
use fer_engine_dfdx::DfdxEngine;
use fer_registry::{Probe, Registry, SearchPath};

use crate::{
    compose::Recipe,
    failure::{Failure, Result},
};

/// What the command line says about a config.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArguments {
    /// The experiment, a RON file
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Change one setting, e.g. model.backbone.variant="base"; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
    /// The data: builtin, or the root of the config's data set
    #[arg(long, value_name = "builtin|ROOT")]
    pub data: Option<String>,
    /// The engine that computes
    #[arg(long, value_enum)]
    pub engine: Option<EngineArgument>,
    /// What numbers are computed in
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArgument>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineArgument {
    Auto,
    Dfdx,
    Cpu,
    Cuda,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PrecisionArgument {
    F32,
    F64,
}

impl ConfigArguments {
    /// # Errors
    /// Everything that can be wrong with a config, at its place.
    pub fn resolve(&self) -> Result<Resolved> {
        let mut resolved = load(&self.config, &self.sets)?;
        if let Some(data) = &self.data {
            resolved = resolved.with_data_root(data)?;
        }
        if let Some(engine) = self.engine {
            resolved = resolved.with_flag("--engine", "engine", &format!("{engine:?}"))?;
        }
        if let Some(precision) = self.precision {
            resolved = resolved.with_flag("--precision", "precision", &format!("{precision:?}"))?;
        }
        Ok(resolved)
    }
}

/// A config with its components found.
pub struct Session {
    pub resolved: Resolved,
    pub registry: Registry,
    pub recipe: Recipe,
}

impl Session {
    /// # Errors
    /// Unknown plugins and options, at their place in the config.
    pub fn open(resolved: Resolved) -> Result<Session> {
        let registry = plugins()?;
        let recipe = Recipe::find(&resolved, &registry)?;
        Ok(Session { resolved, registry, recipe })
    }

    /// The engine the experiment asks for; `auto` takes the fastest there is.
    ///
    /// # Errors
    /// An engine that this build does not have.
    pub fn engine(&self) -> Result<Box<dyn Engine>> {
        let experiment = &self.resolved.experiment;
        let precision = match experiment.precision {
            Floats::F32 => Precision::F32,
            Floats::F64 => Precision::F64,
        };
        match experiment.engine {
            EngineName::Auto | EngineName::Dfdx => Ok(Box::new(DfdxEngine::new(precision))),
            EngineName::Cpu | EngineName::Cuda => {
                let name = format!("{:?}", experiment.engine).to_lowercase();
                let message = format!("this build of fer-host has no engine {name:?}");
                let help = "engines in this build: dfdx (the reference); auto takes it";
                Err(self.resolved.error_at("engine", &message, "asked for here", Some(help)).into())
            }
        }
    }
}

/// Every plugin on the search path.
///
/// # Errors
/// When this program cannot find itself, which it needs for the probe.
pub fn plugins() -> Result<Registry> {
    let probe = Probe::this_program()
        .map_err(|e| Failure::new(format!("cannot find this program's own file to probe plugins with: {e}")))?;
    Ok(Registry::scan(&SearchPath::standard(), &probe))
}

/// How many classes a data set has, where that does not need its files.
pub fn published_classes(spec: &DataSpec) -> Option<usize> {
    match spec {
        DataSpec::FerPlus { .. } | DataSpec::Builtin(_) => Some(8),
        DataSpec::Fer2013 { .. } | DataSpec::RafDb { .. } | DataSpec::CkPlus { .. } => Some(7),
        DataSpec::AffectNet { classes, .. } => Some(*classes),
        DataSpec::ImageFolder { .. } => None,
    }
}

/// The side in pixels that a data set's images have as published, where they share one.
pub fn published_side(spec: &DataSpec) -> Option<usize> {
    match spec {
        DataSpec::FerPlus { .. } | DataSpec::Fer2013 { .. } | DataSpec::CkPlus { .. } => Some(48),
        DataSpec::RafDb { .. } => Some(100),
        DataSpec::Builtin(faces) => Some(faces.size),
        DataSpec::AffectNet { .. } | DataSpec::ImageFolder { .. } => None,
    }
}
