//! What every command starts from: the resolved config, the plugins on this machine, the recipe.

use std::{path::PathBuf, str::FromStr};

use fer_config::{Engine, Resolved, load, nearest};
use fer_data::spec::DataSpec;
use fer_registry::{Probe, Registry, SearchPath};

use crate::{
    compose::Recipe,
    engines,
    failure::{Failure, Result},
    trust::Trust,
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
    /// The engine that computes; cuda:1 is the second card
    #[arg(long, value_name = "auto|dfdx|cpu|cuda|cuda:N")]
    pub engine: Option<EngineArgument>,
    /// What numbers are computed in
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArgument>,
    /// Compute an op by its decomposition instead of a kernel of its own, e.g. layer_norm; all: every op; may be repeated
    #[arg(long = "no-fuse", value_name = "OP")]
    pub no_fuse: Vec<String>,
}

/// An engine as it was typed, and as RON says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineArgument {
    typed: String,
    ron: String,
}

/// How engines are typed; `cuda` takes a card's number behind a colon.
const ENGINES: [&str; 4] = ["auto", "dfdx", "cpu", "cuda"];

impl FromStr for EngineArgument {
    type Err = String;

    fn from_str(typed: &str) -> Result<EngineArgument, String> {
        let (name, card) = match typed.split_once(':') {
            Some((name, card)) => (name, Some(card)),
            None => (typed, None),
        };
        let Some(index) = ENGINES.iter().position(|engine| *engine == name) else {
            let near = nearest(name, ENGINES).map_or_else(String::new, |near| format!("did you mean {near}? "));
            return Err(format!("no engine is called {name:?}; {near}Engines: {}", ENGINES.join(", ")));
        };
        let ron = match card {
            None => Engine::NAMES[index].to_owned(),
            Some(card) if name == "cuda" => {
                let number: usize = card.parse().map_err(|_| {
                    format!("{card:?} is no card's number: cuda:0 is the first; fer-host devices lists them")
                })?;
                format!("Cuda(device: {number})")
            }
            Some(_) => return Err(format!("the engine {name} takes no number; cuda:1 is the second card")),
        };
        Ok(EngineArgument { typed: typed.to_owned(), ron })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PrecisionArgument {
    F32,
    F64,
    /// Factors of products, convolutions and attention rounded to ten bits of mantissa, by the engine cuda
    Tf32,
    /// Factors of products, convolutions and attention in bfloat16, and what only they read; everything else in f32
    Bf16,
}

impl ConfigArguments {
    /// # Errors
    /// Everything that can be wrong with a config, at its place.
    pub fn resolve(&self) -> Result<Resolved> {
        let mut resolved = load(&self.config, &self.sets)?;
        if let Some(data) = &self.data {
            resolved = resolved.with_data_root(data)?;
        }
        if let Some(engine) = &self.engine {
            resolved = resolved.with_word("--engine", "engine", &engine.typed, &engine.ron)?;
        }
        if let Some(precision) = self.precision {
            resolved = resolved.with_word("--precision", "precision", &typed(precision), &format!("{precision:?}"))?;
        }
        if !self.no_fuse.is_empty() {
            resolved = resolved.with_flag("--no-fuse", "no_fuse", &format!("{:?}", self.no_fuse))?;
        }
        Ok(resolved)
    }
}

/// A value as the command line takes it.
fn typed(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// A config with its components found.
pub struct Session {
    pub resolved: Resolved,
    pub registry: Registry,
    pub recipe: Recipe,
}

impl Session {
    /// # Errors
    /// Unknown plugins and options, at their place in the config; libraries that are other than those it pins.
    pub fn open(resolved: Resolved) -> Result<Session> {
        let trust = Trust::of(&resolved)?;
        let registry = Registry::scan_admitted(&SearchPath::standard(), &probe()?, &|sha256| trust.admit(sha256));
        // Before options are looked at: another library has others.
        trust.check(&resolved, &registry)?;
        let recipe = Recipe::find(&resolved, &registry)?;
        Ok(Session { resolved, registry, recipe })
    }

    /// The engine the experiment asks for; `auto` takes the fastest there is.
    ///
    /// # Errors
    /// An engine that this build does not have, or that does not compute in the precision asked for.
    pub fn engine(&self) -> Result<Box<dyn fer_engine::Engine>> {
        engines::open(&self.resolved, &self.recipe)
    }
}

/// Every plugin on the search path.
///
/// # Errors
/// When this program cannot find itself, which it needs for the probe.
pub fn plugins() -> Result<Registry> {
    Ok(Registry::scan(&SearchPath::standard(), &probe()?))
}

fn probe() -> Result<Probe> {
    Probe::this_program()
        .map_err(|e| Failure::new(format!("cannot find this program's own file to probe plugins with: {e}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_read_as_they_are_typed() {
        let ron = |typed: &str| typed.parse::<EngineArgument>().map(|engine| engine.ron);
        assert_eq!(ron("auto"), Ok("Auto".to_owned()));
        assert_eq!(ron("cuda"), Ok("Cuda".to_owned()));
        assert_eq!(ron("cuda:1"), Ok("Cuda(device: 1)".to_owned()));
        let said = |typed: &str| ron(typed).expect_err("must be refused");
        assert_eq!(said("cudda"), "no engine is called \"cudda\"; did you mean cuda? Engines: auto, dfdx, cpu, cuda");
        assert!(said("cuda:x").starts_with("\"x\" is no card's number"), "{}", said("cuda:x"));
        assert!(said("cuda:").starts_with("\"\" is no card's number"));
        assert!(said("cpu:1").starts_with("the engine cpu takes no number"));
    }
}
