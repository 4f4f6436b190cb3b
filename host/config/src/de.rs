//! A serde deserializer over the tree, so that whatever serde refuses is told at the node it was written in.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::fault::{Fault, Place, called};
use crate::source::Span;
use crate::tree::{Field, Node, Value, join};

/// A node that is being read, and the path to it.
#[derive(Clone)]
pub(crate) struct De<'t> {
    root: &'t Node,
    node: &'t Node,
    path: String,
    /// The node is a variant whose name was read: only its content counts.
    content: bool,
}

type Result<T> = std::result::Result<T, Fault>;

impl<'t> De<'t> {
    /// The whole tree.
    pub fn root(root: &'t Node) -> Self {
        Self { root, node: root, path: String::new(), content: false }
    }

    fn child(&self, node: &'t Node, path: String) -> Self {
        Self { root: self.root, node, path, content: false }
    }

    fn tell(&self, fault: Fault, kind: &'static str, span: &Span) -> Fault {
        fault.told(&Place { root: self.root, node: self.node, path: &self.path, kind }, span)
    }

    fn wrong(&self, expected: impl Into<String>) -> Fault {
        if let (true, Some(name)) = (self.content, self.node.name()) {
            let message = format!("`{name}(...)` must hold {}", expected.into());
            let error = crate::ConfigError::new(format!("{}: {message}", called(&self.path)));
            return Fault::Told(Box::new(error.label(&self.node.span, "found here")));
        }
        self.tell(Fault::WrongType { expected: expected.into() }, "", &self.node.span)
    }

    /// Runs a visitor; what it refuses is told at this node.
    fn visit<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|fault| self.tell(fault, "", &self.node.span))
    }

    /// Sees through `Some` where a plain value is wanted.
    fn value(&self) -> &'t Value {
        match &self.node.value {
            Value::Some(inner) => &inner.value,
            value => value,
        }
    }

    fn whole<V: Visitor<'t>>(self, visitor: V, least: i128, most: i128) -> Result<V::Value> {
        match self.value() {
            Value::Int(number) if (least..=most).contains(number) => self.visit(match i64::try_from(*number) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => visitor.visit_u64(*number as u64),
            }),
            Value::Int(number) if *number < least && least == 0 => Err(self.wrong("a whole number of 0 or more")),
            Value::Int(_) => Err(self.wrong(format!("a whole number of {least} to {most}"))),
            _ => Err(self.wrong("a whole number")),
        }
    }

    fn number<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        match self.value() {
            Value::Int(number) => self.visit(visitor.visit_f64(*number as f64)),
            Value::Float(number) => self.visit(visitor.visit_f64(*number)),
            _ => Err(self.wrong("a number")),
        }
    }

    fn text<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        match self.value() {
            Value::Text(text) => self.visit(visitor.visit_borrowed_str(text)),
            _ => Err(self.wrong("text in quotes")),
        }
    }

    fn items<V: Visitor<'t>>(self, items: &'t [Node], visitor: V) -> Result<V::Value> {
        let result = visitor.visit_seq(Items { items: items.iter().enumerate(), de: &self });
        self.visit(result)
    }

    /// The keys of a group (of a word: none) to a visitor.
    fn fields<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        let fields = self.node.inner_group().iter();
        let result = visitor.visit_map(Fields { fields, value: None, de: &self });
        self.visit(result)
    }
}

impl Node {
    /// The fields of a group, `Some` seen through.
    fn inner_group(&self) -> &[Field] {
        match &self.value {
            Value::Some(inner) => inner.inner_group(),
            _ => self.fields(),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
            self.whole(visitor, <$type>::MIN as i128, <$type>::MAX as i128)
        }
    )*};
}

