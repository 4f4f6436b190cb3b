//! What serde finds wrong, kept as facts until the node that it is about is known, then told as a [`ConfigError`].

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use crate::error::ConfigError;
use crate::nearest::{did_you_mean, nearest, suggest};
use crate::source::Span;
use crate::tree::{Node, Value, join};

/// An error on its way from a visitor to the node that can say where it is.
#[derive(Debug)]
pub(crate) enum Fault {
    UnknownKey {
        found: String,
        keys: &'static [&'static str],
    },
    UnknownVariant {
        found: String,
        variants: &'static [&'static str],
    },
    MissingKey(&'static str),
    WrongType {
        expected: String,
    },
    WrongLength {
        found: usize,
        expected: String,
    },
    Other(String),
    /// Told; nothing is to be added.
    Told(Box<ConfigError>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(error) => error.fmt(f),
            Self::Other(message) => f.write_str(message),
            other => write!(f, "{other:?}"),
        }
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::WrongType { expected: expected.to_string() }
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::WrongType { expected: expected.to_string() }
    }

    fn invalid_length(found: usize, expected: &dyn Expected) -> Self {
        Self::WrongLength { found, expected: expected.to_string() }
    }

    fn unknown_variant(found: &str, variants: &'static [&'static str]) -> Self {
        Self::UnknownVariant { found: found.to_owned(), variants }
    }

    fn unknown_field(found: &str, keys: &'static [&'static str]) -> Self {
        Self::UnknownKey { found: found.to_owned(), keys }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::MissingKey(key)
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::Other(format!("`{key}` is given twice"))
    }
}

/// A node as an error speaks of it.
pub(crate) struct Place<'t> {
    pub root: &'t Node,
    pub node: &'t Node,
    pub path: &'t str,
    /// The type that is read: an enum's or struct's name.
    pub kind: &'static str,
}

impl Fault {
    /// The error told about a place, at `span`.
    pub fn told(self, place: &Place<'_>, span: &Span) -> Self {
        let error = match self {
            Self::Told(_) => return self,
            Self::UnknownKey { found, keys } => unknown_key(place, span, &found, keys),
            Self::UnknownVariant { found, variants } => {
                ConfigError::new(format!("no {} is called `{found}`", noun(place.kind)))
                    .label(span, "found here")
                    .help(suggest(&found, variants, "Choose from"))
            }
            Self::MissingKey(key) => missing_key(place, span, key),
            Self::WrongType { expected } => wrong_type(place, span, &expected),
            Self::WrongLength { found, expected } => {
                ConfigError::new(format!("{} takes {expected}, found {found}", called(place.path)))
                    .label(span, "found here")
            }
            Self::Other(message) => {
                ConfigError::new(format!("{}: {message}", called(place.path))).label(span, "found here")
            }
        };
        Self::Told(Box::new(error))
    }

    /// The error for the user.
    pub fn into_error(self) -> ConfigError {
        match self {
            Self::Told(error) => *error,
            other => ConfigError::new(other.to_string()),
        }
    }
}

/// A path as the subject of a sentence.
pub(crate) fn called(path: &str) -> String {
    if path.is_empty() { "the experiment".into() } else { format!("`{path}`") }
}

fn unknown_key(place: &Place<'_>, span: &Span, found: &str, keys: &[&str]) -> ConfigError {
    let owner = match place.node.name() {
        Some(name) if !place.path.is_empty() => format!("`{name}`"),
        _ => called(place.path),
    };
    let error = ConfigError::new(format!("{owner} has no key called `{found}`")).label(span, "unknown key");
    let near = nearest(found, keys.iter().copied());
    if near.is_none()
        && let Some(path) = elsewhere(place.root, found, &join(place.path, found))
    {
        return error.help(did_you_mean(&path, keys, "Keys here"));
    }
    error.help(if keys.is_empty() { "it has no keys".into() } else { suggest(found, keys, "Keys here") })
}

/// A path that ends in `key`, other than `but`: where a misplaced key belongs.
fn elsewhere(root: &Node, key: &str, but: &str) -> Option<String> {
    let mut level = vec![(String::new(), root)];
    while !level.is_empty() {
        let fields = level.iter().flat_map(|(path, node)| node.fields().iter().map(move |field| (path, field)));
        let deeper: Vec<(String, &Node)> = fields.map(|(path, field)| (join(path, &field.key), &field.node)).collect();
        let ends = |path: &str| path.rsplit('.').next() == Some(key) && path != but;
        if let Some((path, _)) = deeper.iter().find(|(path, _)| ends(path)) {
            return Some(path.clone());
        }
        level = deeper;
    }
    None
}

