//! A component's description as data that serde reads and writes: what the probe's child answers, and `--json` shows.

use abi_stable::std_types::{ROption, RString, RVec};
use fer_abi::{Attribute, Descriptor, NamedAttribute, OptionSpec, OptionValue, option_kind};
use serde::{Deserialize, Serialize};

/// [`Descriptor`] for serde.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentInfo {
    pub kind: String,
    pub id: String,
    pub version: String,
    pub summary: String,
    pub doc: String,
    pub options: Vec<OptionInfo>,
    pub properties: Vec<PropertyInfo>,
}

/// [`OptionSpec`] for serde.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptionInfo {
    pub name: String,
    pub kind: String,
    pub optional: bool,
    pub default: Option<ValueInfo>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub choices: Vec<String>,
    pub doc: String,
}

/// [`NamedAttribute`] for serde.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PropertyInfo {
    pub name: String,
    pub value: ValueInfo,
}

/// A value as JSON writes it. Numbers must be finite, which the registry checks before it writes any. An empty list has no
/// kind in JSON and reads as `Ints`; an option's kind is known and restores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ValueInfo {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

impl From<&Descriptor> for ComponentInfo {
    fn from(descriptor: &Descriptor) -> ComponentInfo {
        ComponentInfo {
            kind: descriptor.kind.to_string(),
            id: descriptor.id.to_string(),
            version: descriptor.version.to_string(),
            summary: descriptor.summary.to_string(),
            doc: descriptor.doc.to_string(),
            options: descriptor.options.iter().map(OptionInfo::from).collect(),
            properties: descriptor
                .properties
                .iter()
                .map(|property| PropertyInfo {
                    name: property.name.to_string(),
                    value: ValueInfo::from(&property.value),
                })
                .collect(),
        }
    }
}

impl From<&OptionSpec> for OptionInfo {
    fn from(spec: &OptionSpec) -> OptionInfo {
        OptionInfo {
            name: spec.name.to_string(),
            kind: spec.kind.to_string(),
            optional: spec.optional,
            default: spec.default.as_ref().map(ValueInfo::from).into_option(),
            min: spec.min.into_option(),
            max: spec.max.into_option(),
            choices: spec.choices.iter().map(RString::to_string).collect(),
            doc: spec.doc.to_string(),
        }
    }
}

impl From<&OptionValue> for ValueInfo {
    fn from(value: &OptionValue) -> ValueInfo {
        match value {
            OptionValue::Bool(given) => ValueInfo::Bool(*given),
            OptionValue::Int(given) => ValueInfo::Int(*given),
            OptionValue::Float(given) => ValueInfo::Float(*given),
            OptionValue::Text(given) => ValueInfo::Text(given.to_string()),
            OptionValue::Ints(given) => ValueInfo::Ints(given.to_vec()),
            OptionValue::Floats(given) => ValueInfo::Floats(given.to_vec()),
        }
    }
}

impl From<&Attribute> for ValueInfo {
    fn from(value: &Attribute) -> ValueInfo {
        match value {
            Attribute::Bool(given) => ValueInfo::Bool(*given),
            Attribute::Int(given) => ValueInfo::Int(*given),
            Attribute::Float(given) => ValueInfo::Float(*given),
            Attribute::Text(given) => ValueInfo::Text(given.to_string()),
            Attribute::Ints(given) => ValueInfo::Ints(given.to_vec()),
            Attribute::Floats(given) => ValueInfo::Floats(given.to_vec()),
        }
    }
}

impl From<ComponentInfo> for Descriptor {
    fn from(info: ComponentInfo) -> Descriptor {
        Descriptor {
            id: info.id.into(),
            kind: info.kind.into(),
            version: info.version.into(),
            summary: info.summary.into(),
            doc: info.doc.into(),
            options: info.options.into_iter().map(OptionSpec::from).collect(),
            properties: info
                .properties
                .into_iter()
                .map(|property| NamedAttribute { name: property.name.into(), value: Attribute::from(property.value) })
                .collect(),
        }
    }
}

impl From<OptionInfo> for OptionSpec {
    fn from(info: OptionInfo) -> OptionSpec {
        let default: ROption<OptionValue> = info.default.map(OptionValue::from).into();
        let default = default.map(|value| match value {
            OptionValue::Ints(list) if list.is_empty() && info.kind == option_kind::FLOATS => {
                OptionValue::Floats(RVec::new())
            }
            other => other,
        });
        OptionSpec {
            name: info.name.into(),
            kind: info.kind.into(),
            optional: info.optional,
            default,
            min: info.min.into(),
            max: info.max.into(),
            choices: info.choices.into_iter().map(RString::from).collect(),
            doc: info.doc.into(),
        }
    }
}

impl From<ValueInfo> for OptionValue {
    fn from(value: ValueInfo) -> OptionValue {
        match value {
            ValueInfo::Bool(given) => OptionValue::Bool(given),
            ValueInfo::Int(given) => OptionValue::Int(given),
            ValueInfo::Float(given) => OptionValue::Float(given),
            ValueInfo::Text(given) => OptionValue::Text(given.into()),
            ValueInfo::Ints(given) => OptionValue::Ints(given.into()),
            ValueInfo::Floats(given) => OptionValue::Floats(given.into()),
        }
    }
}

impl From<ValueInfo> for Attribute {
    fn from(value: ValueInfo) -> Attribute {
        match value {
            ValueInfo::Bool(given) => Attribute::Bool(given),
            ValueInfo::Int(given) => Attribute::Int(given),
            ValueInfo::Float(given) => Attribute::Float(given),
            ValueInfo::Text(given) => Attribute::Text(given.into()),
            ValueInfo::Ints(given) => Attribute::Ints(given.into()),
            ValueInfo::Floats(given) => Attribute::Floats(given.into()),
        }
    }
}
