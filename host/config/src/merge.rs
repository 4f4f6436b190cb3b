//! Lays one tree over another.
//!
//! Groups merge by key, and so do variants of one name; an unnamed group over a variant changes its settings. A component
//! of another plugin, a variant of another name, a list and everything else replaces what was there.

use crate::tree::{Field, Name, Node, Value};

/// `base` with everything that `over` says.
pub(crate) fn merge(base: Node, over: Node) -> Node {
    if !merges(&base, &over) {
        return over;
    }
    let (Some((base_name, base_fields)), Some((over_name, over_fields))) = (group(base), group(over.clone())) else {
        return over;
    };
    let mut fields = base_fields;
    for field in over_fields {
        match fields.iter_mut().find(|other| other.key == field.key) {
            Some(slot) => {
                let node = merge(slot.node.clone(), field.node);
                *slot = Field { node, ..field };
            }
            None => fields.push(field),
        }
    }
    Node::new(Value::Group { name: over_name.or(base_name), fields }, over.span)
}

/// Whether two nodes are parts of one thing.
fn merges(base: &Node, over: &Node) -> bool {
    let grouped = |node: &Node| matches!(node.value, Value::Group { .. } | Value::Word(_) | Value::Some(_));
    let names = match (base.name(), over.name()) {
        (Some(base), Some(over)) => base == over,
        _ => true,
    };
    grouped(base) && grouped(over) && names && !other_plugin(base, over)
}

/// Whether both are components, of different plugins.
fn other_plugin(base: &Node, over: &Node) -> bool {
    match (base.field("plugin"), over.field("plugin")) {
        (Some(base), Some(over)) => base.node != over.node,
        _ => false,
    }
}

/// Name and fields of a group; a word is a group without fields, and `Some` is seen through.
fn group(node: Node) -> Option<(Option<Name>, Vec<Field>)> {
    match node.value {
        Value::Group { name, fields } => Some((name, fields)),
        Value::Word(text) => Some((Some(Name { text, span: node.span }), Vec::new())),
        Value::Some(inner) => group(*inner),
        _ => None,
    }
}
