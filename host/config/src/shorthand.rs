//! The short and long ways to write the same thing, brought to one form before trees are merged.
//!
//! A component may be a bare text (`"bilinear"`), may hold its options in `options: (...)`, or may be a map; all become
//! `(plugin: "bilinear", option: value)`. Everywhere, `Builtin((train: 8))` becomes `Builtin(train: 8)`.

use crate::error::ConfigError;
use crate::tree::{Field, Node, Value, join};

/// Whether a component stands at this dotted path.
pub(crate) fn is_component(path: &str) -> bool {
    let resizer = path.strip_prefix("model.resizers.").is_some_and(|index| !index.contains('.'));
    resizer || path == "model.backbone" || path == "loss"
}

/// Brings an experiment's tree, whole or partial, to its one form.
pub(crate) fn normalise(root: &mut Node) -> Result<(), ConfigError> {
    walk(root, "")
}

fn walk(node: &mut Node, path: &str) -> Result<(), ConfigError> {
    unwrap_variant(node);
    if is_component(path) {
        component(node, path)?;
    }
    match &mut node.value {
        Value::Group { fields, .. } => {
            fields.iter_mut().try_for_each(|field| walk(&mut field.node, &join(path, &field.key)))
        }
        Value::List(items) | Value::Tuple { items, .. } => {
            items.iter_mut().enumerate().try_for_each(|(index, item)| walk(item, &join(path, index)))
        }
        Value::Some(inner) => walk(inner, path),
        _ => Ok(()),
    }
}

/// `Name((key: value))` holds nothing that `Name(key: value)` does not.
fn unwrap_variant(node: &mut Node) {
    if let Value::Tuple { name: name @ Some(_), items } = &mut node.value
        && let [Node { value: Value::Group { name: None, fields }, .. }] = items.as_mut_slice()
    {
        node.value = Value::Group { name: name.take(), fields: std::mem::take(fields) };
    }
}

fn component(node: &mut Node, path: &str) -> Result<(), ConfigError> {
    if matches!(node.value, Value::Text(_)) {
        let plugin = Field { key: "plugin".into(), key_span: node.span.clone(), node: node.clone() };
        node.value = Value::Group { name: None, fields: vec![plugin] };
    }
    if let Some(fields) = map_fields(node) {
        node.value = Value::Group { name: None, fields };
    }
    let Value::Group { fields, .. } = &mut node.value else { return Ok(()) };
    let Some(index) = fields.iter().position(|field| field.key == "options") else { return Ok(()) };
    let options = fields.remove(index).node;
    let inside = match (map_fields(&options), options.value) {
        (Some(fields), _) | (None, Value::Group { name: None, fields }) => fields,
        (None, value) => {
            let options = Node { value, span: options.span };
            return Err(ConfigError::new(format!(
                "`{}` must be a group of keys `(key: value)`, found {}",
                join(path, "options"),
                options.describe()
            ))
            .label(&options.span, "found here"));
        }
    };
    for option in inside {
        if let Some(first) = fields.iter().find(|field| field.key == option.key) {
            return Err(ConfigError::new(format!("`{}` is given twice", option.key))
                .label(&option.key_span, "here among the options")
                .label(&first.key_span, "and here beside the plugin"));
        }
        fields.push(option);
    }
    Ok(())
}

/// The entries of a map whose keys are texts, as fields.
fn map_fields(node: &Node) -> Option<Vec<Field>> {
    let Value::Map(entries) = &node.value else { return None };
    let field = |(key, value): &(Node, Node)| match &key.value {
        Value::Text(text) => Some(Field { key: text.clone(), key_span: key.span.clone(), node: value.clone() }),
        _ => None,
    };
    entries.iter().map(field).collect()
}
