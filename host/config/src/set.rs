//! `--set path=value`: one edit of the tree, with RON as its value.

use std::sync::Arc;

use crate::error::ConfigError;
use crate::fault::{called, quoting};
use crate::read::read_from;
use crate::resolve::Resolved;
use crate::shorthand::{is_component, normalise};
use crate::source::{Source, Span};
use crate::tree::{Field, Node, Value, join};

/// Longer paths are refused; nothing in an experiment is this deep.
const LONGEST: usize = 16;

/// One step of a path and where it stands in the argument.
struct Step {
    text: String,
    span: Span,
}

/// Applies `argument` (`model.backbone.variant="base"`) to the tree.
pub(crate) fn set(root: &mut Node, argument: &str) -> Result<(), ConfigError> {
    let source = Source::argument(format!("--set {argument}"));
    let start = "--set ".len();
    let whole = Span::new(&source, start, source.text().len());
    let Some(equals) = argument.find('=') else {
        return Err(ConfigError::new(format!("`--set {argument}` gives no value"))
            .label(&whole, "expected path=value")
            .help("write for example --set epochs=50"));
    };
    let steps = steps(&source, start, start + equals)?;
    let path = argument[..equals].trim();
    let text = argument[equals + 1..].trim();
    let value = read_from(&source, start + equals + 1).map_err(|error| {
        if text.is_empty() {
            error.help(format!("write for example --set '{path}=\"text\"', {path}=1 or {path}=None"))
        } else if error.help_text().is_none_or(|help| help.starts_with("text stands"))
            && !text.contains(['"', '(', '['])
        {
            // The reader's own advice does not know about the shell.
            without_help(error).help(quoting(path, text, true))
        } else {
            error
        }
    })?;
    if steps[0].text == "extends" {
        return Err(ConfigError::new("`extends` belongs in a file").label(&steps[0].span, "not to be set"));
    }
    assign(root, "", &steps, value)?;
    normalise(root)
}

impl Resolved {
    /// The experiment with one setting changed by a flag of the host's own (`--seed 3`): the flag's name, the path that
    /// it stands for, and the value as RON. Errors and provenance show the flag.
    pub fn with_flag(self, flag: &str, path: &str, value: &str) -> Result<Self, ConfigError> {
        let source = Source::argument(format!("{flag} {value}"));
        let span = Span::new(&source, flag.len() + 1, source.text().len());
        let node = read_from(&source, span.start)?;
        self.flagged(path, span, node)
    }

    /// [`Resolved::with_flag`] where what is typed (`cpu`) is not what a config writes (`Cpu`): errors and provenance show the former.
    pub fn with_word(self, flag: &str, path: &str, typed: &str, value: &str) -> Result<Self, ConfigError> {
        let source = Source::argument(format!("{flag} {typed}"));
        let span = Span::new(&source, flag.len() + 1, source.text().len());
        let value = read_from(&Source::argument(value.to_owned()), 0)?.value;
        self.flagged(path, span.clone(), Node { value, span })
    }

    fn flagged(self, path: &str, span: Span, node: Node) -> Result<Self, ConfigError> {
        let (mut tree, files) = self.into_tree();
        let step = |text: &str| Step { text: text.to_owned(), span: span.clone() };
        let steps: Vec<Step> = path.split('.').map(step).collect();
        assign(&mut tree, "", &steps, node)?;
        normalise(&mut tree)?;
        Self::new(tree, files)
    }
}

fn without_help(error: ConfigError) -> ConfigError {
    error.labels().iter().fold(ConfigError::new(error.message()), |new, label| new.label(&label.span, &label.text))
}

fn steps(source: &Arc<Source>, start: usize, end: usize) -> Result<Vec<Step>, ConfigError> {
    let mut steps = Vec::new();
    let mut at = start;
    for part in source.text()[start..end].split('.') {
        let text = part.trim();
        let from = at + (part.len() - part.trim_start().len());
        let span = Span::new(source, from, from + text.len());
        at += part.len() + 1;
        if text.is_empty() || steps.len() == LONGEST {
            let what = if text.is_empty() { "a path has an empty step" } else { "a path is too long" };
            return Err(ConfigError::new(what)
                .label(&span, "here")
                .help("write for example --set model.backbone.variant='\"base\"'"));
        }
        steps.push(Step { text: text.to_owned(), span });
    }
    Ok(steps)
}

/// Puts `value` at the end of `steps`, making groups for keys that are not there yet: whether such a key exists at all
/// is for the schema to say, which knows the names.
fn assign(node: &mut Node, walked: &str, steps: &[Step], value: Node) -> Result<(), ConfigError> {
    let Some((step, rest)) = steps.split_first() else {
        *node = value;
        return Ok(());
    };
    let node = node.inner_mut();
    open_up(node);
    let described = node.describe();
    let path = join(walked, &step.text);
    match &mut node.value {
        Value::Group { .. } if is_component(walked) && step.text == "options" => options(node, walked, rest, value),
        Value::Group { fields, .. } => {
            let other = |field: &Field| field.key == "plugin" && field.node != value;
            if rest.is_empty() && step.text == "plugin" && is_component(walked) && fields.iter().any(other) {
                // Options and weights are those of the plugin that was there.
                fields.clear();
            }
            let found = fields.iter().position(|field| field.key == step.text);
            let index = found.unwrap_or(fields.len());
            if found.is_none() {
                let node = Node::empty_group(step.span.clone());
                fields.push(Field { key: step.text.clone(), key_span: step.span.clone(), node });
            }
            fields[index].key_span = step.span.clone();
            assign(&mut fields[index].node, &path, rest, value)
        }
        Value::List(items) | Value::Tuple { items, .. } => {
            let count = items.len();
            match step.text.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                Some(item) => assign(item, &path, rest, value),
                None => Err(no_item(walked, step, count)),
            }
        }
        _ => Err(ConfigError::new(format!("{} is {described}: it has nothing called `{}`", called(walked), step.text))
            .label(&step.span, "not there")),
    }
}

/// Makes a group of what can be one: a variant without settings, and an option that is off.
fn open_up(node: &mut Node) {
    let name = match &node.value {
        Value::Word(word) => Some(crate::tree::Name { text: word.clone(), span: node.span.clone() }),
        Value::None => None,
        _ => return,
    };
    node.value = Value::Group { name, fields: Vec::new() };
}

/// `model.backbone.options.variant` is `model.backbone.variant`; `model.backbone.options=(...)` sets several.
fn options(node: &mut Node, walked: &str, rest: &[Step], value: Node) -> Result<(), ConfigError> {
    if !rest.is_empty() {
        return assign(node, walked, rest, value);
    }
    let Value::Group { fields, .. } = value.value else {
        return Err(ConfigError::new(format!(
            "`{}` must be a group of keys `(key: value)`, found {}",
            join(walked, "options"),
            value.describe()
        ))
        .label(&value.span, "found here"));
    };
    for field in fields {
        let step = Step { text: field.key, span: field.key_span };
        assign(node, walked, &[step], field.node)?;
    }
    Ok(())
}

fn no_item(walked: &str, step: &Step, count: usize) -> ConfigError {
    let has = match count {
        0 => "is empty".to_owned(),
        1 => "holds one item, 0".to_owned(),
        _ => format!("holds {count} items, 0 to {}", count - 1),
    };
    ConfigError::new(format!("{} {has}: there is no `{}`", called(walked), step.text))
        .label(&step.span, "not there")
        .help(format!("set the whole list: --set '{walked}=[...]'"))
}
