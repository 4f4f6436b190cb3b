//! A component of the model or a loss: a plugin's name, its options, and where its weights come from.
//!
//! The options are whatever the plugin declares, so they are kept as plain values here and checked later against the
//! plugin's own schema.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `(plugin: "swin", variant: "small", pretrained: File("swin.safetensors"))`: every key but `plugin`, `pretrained`,
/// `pretrained_ignore` and `sha256` is an option of the plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Component {
    pub plugin: String,
    /// In the order in which they are written.
    pub options: Vec<(String, OptionValue)>,
    pub pretrained: Option<Pretrained>,
    /// Patterns over names, the model's or the file's, that need not fit.
    pub pretrained_ignore: Vec<String>,
    /// The hash of the plugin's library, in hexadecimal: no other is used.
    pub sha256: Option<String>,
}

impl Component {
    /// The value of an option, if the config gives it.
    pub fn option(&self, name: &str) -> Option<&OptionValue> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// The value of a plugin's option.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OptionValue {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<OptionValue>),
}

/// Weights that a component starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pretrained {
    /// A safetensors file, or a PyTorch state dict.
    File(PathBuf),
    /// A model on the Hugging Face hub, `owner/name` or `owner/name@revision`.
    Hub(String),
}

/// RON text.
impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Str(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

/// As one flat map, which is also what reads well in JSON.
impl Serialize for Component {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("plugin", &self.plugin)?;
        for (key, value) in &self.options {
            map.serialize_entry(key, value)?;
        }
        if let Some(pretrained) = &self.pretrained {
            map.serialize_entry("pretrained", pretrained)?;
        }
        if !self.pretrained_ignore.is_empty() {
            map.serialize_entry("pretrained_ignore", &self.pretrained_ignore)?;
        }
        if let Some(sha256) = &self.sha256 {
            map.serialize_entry("sha256", sha256)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(
            "Component",
            &["plugin", "pretrained", "pretrained_ignore", "sha256"],
            ComponentVisitor,
        )
    }
}

struct ComponentVisitor;

impl<'de> Visitor<'de> for ComponentVisitor {
    type Value = Component;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a component `(plugin: \"name\", ...)`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Component, A::Error> {
        let (mut plugin, mut pretrained, mut options) = (None, None, Vec::<(String, OptionValue)>::new());
        let (mut pretrained_ignore, mut sha256) = (vec![], None);
        while let Some(Key(key)) = map.next_key()? {
            match key.as_str() {
                "plugin" if plugin.is_some() => return Err(A::Error::duplicate_field("plugin")),
                "plugin" => plugin = Some(map.next_value()?),
                "pretrained" => pretrained = map.next_value()?,
                "pretrained_ignore" => pretrained_ignore = map.next_value()?,
                "sha256" => sha256 = map.next_value()?,
                _ if options.iter().any(|(other, _)| *other == key) => {
                    return Err(A::Error::custom(format_args!("the option `{key}` is given twice")));
                }
                _ => options.push((key, map.next_value()?)),
            }
        }
        let plugin = plugin.ok_or_else(|| A::Error::missing_field("plugin"))?;
        Ok(Component { plugin, options, pretrained, pretrained_ignore, sha256 })
    }
}

/// A key of a component. Keys are identifiers to RON, which does not hand them out as texts.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an option")
            }
            fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
                Ok(Key(key.to_owned()))
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OptionVisitor)
    }
}

struct OptionVisitor;

impl<'de> Visitor<'de> for OptionVisitor {
    type Value = OptionValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false, a number, text in quotes, or a list of these")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<OptionValue, E> {
        Ok(OptionValue::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<OptionValue, E> {
        Ok(OptionValue::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<OptionValue, E> {
        let large = || E::custom("an option holds whole numbers up to 9223372036854775807");
        i64::try_from(number).map(OptionValue::Int).map_err(|_| large())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<OptionValue, E> {
        Ok(OptionValue::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OptionValue, E> {
        Ok(OptionValue::Str(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OptionValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(OptionValue::List(list))
    }
}
