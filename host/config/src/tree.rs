//! The document tree: RON values whose every node, key and variant name remembers where it was written.

use crate::source::Span;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub span: Span,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    /// `i64::MIN ..= u64::MAX`.
    Int(i128),
    /// Never NaN.
    Float(f64),
    Char(char),
    Text(String),
    None,
    Some(Box<Node>),
    /// A bare word: a variant without settings.
    Word(String),
    /// `(key: value)` or `Name(key: value)`; also `()` and `Name()`.
    Group {
        name: Option<Name>,
        fields: Vec<Field>,
    },
    /// `(a, b)` or `Name(a, b)`, with at least one item.
    Tuple {
        name: Option<Name>,
        items: Vec<Node>,
    },
    List(Vec<Node>),
    /// `{ key: value }`.
    Map(Vec<(Node, Node)>),
}

/// The name in front of a group or a tuple.
#[derive(Clone, Debug)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

/// A key of a group and its value.
#[derive(Clone, Debug)]
pub struct Field {
    pub key: String,
    pub key_span: Span,
    pub node: Node,
}

/// Equality is of content: where something was written does not matter.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.node == other.node
    }
}

impl Node {
    /// A node of `value` at `span`.
    pub fn new(value: Value, span: Span) -> Self {
        Self { value, span }
    }

    /// An unnamed group without fields.
    pub(crate) fn empty_group(span: Span) -> Self {
        Self::new(Value::Group { name: None, fields: Vec::new() }, span)
    }

    /// The variant's or struct's name: that of `Adam`, `Adam(...)` and `File("x")`.
    pub fn name(&self) -> Option<&str> {
        match &self.value {
            Value::Word(word) => Some(word),
            Value::Group { name, .. } | Value::Tuple { name, .. } => name.as_ref().map(|name| name.text.as_str()),
            _ => None,
        }
    }

    /// Where the variant's name stands; the node's own span when it has none.
    pub fn name_span(&self) -> &Span {
        match &self.value {
            Value::Group { name: Some(name), .. } | Value::Tuple { name: Some(name), .. } => &name.span,
            _ => &self.span,
        }
    }

    /// The fields of a group; none for everything else.
    pub fn fields(&self) -> &[Field] {
        match &self.value {
            Value::Group { fields, .. } => fields,
            _ => &[],
        }
    }

    /// The field of that key, if the node is a group that has it.
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.key == key)
    }

    /// The node without what is only wrapping: `Some(x)` and a variant of one value, `File("x")`.
    pub(crate) fn inner(&self) -> &Self {
        match &self.value {
            Value::Some(inner) => inner.inner(),
            Value::Tuple { name: Some(_), items } if items.len() == 1 => items[0].inner(),
            _ => self,
        }
    }

    /// [`Node::inner`] for changing it.
    pub(crate) fn inner_mut(&mut self) -> &mut Self {
        let wraps = match &self.value {
            Value::Some(_) => true,
            Value::Tuple { name, items } => name.is_some() && items.len() == 1,
            _ => false,
        };
        if !wraps {
            return self;
        }
        match &mut self.value {
            Value::Some(inner) => inner.inner_mut(),
            Value::Tuple { items, .. } => items[0].inner_mut(),
            _ => unreachable!("only the two forms above wrap"),
        }
    }

    /// The node at a dotted path (`model.resizers.1.size`); the empty path is the node itself.
    pub fn at(&self, path: &str) -> Option<&Self> {
        segments(path).try_fold(self, |node, segment| node.child(segment).map(|(child, _)| child))
    }

    /// Where the last key of a dotted path is written; a list's item has its own span.
    pub fn key_span_at(&self, path: &str) -> Option<&Span> {
        let mut found = (self, &self.span);
        for segment in segments(path) {
            found = found.0.child(segment)?;
        }
        Some(found.1)
    }

    /// The deepest node on the way to `path` that exists.
    pub(crate) fn nearest_at(&self, path: &str) -> &Self {
        let mut node = self;
        for segment in segments(path) {
            match node.child(segment) {
                Some((child, _)) => node = child,
                None => break,
            }
        }
        node
    }

    /// One step of a path, and the span of its key.
    fn child(&self, segment: &str) -> Option<(&Self, &Span)> {
        let node = self.inner();
        match &node.value {
            Value::Group { .. } => node.field(segment).map(|field| (&field.node, &field.key_span)),
            Value::List(items) | Value::Tuple { items, .. } => {
                let item = items.get(segment.parse::<usize>().ok()?)?;
                Some((item, &item.span))
            }
            _ => None,
        }
    }

    /// The node in the words of an error: `the text "ten"`, `a list`.
    pub fn describe(&self) -> String {
        let short = |text: &str| match text.char_indices().nth(32) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.to_owned(),
        };
        match &self.value {
            Value::Bool(flag) => format!("`{flag}`"),
            Value::Int(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number:?}"),
            Value::Char(letter) => format!("the character {letter:?}"),
            Value::Text(text) => format!("the text {:?}", short(text)),
            Value::None => "`None`".into(),
            Value::Some(inner) => format!("`Some` of {}", inner.describe()),
            Value::Word(word) => format!("the bare word `{}`", short(word)),
            Value::Group { name: Some(name), .. } | Value::Tuple { name: Some(name), .. } => {
                format!("`{}(...)`", short(&name.text))
            }
            Value::Group { fields, .. } if fields.is_empty() => "an empty group `()`".into(),
            Value::Group { .. } => "a group of keys `(key: value)`".into(),
            Value::Tuple { items, .. } => format!("a tuple of {}", items.len()),
            Value::List(items) if items.is_empty() => "an empty list `[]`".into(),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(_) => "a map `{...}`".into(),
        }
    }
}

/// The parts of a dotted path.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|segment| !segment.is_empty())
}

/// `path.key`, or `key` at the root.
pub(crate) fn join(path: &str, key: impl std::fmt::Display) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}