fn missing_key(place: &Place<'_>, span: &Span, key: &str) -> ConfigError {
    let owner = match place.node.name() {
        Some(name) if !place.path.is_empty() => format!("`{name}`"),
        _ => called(place.path),
    };
    let near = place.node.fields().iter().find(|field| nearest(&field.key, [key]).is_some() && field.key != key);
    match near {
        Some(field) => ConfigError::new(format!("{owner} has no `{key}`"))
            .label(&field.key_span, "found here")
            .help(format!("did you mean `{key}` instead of `{}`?", field.key)),
        None => ConfigError::new(format!("{owner} has no `{key}`"))
            .label(span, format!("`{key}` is missing here"))
            .help(format!("write for example {}", example(place.path, key))),
    }
}

fn wrong_type(place: &Place<'_>, span: &Span, expected: &str) -> ConfigError {
    let node = place.node;
    let error = ConfigError::new(format!("{} must be {expected}, found {}", called(place.path), node.describe()))
        .label(span, "found here");
    match &node.value {
        Value::Word(word) if expected.contains("text") => {
            error.help(quoting(place.path, word, node.span.source.is_argument()))
        }
        Value::Float(number) if expected.starts_with("a whole") && number.fract() == 0.0 && number.abs() < 1e15 => {
            error.help(format!("write {number:.0}"))
        }
        Value::Text(text) if expected.contains("number") && text.parse::<f64>().is_ok() => {
            error.help(format!("write {text}, without quotes"))
        }
        Value::Tuple { name: None, items } if expected.starts_with("a list") => {
            let items: Vec<String> = items.iter().map(crate::print::print_inline).collect();
            error.help(format!("write [{}]", items.join(", ")))
        }
        _ => error,
    }
}

/// How to write a text, in a file or as an argument.
pub(crate) fn quoting(path: &str, text: &str, argument: bool) -> String {
    if argument {
        format!("text stands in quotes, and the shell takes one pair away: --set '{path}=\"{text}\"'")
    } else {
        format!("text stands in quotes: \"{text}\"")
    }
}

/// What an enum's values are, in the singular.
fn noun(kind: &str) -> &str {
    match kind {
        "DataSpec" => "data set",
        "Otherwise" => "stand-in for an absent data set",
        "VoteSource" => "source of votes",
        "LabelMode" => "label mode",
        "Unreadable" => "rule for unreadable images",
        "Augmentation" => "augmentation",
        "Sampling" => "sampling",
        "Head" => "head",
        "Prior" => "prior",
        "ClassWeights" => "rule for class weights",
        "Pretrained" => "source of weights",
        "Optimiser" => "optimiser",
        "Schedule" => "schedule",
        "Criterion" => "criterion",
        "Precision" => "precision",
        "Engine" => "engine",
        "Normalise" => "normalisation",
        other => other,
    }
}

/// How a required key may look.
fn example(path: &str, key: &str) -> String {
    let value = match key {
        "name" => "\"my_run\"",
        "data" => "FerPlus(root: \"data/ferplus\")",
        "root" => "\"data/ferplus\"",
        "model" => "(resizers: [\"bilinear\"], backbone: (plugin: \"swin\"), head: Linear)",
        "backbone" => "(plugin: \"swin\")",
        "loss" => "(plugin: \"cross-entropy\")",
        "plugin" if path == "loss" => "\"cross-entropy\"",
        "plugin" => "\"swin\"",
        "optimiser" => "Adam(learning_rate: 1e-4)",
        "learning_rate" => "1e-4",
        "epochs" => "100",
        "batch" => "64",
        "seed" => "1111",
        "every" | "patience" => "15",
        "factor" => "0.25",
        "degrees" => "15",
        "pattern" => "\"backbone.*\"",
        "mean" => "(0.485, 0.456, 0.406)",
        "std" => "(0.229, 0.224, 0.225)",
        _ => "...",
    };
    format!("`{key}: {value}`")
}
