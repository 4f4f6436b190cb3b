//! What an experiment is composed of: components found on this machine, with their options checked against their schemas.

use fer_abi::{NamedOption, kind};
use fer_config::{Component as Named, ConfigError, Head, Normalise, OptionValue, Resolved, nearest};
use fer_registry::{Component, OptionErrorKind, OptionInput, Registry};

/// A component, what it is told, and where the config says so.
#[derive(Clone, Debug)]
pub struct Part {
    pub component: Component,
    pub options: Vec<NamedOption>,
    /// `model.resizers.1`.
    pub path: String,
}

/// Everything that is composed.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub resizers: Vec<Part>,
    pub backbone: Part,
    pub head: Head,
    pub loss: Part,
    pub normalise: Normalise,
}

impl Recipe {
    /// # Errors
    /// Unknown plugins and options, at the place in the config that names them.
    pub fn find(resolved: &Resolved, registry: &Registry) -> Result<Recipe, ConfigError> {
        let experiment = &resolved.experiment;
        let part = |kind: &str, named: &Named, path: String| part(resolved, registry, kind, named, path);
        let resizers = experiment.model.resizers.iter().enumerate();
        Ok(Recipe {
            resizers: resizers
                .map(|(i, named)| part(kind::RESIZER, named, format!("model.resizers.{i}")))
                .collect::<Result<_, _>>()?,
            backbone: part(kind::BACKBONE, &experiment.model.backbone, "model.backbone".into())?,
            head: experiment.model.head.clone(),
            loss: part(kind::LOSS, &experiment.loss, "loss".into())?,
            normalise: experiment.normalise.clone(),
        })
    }

    /// All parts, in the data's order.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.resizers.iter().chain([&self.backbone, &self.loss])
    }
}

fn part(
    resolved: &Resolved,
    registry: &Registry,
    kind: &str,
    named: &Named,
    path: String,
) -> Result<Part, ConfigError> {
    let component = registry.get(kind, &named.plugin).map_err(|error| {
        let help = (!error.help.is_empty()).then_some(error.help.as_str());
        let at = format!("{path}.plugin");
        let at = if resolved.span_of(&at).is_some() { at } else { path.clone() };
        resolved.error_at(&at, &error.message, "found here", help)
    })?;
    let given: Vec<(String, OptionInput)> = named.options.iter().map(|(k, v)| (k.clone(), input(v))).collect();
    let options = component.check_options(&given).map_err(|error| {
        let at = format!("{path}.{}", error.option);
        let help = (!error.help.is_empty()).then_some(error.help.as_str());
        match error.kind {
            OptionErrorKind::Unknown | OptionErrorKind::Twice => {
                resolved.error_at_key(&at, &error.message, "found here", help)
            }
            OptionErrorKind::Missing => resolved.error_at(&path, &error.message, "missing here", help),
            OptionErrorKind::Value => resolved.error_at(&at, &error.message, "found here", help),
        }
    })?;
    Ok(Part { component: component.clone(), options, path })
}

fn input(value: &OptionValue) -> OptionInput {
    match value {
        OptionValue::Bool(v) => OptionInput::Bool(*v),
        OptionValue::Int(v) => OptionInput::Int(*v),
        OptionValue::Float(v) => OptionInput::Float(*v),
        OptionValue::Str(v) => OptionInput::Text(v.clone()),
        OptionValue::List(items) => OptionInput::List(items.iter().map(input).collect()),
    }
}

/// The nearest of some names, as a help line.
pub fn did_you_mean<'c>(found: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(found, candidates).map(|name| format!("did you mean {name:?}?"))
}
