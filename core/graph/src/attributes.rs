//! Attributes: the constants an operation carries beside its operands.

use std::{fmt, sync::Arc};

/// The value of an attribute. Numbers are f64; an engine rounds to its own precision.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Arc<str>),
    Ints(Arc<[i64]>),
    Floats(Arc<[f64]>),
}

/// What an attribute may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    Int,
    Float,
    Bool,
    Text,
    Ints,
    Floats,
}

impl AttributeKind {
    pub fn name(self) -> &'static str {
        match self {
            AttributeKind::Int => "integer",
            AttributeKind::Float => "number",
            AttributeKind::Bool => "true or false",
            AttributeKind::Text => "text",
            AttributeKind::Ints => "list of integers",
            AttributeKind::Floats => "list of numbers",
        }
    }
}

impl Attribute {
    pub fn kind(&self) -> AttributeKind {
        match self {
            Attribute::Int(_) => AttributeKind::Int,
            Attribute::Float(_) => AttributeKind::Float,
            Attribute::Bool(_) => AttributeKind::Bool,
            Attribute::Text(_) => AttributeKind::Text,
            Attribute::Ints(_) => AttributeKind::Ints,
            Attribute::Floats(_) => AttributeKind::Floats,
        }
    }

    /// Equality for merging equal nodes: numbers by their bits, so that 0.0 and -0.0 differ and a NaN equals itself.
    pub fn same(&self, other: &Attribute) -> bool {
        match (self, other) {
            (Attribute::Float(a), Attribute::Float(b)) => a.to_bits() == b.to_bits(),
            (Attribute::Floats(a), Attribute::Floats(b)) => {
                Arc::ptr_eq(a, b)
                    || (a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| x.to_bits() == y.to_bits()))
            }
            _ => self == other,
        }
    }
}

impl From<i64> for Attribute {
    fn from(v: i64) -> Self {
        Attribute::Int(v)
    }
}
impl From<usize> for Attribute {
    fn from(v: usize) -> Self {
        Attribute::Int(v as i64)
    }
}
impl From<f64> for Attribute {
    fn from(v: f64) -> Self {
        Attribute::Float(v)
    }
}
impl From<bool> for Attribute {
    fn from(v: bool) -> Self {
        Attribute::Bool(v)
    }
}
impl From<&str> for Attribute {
    fn from(v: &str) -> Self {
        Attribute::Text(v.into())
    }
}
impl From<&[usize]> for Attribute {
    fn from(v: &[usize]) -> Self {
        Attribute::Ints(v.iter().map(|&x| x as i64).collect())
    }
}
impl From<&[i64]> for Attribute {
    fn from(v: &[i64]) -> Self {
        Attribute::Ints(v.into())
    }
}
impl From<Vec<usize>> for Attribute {
    fn from(v: Vec<usize>) -> Self {
        v.as_slice().into()
    }
}
impl From<Vec<f64>> for Attribute {
    fn from(v: Vec<f64>) -> Self {
        Attribute::Floats(v.into())
    }
}
impl From<Arc<[f64]>> for Attribute {
    fn from(v: Arc<[f64]>) -> Self {
        Attribute::Floats(v)
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = T>) -> fmt::Result {
    f.write_str("[")?;
    for (i, item) in items.enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    f.write_str("]")
}

/// A number that reads back to the same bits and is told apart from an integer.
pub(crate) fn number(v: f64) -> String {
    format!("{v:?}")
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Int(v) => write!(f, "{v}"),
            Attribute::Float(v) => f.write_str(&number(*v)),
            Attribute::Bool(v) => write!(f, "{v}"),
            Attribute::Text(v) => write!(f, "{v:?}"),
            Attribute::Ints(v) => list(f, v.iter()),
            Attribute::Floats(v) => list(f, v.iter().map(|&x| number(x))),
        }
    }
}

/// Attributes in the order in which the op declares them; absent optional ones are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(&'static str, Attribute)>);

impl Attributes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        let value = value.into();
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
        self
    }

    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Attribute)> {
        self.0.iter().map(|(n, v)| (*n, v))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bitwise equality, see [`Attribute::same`].
    pub fn same(&self, other: &Attributes) -> bool {
        self.len() == other.len() && self.0.iter().zip(&other.0).all(|((n, v), (m, w))| n == m && v.same(w))
    }

    // The accessors below serve code that runs after verification, where presence and type are known: a miss is a
    // fault of the op's own declaration, never of a user.

    fn known(&self, name: &str) -> &Attribute {
        self.get(name).unwrap_or_else(|| panic!("attribute {name:?} read before verification"))
    }

    /// A verified integer.
    pub fn int(&self, name: &str) -> i64 {
        match self.known(name) {
            Attribute::Int(v) => *v,
            other => panic!("attribute {name:?} is a {}", other.kind().name()),
        }
    }

    /// A verified number.
    pub fn float(&self, name: &str) -> f64 {
        match self.known(name) {
            Attribute::Float(v) => *v,
            other => panic!("attribute {name:?} is a {}", other.kind().name()),
        }
    }

    /// A verified flag.
    pub fn flag(&self, name: &str) -> bool {
        match self.known(name) {
            Attribute::Bool(v) => *v,
            other => panic!("attribute {name:?} is a {}", other.kind().name()),
        }
    }

    /// A verified text.
    pub fn text(&self, name: &str) -> &str {
        match self.known(name) {
            Attribute::Text(v) => v,
            other => panic!("attribute {name:?} is a {}", other.kind().name()),
        }
    }

    /// A verified list of integers.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.known(name) {
            Attribute::Ints(v) => v,
            other => panic!("attribute {name:?} is a {}", other.kind().name()),
        }
    }

    /// A verified list of non-negative integers (the op's verify checks the sign).
    pub fn sizes(&self, name: &str) -> Vec<usize> {
        self.ints(name).iter().map(|&v| usize::try_from(v).unwrap_or(usize::MAX)).collect()
    }

    /// A verified list of numbers.
    pub fn floats(&self, name: &str) -> &Arc<[f64]> {
        match self.known(name) {
            Attribute::Floats(v) => v,
            other => panic!("attribute {name:?} is a {}", other.kind().name()),
        }
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}: {value}")?;
        }
        f.write_str("}")
    }
}
