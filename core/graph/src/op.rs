//! What an operation is: one row of a table, whose columns live in one file per family under `ops/`.

use std::fmt;

use crate::{Attribute, AttributeKind, Attributes, Body, Builder, GraphError, Result, TensorType, Value};

/// What may be done with an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Every engine must execute it.
    Primitive,
    /// Means exactly its decomposition; an engine may take it whole.
    Composite,
    /// Emitted by differentiation only; refused from a plugin.
    Adjoint,
}

/// One attribute an op declares.
#[derive(Debug)]
pub struct AttributeDef {
    pub name: &'static str,
    pub kind: AttributeKind,
    pub required: bool,
    pub doc: &'static str,
}

/// The operands an op takes.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    pub names: &'static [&'static str],
    /// The first `required` names must be given.
    pub required: usize,
    /// The last name may be given any number of times.
    pub variadic: bool,
}

/// The derivative of a primitive, as a graph.
pub type VjpRule = fn(&Builder, &Vjp<'_>) -> Result<Vec<Option<Value>>>;
/// The meaning of a composite, as a graph of smaller ops.
pub type Decomposition = fn(&Builder, &[Value], &Attributes) -> Result<Vec<Value>>;

/// What stands behind an op.
#[derive(Clone, Copy)]
pub enum Meaning {
    /// Engines implement it; the rule gives its vector-Jacobian product.
    Primitive(VjpRule),
    /// Engines implement it; it has no derivative of its own.
    Terminal,
    /// It is its decomposition, and its derivative is derived from that.
    Composite(Decomposition),
    /// A plugin's composite: it is this graph.
    Custom(&'static Body),
}

/// A row of the op table.
pub struct OpDef {
    pub name: &'static str,
    pub version: u32,
    pub class: Class,
    /// One line for the op reference.
    pub summary: &'static str,
    pub operands: Operands,
    pub attributes: &'static [AttributeDef],
    /// `(label, rule)`, in the order in which [`OpDef::infer`] checks them.
    pub constraints: &'static [(&'static str, &'static str)],
    /// Result types; checks every constraint.
    pub infer: fn(&Call<'_>) -> Result<Vec<TensorType>>,
    pub meaning: Meaning,
    /// Floating-point operations of one execution (a multiply-add is two).
    pub flops: fn(&Call<'_>, &[TensorType]) -> u64,
}

impl fmt::Debug for OpDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// An op, or the adjoint of a composite: `layer_norm`, `layer_norm_vjp`.
///
/// The adjoint of a composite takes the forward operands and the cotangents of the results listed in `cotangents`, and gives the
/// cotangents of the operands listed in `wrt`. Its decomposition is derived from the forward one.
#[derive(Clone, Copy)]
pub struct Op {
    pub def: &'static OpDef,
    pub adjoint: bool,
}

/// The suffix of an adjoint's name.
pub const ADJOINT_SUFFIX: &str = "_vjp";

pub(crate) static ADJOINT_ATTRIBUTES: [AttributeDef; 2] = [
    AttributeDef {
        name: "wrt",
        kind: AttributeKind::Ints,
        required: true,
        doc: "operands whose cotangents are results",
    },
    AttributeDef {
        name: "cotangents",
        kind: AttributeKind::Ints,
        required: true,
        doc: "results whose cotangents are operands",
    },
];

impl Op {
    pub fn name(self) -> String {
        if self.adjoint { format!("{}{ADJOINT_SUFFIX}", self.def.name) } else { self.def.name.to_owned() }
    }

    pub fn is(self, name: &str) -> bool {
        !self.adjoint && self.def.name == name
    }

    pub fn class(self) -> Class {
        if self.adjoint { Class::Adjoint } else { self.def.class }
    }

    /// Whether the op is defined by smaller ops, which an engine may run instead.
    pub fn decomposes(self) -> bool {
        matches!(self.def.meaning, Meaning::Composite(_) | Meaning::Custom(_))
    }

    /// The op in terms of smaller ones; of an adjoint, its forward op.
    ///
    /// # Errors
    /// Those of the decomposition; `primitive` when there is none.
    pub fn decompose(self, b: &Builder, operands: &[Value], attributes: &Attributes) -> Result<Vec<Value>> {
        match self.def.meaning {
            Meaning::Composite(decompose) => decompose(b, operands, attributes),
            Meaning::Custom(body) => body.inline(b, operands),
            Meaning::Primitive(_) | Meaning::Terminal => {
                Err(b.malformed("primitive", format!("{self:?} has no decomposition")))
            }
        }
    }

    /// The attribute declarations, the adjoint's own included.
    pub fn attribute_defs(self) -> impl Iterator<Item = &'static AttributeDef> {
        let own: &'static [AttributeDef] = if self.adjoint { &ADJOINT_ATTRIBUTES } else { &[] };
        self.def.attributes.iter().chain(own)
    }

    /// Result types of the op on operands of the given types.
    ///
    /// # Errors
    /// [`GraphError::Constraint`] naming the first rule that is broken.
    pub fn infer(self, operands: &[&TensorType], attributes: &Attributes) -> Result<Vec<TensorType>> {
        let fail = |constraint: &str, message: String| GraphError::Constraint {
            op: self.name(),
            constraint: format!("{}_{constraint}", self.def.name),
            message,
            scope: String::new(),
        };
        self.check_attributes(attributes, &fail)?;
        if !self.adjoint {
            return self.infer_forward(operands, attributes, &fail);
        }
        let incoming = attributes.sizes("cotangents");
        let Some(split) = operands.len().checked_sub(incoming.len()) else {
            return Err(fail("arity", format!("takes {} cotangents, got {} operands", incoming.len(), operands.len())));
        };
        let (forward, cotangents) = operands.split_at(split);
        let results = self.infer_forward(forward, attributes, &fail)?;
        for (&index, &given) in incoming.iter().zip(cotangents) {
            let Some(result) = results.get(index) else {
                return Err(fail("cotangent", format!("has no result {index}")));
            };
            if given != result {
                return Err(fail("cotangent", format!("result {index} is {result}, its cotangent {given}")));
            }
        }
        attributes
            .sizes("wrt")
            .into_iter()
            .map(|index| match forward.get(index) {
                Some(ty) if ty.dtype.is_float() => Ok((*ty).clone()),
                Some(ty) => Err(fail("wrt", format!("operand {index} is {ty}, which carries no gradient"))),
                None => Err(fail("wrt", format!("has no operand {index}"))),
            })
            .collect()
    }

    fn infer_forward(
        self,
        operands: &[&TensorType],
        attributes: &Attributes,
        fail: &dyn Fn(&str, String) -> GraphError,
    ) -> Result<Vec<TensorType>> {
        let Operands { names, required, variadic } = self.def.operands;
        if operands.len() < required || (!variadic && operands.len() > names.len()) {
            return Err(fail(
                "arity",
                format!(
                    "takes {} ({}), got {} operands",
                    arity(required, names.len(), variadic),
                    names.join(", "),
                    operands.len()
                ),
            ));
        }
        let results = (self.def.infer)(&Call { op: self.def, operands, attributes })?;
        match results.iter().find(|ty| !ty.is_sane()) {
            Some(ty) => Err(fail("size", format!("would give {ty}, which is empty or too large"))),
            None => Ok(results),
        }
    }

    fn check_attributes(self, attributes: &Attributes, fail: &dyn Fn(&str, String) -> GraphError) -> Result<()> {
        for (name, value) in attributes.iter() {
            match self.attribute_defs().find(|d| d.name == name) {
                None => {
                    let known: Vec<_> = self.attribute_defs().map(|d| d.name).collect();
                    return Err(fail("attribute", format!("has no attribute {name:?}; it has [{}]", known.join(", "))));
                }
                Some(def) if def.kind != value.kind() => {
                    let message = format!("attribute {name:?} must be a {}, found {value}", def.kind.name());
                    return Err(fail("attribute", message));
                }
                Some(_) => {}
            }
        }
        match self.attribute_defs().find(|d| d.required && attributes.get(d.name).is_none()) {
            Some(missing) => Err(fail("attribute", format!("needs attribute {:?} ({})", missing.name, missing.doc))),
            None => Ok(()),
        }
    }

    /// Floating-point operations of one execution. An adjoint is estimated as twice its forward.
    pub fn flops(self, operands: &[&TensorType], attributes: &Attributes) -> u64 {
        if self.adjoint {
            let forward = &operands[..operands.len().saturating_sub(attributes.ints("cotangents").len())];
            let call = Call { op: self.def, operands: forward, attributes };
            return (self.def.infer)(&call).map_or(0, |results| (self.def.flops)(&call, &results).saturating_mul(2));
        }
        let call = Call { op: self.def, operands, attributes };
        (self.def.infer)(&call).map_or(0, |results| (self.def.flops)(&call, &results))
    }
}

fn arity(required: usize, most: usize, variadic: bool) -> String {
    match (variadic, required == most) {
        (true, _) => format!("at least {required}"),
        (false, true) => format!("{required}"),
        (false, false) => format!("{required} to {most}"),
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        std::ptr::eq(self.def, other.def) && self.adjoint == other.adjoint
    }
}
impl Eq for Op {}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl From<&'static OpDef> for Op {
    fn from(def: &'static OpDef) -> Op {
        Op { def, adjoint: false }
    }
}

/// An op applied to operands of known types: what `infer` and `flops` look at.
pub struct Call<'a> {
    pub op: &'static OpDef,
    pub operands: &'a [&'a TensorType],
    pub attributes: &'a Attributes,
}

