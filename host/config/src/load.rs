//! Reads a file and all files that it extends, and applies the arguments.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component as Part, Path, PathBuf};

use crate::error::ConfigError;
use crate::merge::merge;
use crate::nearest::nearest;
use crate::read::{FORM, read};
use crate::resolve::Resolved;
use crate::set::set;
use crate::shorthand::normalise;
use crate::source::{Source, Span};
use crate::tree::{Node, Value};

/// An experiment reads at most this many files, counting a file each time it is extended.
const MOST_FILES: usize = 64;

/// The experiment in the file at `path`, with the files that it extends and the `--set` arguments (`path=value`).
pub fn load(path: &Path, sets: &[String]) -> Result<Resolved, ConfigError> {
    let mut loader = Loader::default();
    let tree = loader.file(path, None)?;
    loader.resolve(tree, sets)
}

/// The experiment in a text. `name` is what errors call it, and what it `extends` is relative to.
pub fn load_text(name: &str, text: &str, sets: &[String]) -> Result<Resolved, ConfigError> {
    let mut loader = Loader::default();
    let tree = loader.document(Path::new(name), text)?;
    loader.resolve(tree, sets)
}

#[derive(Default)]
struct Loader {
    /// The files that are being read, each extended by the one before: identity and shown name.
    chain: Vec<(PathBuf, String)>,
    /// All files read, as shown.
    files: Vec<PathBuf>,
}

impl Loader {
    fn resolve(self, mut tree: Node, sets: &[String]) -> Result<Resolved, ConfigError> {
        for argument in sets {
            set(&mut tree, argument)?;
        }
        Resolved::new(tree, self.files)
    }

    /// Reads a file; `wanted` is where another file asks for it.
    fn file(&mut self, path: &Path, wanted: Option<&Span>) -> Result<Node, ConfigError> {
        let shown = path.display().to_string();
        let blame = |error: ConfigError| match wanted {
            Some(span) => self.with_chain(error.label(span, "asked for here"), &shown),
            None => error,
        };
        let identity = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if self.chain.iter().any(|(other, _)| *other == identity) {
            return Err(blame(ConfigError::new("configs extend each other in a circle")));
        }
        if self.files.len() >= MOST_FILES {
            return Err(blame(ConfigError::new(format!("an experiment is spread over more than {MOST_FILES} files"))));
        }
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                blame(ConfigError::new(format!("{shown} is not UTF-8 text (byte {at})")))
            })?,
            Err(error) => return Err(blame(unreadable(path, &error))),
        };
        self.chain.push((identity, shown));
        let node = self.document(path, &text);
        self.chain.pop();
        node
    }

    /// Reads a text and lays it over what it extends.
    fn document(&mut self, path: &Path, text: &str) -> Result<Node, ConfigError> {
        let source = Source::file(path.display().to_string(), text);
        self.files.push(path.to_path_buf());
        if text.trim().is_empty() {
            return Err(ConfigError::new(format!("{} is empty", source.name())).help(FORM));
        }
        let mut node = experiment_group(read(&source)?)?;
        normalise(&mut node)?;
        let mut base: Option<Node> = None;
        for (wanted, span) in take_extends(&mut node)? {
            let folder = path.parent().unwrap_or(Path::new(""));
            let layer = self.file(&tidy(&folder.join(wanted)), Some(&span))?;
            base = Some(match base {
                Some(base) => merge(base, layer),
                None => layer,
            });
        }
        Ok(base.map_or(node.clone(), |base| merge(base, node)))
    }

    /// Adds which file extends which, down to `last`.
    fn with_chain(&self, error: ConfigError, last: &str) -> ConfigError {
        let files: Vec<&str> = self.chain.iter().map(|(_, shown)| shown.as_str()).chain([last]).collect();
        if files.len() > 2 || error.message().contains("circle") {
            error.note(format!("chain: {}", files.join(" -> ")))
        } else {
            error
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    let shown = path.display();
    if error.kind() != ErrorKind::NotFound {
        return ConfigError::new(format!("cannot read {shown}: {error}"));
    }
    let missing = ConfigError::new(format!("there is no file {shown}"));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else {
        return missing.help(format!("there is no folder {} either", folder.display()));
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".ron"))
        .collect();
    names.sort();
    let wanted = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match nearest(wanted, names.iter().map(String::as_str)) {
        Some(near) => missing.help(format!("did you mean {}?", path.with_file_name(near).display())),
        None if names.is_empty() => missing,
        None => missing.help(format!("configs there: {}", names.join(", "))),
    }
}

/// The document as a group named `Experiment`, which may be left unsaid in files that others extend.
fn experiment_group(mut node: Node) -> Result<Node, ConfigError> {
    let head = node.name_span().first_line();
    let wrong = |found: String| ConfigError::new(format!("{FORM}, found {found}")).label(&head, "found here");
    let described = node.describe();
    match &mut node.value {
        Value::Group { name: None, .. } => Ok(node),
        Value::Group { name: Some(name), .. } if name.text == "Experiment" => Ok(node),
        Value::Map(_) => Err(wrong(described).help("use round brackets, and keys without quotes")),
        _ => Err(wrong(described)),
    }
}

/// Takes `extends: "file"` or `extends: ["file", ...]` out of a document.
fn take_extends(node: &mut Node) -> Result<Vec<(String, Span)>, ConfigError> {
    let Value::Group { fields, .. } = &mut node.value else { return Ok(Vec::new()) };
    let Some(index) = fields.iter().position(|field| field.key == "extends") else { return Ok(Vec::new()) };
    let extends = fields.remove(index).node;
    let one = |node: &Node| match &node.value {
        Value::Text(file) => Ok((file.clone(), node.span.clone())),
        _ => Err(ConfigError::new(format!(
            "`extends` must be a file's name in quotes or a list of them, found {}",
            node.describe()
        ))
        .label(&node.span, "found here")
        .help("write for example `extends: \"base/common.ron\"`")),
    };
    match &extends.value {
        Value::List(items) => items.iter().map(one).collect(),
        _ => Ok(vec![one(&extends)?]),
    }
}

/// A path without `.` and, where a name stands before it, without `..`.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Part::CurDir => {}
            Part::ParentDir if matches!(out.components().next_back(), Some(Part::Normal(_))) => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out
}
