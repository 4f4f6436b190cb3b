//! Typed options: what a component can be told, written as a Rust struct.
//!
//! ```text
//! #[derive(Options)]
//! struct FocalPdls {
//!     /// Weight of the annotated label against its prior distribution.
//!     #[option(default = 0.8, range = 0.0..=1.0)]
//!     alpha: f64,
//! }
//! ```
//!
//! The derive turns the struct into a schema (what `plugin show` prints and the host checks a config against) and into a
//! parser of the values that the host hands over. A field without a default is required, unless it is an `Option<T>`.
//!
//! The parser checks as strictly as the host does and fills in defaults itself, so a component's own tests may call it with
//! nothing but the options they are about.

use fer_abi::{BuildError, NamedOption, OptionSpec, OptionValue, option_kind};

/// A component's options as a struct; implemented by `#[derive(Options)]`.
pub trait Options: Sized {
    /// One entry per field, in the order of the fields.
    fn schema() -> Vec<OptionSpec>;

    /// The struct from named values; the error names the option at fault.
    fn from_values(values: &[NamedOption]) -> Result<Self, BuildError>;
}

/// A component without options.
impl Options for () {
    fn schema() -> Vec<OptionSpec> {
        Vec::new()
    }

    fn from_values(values: &[NamedOption]) -> Result<Self, BuildError> {
        derive::refuse_unknown(values, &[])
    }
}

/// A type that a field of an options struct may have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the type of an option",
    label = "not an option type",
    note = "an option is a bool, i64, usize, u32, f64, String, Vec<i64>, Vec<usize>, Vec<f64>, an Option of these, or an enum with #[derive(OptionEnum)]"
)]
pub trait OptionField: Sized {
    /// One of [`option_kind`].
    const KIND: &'static str;
    /// True when the field may be left out without a default.
    const OPTIONAL: bool = false;
    /// What the type itself allows, whatever the attribute says.
    const MIN: Option<f64> = None;
    const MAX: Option<f64> = None;
    /// The words that the type allows; empty when it is not an enum.
    const CHOICES: &'static [&'static str] = &[];

    /// Reads a value; `None` when its kind or size does not fit.
    fn from_value(value: &OptionValue) -> Option<Self>;

    /// The value as data; `None` when there is none to give.
    fn to_value(&self) -> Option<OptionValue>;

    /// The field when nothing is given and there is no default.
    fn absent() -> Option<Self> {
        None
    }
}

/// Marks a type that may stand in `Option<T>`: everything but an `Option` itself.
pub trait PlainField: OptionField {}

macro_rules! plain_field {
    ($type:ty, $kind:ident, $from:expr, $to:expr $(, $name:ident = $bound:expr)*) => {
        impl OptionField for $type {
            const KIND: &'static str = option_kind::$kind;
            $(const $name: Option<f64> = Some($bound);)*

            fn from_value(value: &OptionValue) -> Option<Self> {
                let read: fn(&OptionValue) -> Option<$type> = $from;
                read(value)
            }

            fn to_value(&self) -> Option<OptionValue> {
                let write: fn(&$type) -> OptionValue = $to;
                Some(write(self))
            }
        }

        impl PlainField for $type {}
    };
}

fn as_bool(value: &OptionValue) -> Option<bool> {
    match value {
        OptionValue::Bool(given) => Some(*given),
        _ => None,
    }
}

fn as_int<T: TryFrom<i64>>(value: &OptionValue) -> Option<T> {
    match value {
        OptionValue::Int(given) => T::try_from(*given).ok(),
        _ => None,
    }
}

fn as_float(value: &OptionValue) -> Option<f64> {
    match value {
        OptionValue::Float(given) => Some(*given),
        _ => None,
    }
}

fn as_text(value: &OptionValue) -> Option<String> {
    match value {
        OptionValue::Text(given) => Some(given.to_string()),
        _ => None,
    }
}

fn as_ints<T: TryFrom<i64>>(value: &OptionValue) -> Option<Vec<T>> {
    match value {
        OptionValue::Ints(given) => given.iter().map(|&int| T::try_from(int).ok()).collect(),
        _ => None,
    }
}

fn as_floats(value: &OptionValue) -> Option<Vec<f64>> {
    match value {
        OptionValue::Floats(given) => Some(given.to_vec()),
        _ => None,
    }
}

/// A `usize` beyond `i64::MAX` can only be written in code, as an absurd default; it is shown as the largest that fits.
fn clamp(int: usize) -> i64 {
    i64::try_from(int).unwrap_or(i64::MAX)
}

plain_field!(bool, BOOL, as_bool, |&given| OptionValue::Bool(given));
plain_field!(i64, INT, as_int, |&given| OptionValue::Int(given));
plain_field!(usize, INT, as_int, |&given| OptionValue::Int(clamp(given)), MIN = 0.0);
plain_field!(u32, INT, as_int, |&given| OptionValue::Int(given.into()), MIN = 0.0, MAX = u32::MAX as f64);
plain_field!(f64, FLOAT, as_float, |&given| OptionValue::Float(given));
plain_field!(String, TEXT, as_text, |given| OptionValue::Text(given.as_str().into()));
plain_field!(Vec<i64>, INTS, as_ints, |given| OptionValue::Ints(given.clone().into()));
plain_field!(
    Vec<usize>,
    INTS,
    as_ints,
    |given| OptionValue::Ints(given.iter().map(|&int| clamp(int)).collect()),
    MIN = 0.0
);
plain_field!(Vec<f64>, FLOATS, as_floats, |given| OptionValue::Floats(given.clone().into()));