impl<'t> Deserializer<'t> for De<'t> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        match self.value() {
            Value::Bool(flag) => self.visit(visitor.visit_bool(*flag)),
            Value::Int(_) => self.whole(visitor, i128::from(i64::MIN), i128::from(u64::MAX)),
            Value::Float(_) => self.number(visitor),
            Value::Text(_) => self.text(visitor),
            Value::List(items) => self.items(items, visitor),
            _ => {
                let expected = (&visitor as &dyn Expected).to_string();
                Err(self.wrong(expected))
            }
        }
    }

    whole_numbers! {
        deserialize_i8 i8,
        deserialize_i16 i16,
        deserialize_i32 i32,
        deserialize_i64 i64,
        deserialize_u8 u8,
        deserialize_u16 u16,
        deserialize_u32 u32,
        deserialize_u64 u64,
    }

    fn deserialize_f32<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        self.number(visitor)
    }

    fn deserialize_f64<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        self.number(visitor)
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        match self.value() {
            Value::Bool(flag) => self.visit(visitor.visit_bool(*flag)),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn deserialize_char<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        match self.value() {
            Value::Char(letter) => self.visit(visitor.visit_char(*letter)),
            _ => Err(self.wrong("a character in single quotes")),
        }
    }

    fn deserialize_str<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        self.text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        match &self.node.value {
            Value::None => visitor.visit_none(),
            Value::Some(inner) => {
                let inner = self.child(inner, self.path.clone());
                visitor.visit_some(inner)
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value> {
        match self.value() {
            Value::List(items) => self.items(items, visitor),
            _ => Err(self.wrong("a list `[...]`")),
        }
    }

    fn deserialize_tuple<V: Visitor<'t>>(self, length: usize, visitor: V) -> Result<V::Value> {
        match self.value() {
            Value::List(items) | Value::Tuple { name: None, items } if items.len() == length => {
                self.items(items, visitor)
            }
            Value::List(items) | Value::Tuple { name: None, items } => {
                let fault = Fault::WrongLength { found: items.len(), expected: format!("{length} values") };
                Err(self.tell(fault, "", &self.node.span))
            }
            _ => Err(self.wrong(format!("a tuple of {length}"))),
        }
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        kind: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.value() {
            Value::Word(_) if self.content => self.fields(visitor),
            Value::Group { name: None, .. } => self.fields(visitor),
            Value::Group { name: Some(name), .. } if self.content || name.text == kind => self.fields(visitor),
            Value::Group { name: Some(name), .. } if kind != "Component" => {
                let fault = Fault::Other(format!("expected `{kind}(...)` or `(...)`, found `{}(...)`", name.text));
                Err(self.tell(fault, kind, &name.span))
            }
            _ if kind == "Component" => Err(self.wrong("a component `(plugin: \"name\", ...)` or the text \"name\"")),
            _ if kind == "Experiment" => Err(self.wrong("written `Experiment(name: ..., ...)`")),
            _ => Err(self.wrong("a group of keys `(key: value)`")),
        }
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        kind: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        if let Value::Some(inner) = &self.node.value {
            return self.child(inner, self.path.clone()).deserialize_enum(kind, variants, visitor);
        }
        // `None` is a word like any other where it is one of the variants.
        let name = match &self.node.value {
            Value::None => Some("None"),
            _ => self.node.name(),
        };
        match name {
            Some(name) => visitor.visit_enum(Choice { de: self, name, kind }),
            None => {
                let fault = self.wrong(format!("one of {}", variants.join(", ")));
                let unquoted = match (&self.node.value, fault) {
                    (Value::Text(text), Fault::Told(error)) if variants.contains(&text.as_str()) => {
                        error.help(format!("write {text}, without quotes"))
                    }
                    (Value::Group { .. }, Fault::Told(error)) => {
                        error.help(format!("write it with its name, for example {}(...)", variants[0]))
                    }
                    (_, fault) => return Err(fault),
                };
                Err(Fault::Told(Box::new(unquoted)))
            }
        }
    }

    serde::forward_to_deserialize_any! { <V: Visitor<'t>> i128 u128 bytes byte_buf unit unit_struct tuple_struct map ignored_any }
}

/// Items of a list or a tuple.
struct Items<'a, 't> {
    items: std::iter::Enumerate<std::slice::Iter<'t, Node>>,
    de: &'a De<'t>,
}

impl<'t> SeqAccess<'t> for Items<'_, 't> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.de.child(item, join(&self.de.path, index))).map(Some)
    }
}

/// Keys and values of a group.
struct Fields<'a, 't> {
    fields: std::slice::Iter<'t, Field>,
    value: Option<&'t Field>,
    de: &'a De<'t>,
}

impl<'t> MapAccess<'t> for Fields<'_, 't> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.value = self.fields.next();
        let Some(field) = self.value else { return Ok(None) };
        let key = seed.deserialize(BorrowedStrDeserializer::<Fault>::new(&field.key));
        key.map(Some).map_err(|fault| self.de.tell(fault, "", &field.key_span))
    }

    fn next_value_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<S::Value> {
        match self.value.take() {
            Some(field) => seed.deserialize(self.de.child(&field.node, join(&self.de.path, &field.key))),
            None => Err(Fault::custom("a value was asked for before its key")),
        }
    }
}

/// A variant's name, then its content.
struct Choice<'t> {
    de: De<'t>,
    name: &'t str,
    kind: &'static str,
}

impl<'t> EnumAccess<'t> for Choice<'t> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'t>>(self, seed: V) -> Result<(V::Value, Self)> {
        match seed.deserialize(BorrowedStrDeserializer::<Fault>::new(self.name)) {
            Ok(variant) => Ok((variant, self)),
            Err(fault) => Err(self.de.tell(fault, self.kind, self.de.node.name_span())),
        }
    }
}

impl Choice<'_> {
    fn refuse(&self, what: &str) -> Fault {
        let message = format!("`{}` {what}", self.name);
        let error = crate::ConfigError::new(match self.de.path.is_empty() {
            true => message,
            false => format!("{}: {message}", called(&self.de.path)),
        });
        Fault::Told(Box::new(error.label(&self.de.node.span, "found here")))
    }
}

impl<'t> VariantAccess<'t> for Choice<'t> {
    type Error = Fault;

    fn unit_variant(self) -> Result<()> {
        match &self.de.node.value {
            Value::Word(_) | Value::None => Ok(()),
            Value::Group { fields, .. } if fields.is_empty() => Ok(()),
            _ => Err(self.refuse("takes no settings")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'t>>(self, seed: T) -> Result<T::Value> {
        match &self.de.node.value {
            Value::Tuple { items, .. } => match items.as_slice() {
                [item] => seed.deserialize(self.de.child(item, self.de.path.clone())),
                _ => Err(self.refuse("takes one value")),
            },
            _ => seed.deserialize(De { content: true, ..self.de }),
        }
    }

    fn tuple_variant<V: Visitor<'t>>(self, length: usize, visitor: V) -> Result<V::Value> {
        match &self.de.node.value {
            Value::Tuple { items, .. } if items.len() == length => self.de.clone().items(items, visitor),
            _ => Err(self.refuse(&format!("takes {length} values"))),
        }
    }

    fn struct_variant<V: Visitor<'t>>(self, keys: &'static [&'static str], visitor: V) -> Result<V::Value> {
        match &self.de.node.value {
            Value::Word(_) | Value::Group { .. } => self.de.clone().fields(visitor),
            _ => {
                let keys: Vec<String> = keys.iter().map(|key| format!("{key}: ...")).collect();
                Err(self.refuse(&format!("takes named settings: {}({})", self.name, keys.join(", "))))
            }
        }
    }
}
