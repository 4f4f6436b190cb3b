//! A value that a user wrote.

use std::fmt;

/// A value as a config writes it, before the schema says what it means.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionInput {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<OptionInput>),
}

impl From<bool> for OptionInput {
    fn from(value: bool) -> OptionInput {
        OptionInput::Bool(value)
    }
}

impl From<i64> for OptionInput {
    fn from(value: i64) -> OptionInput {
        OptionInput::Int(value)
    }
}

impl From<f64> for OptionInput {
    fn from(value: f64) -> OptionInput {
        OptionInput::Float(value)
    }
}

impl From<&str> for OptionInput {
    fn from(value: &str) -> OptionInput {
        OptionInput::Text(value.to_owned())
    }
}

impl<T: Into<OptionInput>> From<Vec<T>> for OptionInput {
    fn from(values: Vec<T>) -> OptionInput {
        OptionInput::List(values.into_iter().map(Into::into).collect())
    }
}

/// As an error message shows it.
impl fmt::Display for OptionInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionInput::Bool(value) => write!(f, "{value}"),
            OptionInput::Int(value) => write!(f, "{value}"),
            OptionInput::Float(value) => write!(f, "{value:?}"),
            OptionInput::Text(value) => write!(f, "{value:?}"),
            OptionInput::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    match index {
                        0 => write!(f, "{value}")?,
                        8 => return f.write_str(", ...]"),
                        _ => write!(f, ", {value}")?,
                    }
                }
                f.write_str("]")
            }
        }
    }
}