impl<T: PlainField> OptionField for Option<T> {
    const KIND: &'static str = T::KIND;
    const OPTIONAL: bool = true;
    const MIN: Option<f64> = T::MIN;
    const MAX: Option<f64> = T::MAX;
    const CHOICES: &'static [&'static str] = T::CHOICES;

    fn from_value(value: &OptionValue) -> Option<Self> {
        T::from_value(value).map(Some)
    }

    fn to_value(&self) -> Option<OptionValue> {
        self.as_ref().and_then(T::to_value)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// What the code that the derives write calls; not for people.
#[doc(hidden)]
pub mod derive {
    use super::*;

    /// What an `#[option(...)]` attribute says.
    pub struct Attribute<T> {
        pub name: &'static str,
        pub doc: &'static str,
        pub default: Option<T>,
        pub min: Option<f64>,
        pub max: Option<f64>,
        pub choices: &'static [&'static str],
    }

    /// The schema's entry of one field.
    pub fn spec<T: OptionField>(attribute: &Attribute<T>) -> OptionSpec {
        let choices = if attribute.choices.is_empty() { T::CHOICES } else { attribute.choices };
        OptionSpec {
            name: attribute.name.into(),
            kind: T::KIND.into(),
            optional: T::OPTIONAL,
            default: attribute.default.as_ref().and_then(T::to_value).into(),
            min: attribute.min.or(T::MIN).into(),
            max: attribute.max.or(T::MAX).into(),
            choices: choices.iter().map(|&word| word.into()).collect(),
            doc: attribute.doc.into(),
        }
    }

    /// One field's value: the given one, the default, or an error.
    pub fn field<T: OptionField>(values: &[NamedOption], attribute: Attribute<T>) -> Result<T, BuildError> {
        let spec = spec(&attribute);
        let name = attribute.name;
        let mut given = values.iter().filter(|value| value.name == name);
        let Some(value) = given.next() else {
            return attribute
                .default
                .or_else(T::absent)
                .ok_or_else(|| error(name, format!("the option \"{name}\" is missing"), &expected(&spec)));
        };
        if given.next().is_some() {
            return Err(error(name, format!("the option \"{name}\" is given twice"), ""));
        }
        match T::from_value(&value.value) {
            Some(field) if allowed(&spec, &value.value) => Ok(field),
            _ => Err(error(name, format!("the option \"{name}\" cannot be {}", show(&value.value)), &expected(&spec))),
        }
    }

    /// An error when a value has no field.
    pub fn refuse_unknown(values: &[NamedOption], names: &[&str]) -> Result<(), BuildError> {
        match values.iter().find(|value| !names.contains(&value.name.as_str())) {
            None => Ok(()),
            Some(value) => {
                let help = match names {
                    [] => "it has no options".to_owned(),
                    _ => format!("its options are {}", names.join(", ")),
                };
                let message = format!("there is no option \"{}\"", value.name);
                Err(error(&value.name, message, &help))
            }
        }
    }

    fn allowed(spec: &OptionSpec, value: &OptionValue) -> bool {
        let min = spec.min.into_option().unwrap_or(f64::NEG_INFINITY);
        let max = spec.max.into_option().unwrap_or(f64::INFINITY);
        let within = |number: f64| number.is_finite() && min <= number && number <= max;
        match value {
            OptionValue::Bool(_) => true,
            OptionValue::Int(int) => within(*int as f64),
            OptionValue::Float(float) => within(*float),
            OptionValue::Ints(ints) => ints.iter().all(|&int| within(int as f64)),
            OptionValue::Floats(floats) => floats.iter().all(|&float| within(float)),
            OptionValue::Text(text) => spec.choices.is_empty() || spec.choices.contains(text),
        }
    }

    fn expected(spec: &OptionSpec) -> String {
        if !spec.choices.is_empty() {
            let words: Vec<&str> = spec.choices.iter().map(|word| word.as_str()).collect();
            return format!("\"{}\" is one of {}", spec.name, words.join(", "));
        }
        let bounds = match (spec.min.into_option(), spec.max.into_option()) {
            (Some(min), Some(max)) => format!(" from {min} to {max}"),
            (Some(min), None) => format!(", {min} or more"),
            (None, Some(max)) => format!(", {max} or less"),
            (None, None) => String::new(),
        };
        format!("\"{}\" has the kind {}{bounds}", spec.name, spec.kind)
    }

    fn show(value: &OptionValue) -> String {
        match value {
            OptionValue::Bool(given) => given.to_string(),
            OptionValue::Int(given) => given.to_string(),
            OptionValue::Float(given) => format!("{given:?}"),
            OptionValue::Text(given) => format!("{given:?}"),
            OptionValue::Ints(given) => format!("{given:?}"),
            OptionValue::Floats(given) => format!("{given:?}"),
        }
    }

    fn error(option: &str, message: String, help: &str) -> BuildError {
        BuildError { message: message.into(), option: option.into(), help: help.into(), panicked: false }
    }
}
