//! A tree made into an experiment: typed, checked, printed in full, and still knowing where everything was written.

use std::fmt;
use std::path::{Path, PathBuf};

use ron::extensions::Extensions;
use serde::Deserialize;

use crate::check::check;
use crate::de::De;
use crate::error::ConfigError;
use crate::fault::Fault;
use crate::print::{print, print_inline};
use crate::read::read;
use crate::schema::Experiment;
use crate::shorthand::normalise;
use crate::source::{Source, Span};
use crate::tree::{Name, Node, Value, join};

/// An experiment and its history.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub experiment: Experiment,
    /// The whole experiment as RON, defaults included; reads back to the same `experiment`.
    pub text: String,
    /// What was written, merged.
    tree: Node,
    /// What `text` says.
    complete: Node,
    files: Vec<PathBuf>,
}

/// One setting, its value as RON, and who said so.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// `optimiser.learning_rate`.
    pub path: String,
    pub value: String,
    pub origin: Origin,
}

/// Who decided a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    File {
        name: String,
        line: usize,
        column: usize,
    },
    /// The argument in full.
    Argument(String),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Argument(text) => f.write_str(text),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Origin {
    fn of(span: &Span) -> Self {
        if span.source.is_argument() {
            return Self::Argument(span.source.text().to_owned());
        }
        let (line, column) = span.source.line_column(span.start);
        Self::File { name: span.source.name().to_owned(), line, column }
    }
}

impl Resolved {
    pub(crate) fn new(tree: Node, files: Vec<PathBuf>) -> Result<Self, ConfigError> {
        let experiment = Experiment::deserialize(De::root(&tree)).map_err(Fault::into_error)?;
        check(&experiment, &tree)?;
        let complete = complete(&experiment)?;
        let text = print(&complete);
        // The run folder keeps the text: it must be the experiment that runs.
        match ron().from_str::<Experiment>(&text) {
            Ok(again) if again == experiment => Ok(Self { experiment, text, tree, complete, files }),
            Ok(_) => Err(bug("it says something else")),
            Err(error) => Err(bug(&error.to_string())),
        }
    }

    /// The files that were read, the one asked for first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// Every setting in the order of the text, and where it comes from.
    pub fn provenance(&self) -> Vec<Provenance> {
        let mut rows = Vec::new();
        self.rows(&self.complete, "", &mut rows);
        rows
    }

    fn rows(&self, node: &Node, path: &str, rows: &mut Vec<Provenance>) {
        let mut row = |value: String| {
            let origin = self.tree.at(path).map_or(Origin::Default, |node| Origin::of(node.name_span()));
            rows.push(Provenance { path: path.to_owned(), value, origin });
        };
        match &node.value {
            Value::Group { name, fields } if !fields.is_empty() => {
                if let Some(name) = name.as_ref().filter(|_| !path.is_empty()) {
                    row(name.text.clone());
                }
                fields.iter().for_each(|field| self.rows(&field.node, &join(path, &field.key), rows));
            }
            Value::List(items) if items.iter().any(|item| !item.fields().is_empty()) => {
                items.iter().enumerate().for_each(|(index, item)| self.rows(item, &join(path, index), rows));
            }
            _ => row(print_inline(node)),
        }
    }

    /// Where the value of a setting (`model.resizers.1.size`) is written; `None` for defaults and unknown paths.
    pub fn span_of(&self, path: &str) -> Option<Span> {
        self.tree.at(path).map(|node| node.span.first_line())
    }

    /// Where the key of a setting is written.
    pub fn key_span_of(&self, path: &str) -> Option<Span> {
        self.tree.key_span_at(path).map(Span::first_line)
    }

    /// An error at the value of a setting, or at the nearest thing written around it.
    pub fn error_at(&self, path: &str, message: &str, label: &str, help: Option<&str>) -> ConfigError {
        self.with_label(with_help(ConfigError::new(message), help), path, label)
    }

    /// An error at the key of a setting, for keys that should not be there.
    pub fn error_at_key(&self, path: &str, message: &str, label: &str, help: Option<&str>) -> ConfigError {
        let span = self.tree.key_span_at(path).unwrap_or(&self.tree.nearest_at(path).span);
        with_help(ConfigError::new(message), help).label(span, label)
    }

    /// `error` with one more label, at the value of a setting.
    pub fn with_label(&self, error: ConfigError, path: &str, label: &str) -> ConfigError {
        error.label(&self.tree.nearest_at(path).span, label)
    }

    /// The written tree, and the files it is from.
    pub(crate) fn into_tree(self) -> (Node, Vec<PathBuf>) {
        (self.tree, self.files)
    }
}

fn with_help(error: ConfigError, help: Option<&str>) -> ConfigError {
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// RON with the extensions that make configs short.
fn ron() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_VARIANT_NEWTYPES)
}

/// The tree of an experiment with all its defaults.
fn complete(experiment: &Experiment) -> Result<Node, ConfigError> {
    let text = ron().to_string(experiment).map_err(|error| bug(&error.to_string()))?;
    let source = Source::file("the resolved experiment", text);
    let mut node = read(&source)?;
    normalise(&mut node)?;
    if let Value::Group { name, .. } = &mut node.value {
        *name = Some(Name { text: "Experiment".into(), span: node.span.clone() });
    }
    Ok(node)
}

fn bug(what: &str) -> ConfigError {
    ConfigError::new("the resolved experiment does not read back")
        .note(what)
        .help("this is a bug in fer-host: please report it")
}
