//! What reading a graph from text and from a plugin have in common: arguments, ops and attributes found by name.
//!
//! Messages are phrases without a place; the reader knows where it is and adds it.

use std::collections::HashMap;

use crate::{
    Argument, Attribute, AttributeKind, Attributes, Definition, Graph, Init, Op, Positions, Role, TensorType, Value,
    custom::{Definitions, is_custom_name},
    ops,
};

/// The longest name, and the longest text attribute, that is accepted from outside.
pub(crate) const MAX_NAME: usize = 512;

/// What is said of an argument before it has a number.
pub(crate) struct Declaration {
    pub name: String,
    pub role: Role,
    pub ty: TensorType,
    pub init: Option<Init>,
    /// `None`: the rule of [`default_decay`].
    pub decay: Option<bool>,
    pub frozen: bool,
    pub layer: Option<u32>,
    pub positions: Option<Positions>,
}

/// Collects the arguments of a graph whose nodes follow.
pub(crate) struct Declared {
    pub graph: Graph,
    pub by_name: HashMap<String, Value>,
}

impl Declared {
    pub fn new(name: &str) -> Declared {
        Declared { graph: Graph::empty(name), by_name: HashMap::new() }
    }

    /// Adds an argument.
    ///
    /// # Errors
    /// `(code, message)`: `duplicate_name`, `shape`, `init` or `positions`.
    pub fn declare(&mut self, d: Declaration) -> Result<(), (&'static str, String)> {
        let Declaration { name, role, ty, init, decay, frozen, layer, positions } = d;
        if !ty.is_sane() {
            return Err(("shape", format!("{name:?} would be {ty}, which is empty or too large")));
        }
        match (&init, role) {
            (Some(_), Role::Input) => return Err(("init", format!("{name:?} is an input and has an initialisation"))),
            (None, Role::Parameter | Role::State) => {
                return Err(("init", format!("{name:?} is a {} without an initialisation", role.name())));
            }
            (Some(Init::Values(values)), _) if values.len() != ty.elements() => {
                return Err(("init", format!("{name:?} is {ty} and starts from {} values", values.len())));
            }
            _ => {}
        }
        if let Some(positions) = positions.filter(|p| !p.fit(&ty)) {
            return Err(("positions", misplaced(&name, &ty, positions)));
        }
        let value = Value(self.graph.values.len() as u32);
        if self.by_name.insert(name.clone(), value).is_some() {
            return Err(("duplicate_name", format!("{name:?} is declared twice")));
        }
        let decay = decay.unwrap_or_else(|| default_decay(&ty));
        self.graph.values.push((ty, Definition::Argument(self.graph.arguments.len())));
        self.graph.arguments.push(Argument { name, role, value, init, decay, frozen, layer, positions });
        Ok(())
    }
}

/// A position table whose entries are not those it claims.
pub(crate) fn misplaced(name: &str, ty: &TensorType, positions: Positions) -> String {
    format!("{name:?} is {ty}, which does not hold {} {:?}", positions.name(), positions.sizes())
}

/// timm's rule, as [`crate::Builder::argument`] has it: what has one axis or fewer is not decayed.
pub(crate) fn default_decay(ty: &TensorType) -> bool {
    ty.rank() > 1
}

/// The op of that name, of the table or one of those defined, or a message with the nearest one.
pub(crate) fn find_op(name: &str, defined: &Definitions) -> Result<Op, String> {
    ops::lookup(name).or_else(|| defined.find(name)).ok_or_else(|| {
        if is_custom_name(name) {
            let hint = did_you_mean(name, defined.names());
            return format!(
                "{} is not defined before this: an op is made of ops that stand earlier, never of itself{hint}",
                quoted(name)
            );
        }
        let known = ops::TABLE.iter().map(|def| def.name).chain(defined.names());
        format!("no op is called {}{}", quoted(name), did_you_mean(name, known))
    })
}

/// How an op declares the attribute of that name, or a message with the nearest one.
pub(crate) fn find_attribute(op: Op, name: &str) -> Result<(&'static str, AttributeKind), String> {
    op.attribute_defs().find(|def| def.name == name).map(|def| (def.name, def.kind)).ok_or_else(|| {
        let known: Vec<_> = op.attribute_defs().map(|def| def.name).collect();
        let hint = did_you_mean(name, known.iter().copied());
        format!("has no attribute {}{hint}; it has [{}]", quoted(name), known.join(", "))
    })
}

/// Adds an attribute that the op declares and that is not there yet. An integer stands for the number it is; nothing else is
/// converted.
pub(crate) fn add_attribute(
    op: Op,
    attributes: Attributes,
    name: &str,
    value: Attribute,
) -> Result<Attributes, String> {
    let (name, kind) = find_attribute(op, name)?;
    if attributes.get(name).is_some() {
        return Err(format!("has attribute {name:?} twice"));
    }
    let value = match (kind, value) {
        (AttributeKind::Float, Attribute::Int(v)) if v.unsigned_abs() <= 1 << 53 => Attribute::Float(v as f64),
        (_, value) if value.kind() == kind => value,
        // The value itself is left out of the message: it may be long.
        (_, value) => {
            return Err(format!("attribute {name:?} must be a {}, found a {}", kind.name(), value.kind().name()));
        }
    };
    match &value {
        Attribute::Text(text) if text.len() > MAX_NAME => {
            Err(format!("attribute {name:?} is a text of {} bytes, which is too long", text.len()))
        }
        _ => Ok(attributes.with(name, value)),
    }
}

/// `; did you mean "softmax"?`, or nothing when no known word is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    // Comparing costs the product of the lengths, and nobody mistypes a page.
    if word.len() > 64 {
        return String::new();
    }
    let near = known.map(|k| (strsim::damerau_levenshtein(word, k), k)).min();
    match near {
        Some((distance, k)) if distance <= k.len().max(word.len()) / 3 => format!("; did you mean {k:?}?"),
        _ => String::new(),
    }
}

/// A word from outside in quotes, cut where it is long.
pub(crate) fn quoted(word: &str) -> String {
    match word.char_indices().nth(60) {
        None => format!("{word:?}"),
        Some((end, _)) => format!("{:?}... ({} bytes)", &word[..end], word.len()),
    }
}