impl Call<'_> {
    /// Operand `i`; the arity has been checked.
    pub fn ty(&self, i: usize) -> &TensorType {
        self.operands[i]
    }

    pub fn shape(&self, i: usize) -> &[usize] {
        &self.operands[i].shape
    }

    /// Constraint `label` (`c1` ...) of this op.
    ///
    /// # Errors
    /// [`GraphError::Constraint`] unless `holds`.
    pub fn require(&self, holds: bool, label: &str, message: impl FnOnce() -> String) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(GraphError::Constraint {
            op: self.op.name.to_owned(),
            constraint: format!("{}_{label}", self.op.name),
            message: message(),
            scope: String::new(),
        })
    }

    /// The operand's element type must be a float.
    pub(crate) fn float(&self, i: usize, label: &str) -> Result<()> {
        self.require(self.ty(i).dtype.is_float(), label, || {
            format!(
                "{} must be float, found {}",
                self.op.operands.names[i.min(self.op.operands.names.len() - 1)],
                self.ty(i)
            )
        })
    }

    /// A list attribute as sizes of the given length; negative entries break the constraint.
    pub(crate) fn sizes(&self, name: &str, length: usize, least: usize, label: &str) -> Result<Vec<usize>> {
        let found = self.attributes.ints(name);
        self.require(found.len() == length && found.iter().all(|&v| v >= least as i64 && v <= 1 << 32), label, || {
            format!("{name} must be {length} integers of at least {least}, found {found:?}")
        })?;
        Ok(found.iter().map(|&v| v as usize).collect())
    }

    /// An axis attribute within the rank of operand `i`.
    pub(crate) fn axis(&self, name: &str, i: usize, label: &str) -> Result<usize> {
        let axis = self.attributes.int(name);
        let rank = self.ty(i).rank();
        self.require(axis >= 0 && (axis as usize) < rank, label, || {
            format!("{name} must be within the {rank} axes of {}, found {axis}", self.ty(i))
        })?;
        Ok(axis as usize)
    }

    /// A list attribute of distinct, increasing axes within the rank of operand `i`.
    pub(crate) fn axes(&self, name: &str, i: usize, label: &str) -> Result<Vec<usize>> {
        let found = self.attributes.ints(name);
        let rank = self.ty(i).rank() as i64;
        let ordered = found.windows(2).all(|w| w[0] < w[1]);
        self.require(ordered && found.iter().all(|&a| (0..rank).contains(&a)), label, || {
            format!("{name} must be increasing axes of {}, found {found:?}", self.ty(i))
        })?;
        Ok(found.iter().map(|&v| v as usize).collect())
    }

    /// An optional attribute.
    pub fn optional(&self, name: &str) -> Option<&Attribute> {
        self.attributes.get(name)
    }
}

/// What a derivative rule is given.
pub struct Vjp<'a> {
    pub operands: &'a [Value],
    pub results: &'a [Value],
    /// One entry per result; at least one is present.
    pub cotangents: &'a [Option<Value>],
    pub attributes: &'a Attributes,
    /// Which operands' cotangents are wanted.
    pub wrt: &'a [bool],
}

impl Vjp<'_> {
    /// The cotangent of a single-result op.
    pub fn cotangent(&self) -> Value {
        self.cotangents[0].expect("a rule is only asked where a cotangent arrives")
    }

    /// The rule of operand `i`, computed only if it is wanted.
    pub fn when(&self, i: usize, rule: impl FnOnce() -> Result<Value>) -> Result<Option<Value>> {
        if self.wrt.get(i).copied().unwrap_or(false) { rule().map(Some) } else { Ok(None) }
    }
}
