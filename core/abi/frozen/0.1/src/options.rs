//! What a component can be told, as a schema and as values.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RString, RVec},
};

/// The words allowed in [`OptionSpec::kind`].
pub mod option_kind {
    pub const BOOL: &str = "bool";
    pub const INT: &str = "int";
    pub const FLOAT: &str = "float";
    pub const TEXT: &str = "text";
    pub const INTS: &str = "ints";
    pub const FLOATS: &str = "floats";
}

/// The value of an option. An option without a value is absent from the list.
#[repr(u8)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub enum OptionValue {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(RString),
    Ints(RVec<i64>),
    Floats(RVec<f64>),
}

/// One option of a component.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct OptionSpec {
    pub name: RString,
    /// One of [`option_kind`].
    pub kind: RString,
    /// May be left out without a default (an `Option<T>` field): the component then decides.
    pub optional: bool,
    pub default: ROption<OptionValue>,
    /// Inclusive bounds of a number, or of every number of a list.
    pub min: ROption<f64>,
    pub max: ROption<f64>,
    /// The words a text may be; empty when any will do.
    pub choices: RVec<RString>,
    /// One or more sentences for `plugin show`.
    pub doc: RString,
}

/// An option with its value, as the host hands it over: checked against the schema, defaults filled in.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct NamedOption {
    pub name: RString,
    pub value: OptionValue,
}
