//! A forward computation as plain data.

use abi_stable::{
    StableAbi,
    std_types::{RString, RVec},
};

/// The value of an attribute.
#[repr(u8)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub enum Attribute {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(RString),
    Ints(RVec<i64>),
    Floats(RVec<f64>),
}

/// An attribute with its name, as in `{padding: 3}`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct NamedAttribute {
    pub name: RString,
    pub value: Attribute,
}

/// Element type (`f`, `bf16`, `i32`, `u8`, `bool`) and concrete shape.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct TensorType {
    pub dtype: RString,
    pub shape: RVec<u64>,
}

/// The words allowed in [`Argument::role`].
pub mod role {
    pub const INPUT: &str = "input";
    pub const PARAMETER: &str = "parameter";
    pub const STATE: &str = "state";
}

/// A value that comes from outside the computation: an input, a trained parameter, or a state that training updates.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Argument {
    /// Unique in the fragment; parameters and states carry state-dict keys (`layers.0.blocks.1.attn.qkv.weight`).
    pub name: RString,
    /// One of [`role`].
    pub role: RString,
    pub ty: TensorType,
    /// How a parameter or state starts: the scheme's name (`zeros`, `trunc_normal` ...) and its numbers. Empty for inputs.
    pub init: RString,
    pub init_attributes: RVec<NamedAttribute>,
    /// Room for what later versions say of an argument (`weight_decay: false`, `frozen: true`).
    pub properties: RVec<NamedAttribute>,
}

/// One operation. Values are numbered: arguments first, then every node's results in order.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Node {
    pub op: RString,
    pub version: u32,
    pub operands: RVec<u32>,
    pub attributes: RVec<NamedAttribute>,
    /// Dotted path, named like the parameters it holds (`layers.0.blocks.1.attn`).
    pub scope: RString,
}

/// A named result of the fragment.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Output {
    pub name: RString,
    pub value: u32,
}

/// A state's new value after a training step.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Update {
    pub state: RString,
    pub value: u32,
}

/// An operand of a [`Definition`].
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Operand {
    /// Unique in the definition.
    pub name: RString,
    pub ty: TensorType,
}

/// A composite op that a plugin brings along: it means its body, for operands of exactly these types.
///
/// A node calls it by its name. Where several definitions of a fragment share a name, because the op is used with several shapes,
/// the second is called `name/1`, the third `name/2`, in the order of the list.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Definition {
    /// Two words with one dot between them, as in `focal.terms`: lower case letters, digits and `_`, each beginning with a letter.
    pub name: RString,
    /// The op's own version, from 1.
    pub version: u32,
    pub operands: RVec<Operand>,
    /// The body. Values are numbered: operands first, then every node's results in order. Ops of the table, and definitions that
    /// stand earlier in the list; no random numbers.
    pub nodes: RVec<Node>,
    /// The values that are the op's results, in order.
    pub results: RVec<u32>,
}

/// A component's forward computation.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Fragment {
    pub name: RString,
    /// The plugin's own ops; each may use those before it.
    pub definitions: RVec<Definition>,
    pub arguments: RVec<Argument>,
    pub nodes: RVec<Node>,
    pub outputs: RVec<Output>,
    pub updates: RVec<Update>,
}
