//! Checks what a user wrote against a component's option schema.

use fer_abi::{Descriptor, NamedOption, OptionSpec, OptionValue, option_kind};

use crate::{
    error::nearest,
    input::OptionInput,
    spec::{expectation, fits},
};

/// What kind of mistake an [`OptionError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionErrorKind {
    /// The component has no such option.
    Unknown,
    /// A required option was not given.
    Missing,
    /// Given more than once.
    Twice,
    /// The value's kind, range or word does not fit.
    Value,
}

/// An option that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OptionError {
    pub kind: OptionErrorKind,
    /// The option at fault, as the user wrote it (the missing one's name when it was not written).
    pub option: String,
    /// Fits "error: ...".
    pub message: String,
    /// What was given; empty for a missing option.
    pub found: Box<str>,
    /// What may be given, as in "a number from 0 to 1"; for an unknown option, the names there are.
    pub expected: Box<str>,
    /// Fits "help: ...", may be empty.
    pub help: String,
}

/// The complete list of values: given ones coerced and checked, defaults filled in, in the order of the schema.
pub(crate) fn check(component: &Descriptor, given: &[(String, OptionInput)]) -> Result<Vec<NamedOption>, OptionError> {
    let title = format!("{} \"{}\"", component.kind, component.id);
    for (index, (name, input)) in given.iter().enumerate() {
        if !component.options.iter().any(|spec| spec.name == *name) {
            return Err(unknown(component, &title, name, input));
        }
        if given[..index].iter().any(|(other, _)| other == name) {
            return Err(OptionError {
                kind: OptionErrorKind::Twice,
                option: name.clone(),
                message: format!("the option \"{name}\" of {title} is given twice"),
                found: input.to_string().into(),
                expected: "one value".into(),
                help: String::new(),
            });
        }
    }
    let mut values = Vec::new();
    for spec in &component.options {
        let input = given.iter().find(|(name, _)| spec.name == *name);
        let value = match input {
            Some((_, input)) => Some(convert(spec, &title, input)?),
            None => spec.default.clone().into_option(),
        };
        match value {
            Some(value) => values.push(NamedOption { name: spec.name.clone(), value }),
            None if spec.optional => {}
            None => return Err(missing(spec, &title)),
        }
    }
    Ok(values)
}

fn unknown(component: &Descriptor, title: &str, name: &str, input: &OptionInput) -> OptionError {
    let names: Vec<&str> = component.options.iter().map(|spec| spec.name.as_str()).collect();
    let expected = match names.as_slice() {
        [] => "no options".to_owned(),
        names => names.join(", "),
    };
    let help = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"? {title} has: {expected}"),
        None => format!("{title} has: {expected}"),
    };
    OptionError {
        kind: OptionErrorKind::Unknown,
        option: name.to_owned(),
        message: format!("{title} has no option \"{name}\""),
        found: input.to_string().into(),
        expected: expected.into(),
        help,
    }
}

fn missing(spec: &OptionSpec, title: &str) -> OptionError {
    let expected = expectation(spec);
    let doc = spec.doc.lines().next().unwrap_or_default();
    OptionError {
        kind: OptionErrorKind::Missing,
        option: spec.name.to_string(),
        message: format!("{title} needs the option \"{}\"", spec.name),
        found: "".into(),
        help: match doc {
            "" => format!("\"{}\" is {expected}", spec.name),
            doc => format!("\"{}\" is {expected}: {doc}", spec.name),
        },
        expected: expected.into(),
    }
}

/// The value that the schema makes of an input.
fn convert(spec: &OptionSpec, title: &str, input: &OptionInput) -> Result<OptionValue, OptionError> {
    let refuse = |help: String| {
        let expected = expectation(spec);
        OptionError {
            kind: OptionErrorKind::Value,
            option: spec.name.to_string(),
            message: format!("the option \"{}\" of {title} must be {expected}, not {input}", spec.name),
            found: input.to_string().into(),
            expected: expected.into(),
            help,
        }
    };
    let value = match (spec.kind.as_str(), input) {
        (option_kind::BOOL, OptionInput::Bool(value)) => Some(OptionValue::Bool(*value)),
        (option_kind::INT, input) => int(input).map(OptionValue::Int),
        (option_kind::FLOAT, input) => float(input).map(OptionValue::Float),
        (option_kind::TEXT, OptionInput::Text(value)) => Some(OptionValue::Text(value.as_str().into())),
        (option_kind::INTS, OptionInput::List(list)) => {
            let ints: Option<Vec<i64>> = list.iter().map(int).collect();
            ints.map(|list| OptionValue::Ints(list.into()))
        }
        (option_kind::FLOATS, OptionInput::List(list)) => {
            let floats: Option<Vec<f64>> = list.iter().map(float).collect();
            floats.map(|list| OptionValue::Floats(list.into()))
        }
        _ => None,
    };
    match value {
        None => Err(refuse(kind_help(spec, input))),
        Some(value) if fits(spec, &value).is_ok() => Ok(value),
        Some(OptionValue::Text(word)) => {
            let near = nearest(&word, spec.choices.iter().map(|word| word.as_str()));
            Err(refuse(near.map_or_else(String::new, |near| format!("did you mean \"{near}\"?"))))
        }
        Some(_) => Err(refuse(String::new())),
    }
}

/// What to write instead, for the slips that are made often.
fn kind_help(spec: &OptionSpec, input: &OptionInput) -> String {
    let is_list = matches!(spec.kind.as_str(), option_kind::INTS | option_kind::FLOATS);
    match input {
        OptionInput::Int(_) | OptionInput::Float(_) if is_list => format!("write [{input}]"),
        OptionInput::Text(text) => {
            let meant = match spec.kind.as_str() {
                option_kind::BOOL => text.parse::<bool>().is_ok(),
                option_kind::INT | option_kind::FLOAT => text.parse::<f64>().is_ok_and(f64::is_finite),
                _ => false,
            };
            match meant {
                true => format!("write {text}, without quotes"),
                false => String::new(),
            }
        }
        OptionInput::List(list) if list.len() == 1 && !is_list => format!("write {}", list[0]),
        _ => String::new(),
    }
}

fn int(input: &OptionInput) -> Option<i64> {
    match input {
        OptionInput::Int(value) => Some(*value),
        // Beyond 2^53 a float no longer says which integer it means.
        OptionInput::Float(value) if value.fract() == 0.0 && value.abs() <= 2_f64.powi(53) => Some(*value as i64),
        _ => None,
    }
}

fn float(input: &OptionInput) -> Option<f64> {
    match input {
        OptionInput::Int(value) => Some(*value as f64),
        OptionInput::Float(value) => Some(*value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::{ROption, RString, RVec};
    use proptest::prelude::*;

    use super::*;

    fn spec(name: &str, kind: &str) -> OptionSpec {
        OptionSpec {
            name: name.into(),
            kind: kind.into(),
            optional: false,
            default: ROption::RNone,
            min: ROption::RNone,
            max: ROption::RNone,
            choices: RVec::new(),
            doc: RString::new(),
        }
    }

    /// One option of every kind; only `size` is required.
    fn component() -> Descriptor {
        let mut size = spec("size", option_kind::INT);
        size.min = ROption::RSome(1.0);
        size.doc = "Side of the square that comes out.\nMore.".into();
        let mut alpha = spec("alpha", option_kind::FLOAT);
        alpha.min = ROption::RSome(0.0);
        alpha.max = ROption::RSome(1.0);
        alpha.default = ROption::RSome(OptionValue::Float(0.5));
        let mut mode = spec("mode", option_kind::TEXT);
        mode.choices = vec!["bilinear".into(), "bicubic".into(), "nearest".into()].into();
        mode.default = ROption::RSome(OptionValue::Text("bilinear".into()));
        let mut bias = spec("bias", option_kind::BOOL);
        bias.optional = true;
        let mut depths = spec("depths", option_kind::INTS);
        depths.optional = true;
        let mut scales = spec("scales", option_kind::FLOATS);
        scales.optional = true;
        scales.max = ROption::RSome(2.0);
        Descriptor {
            id: "ltr".into(),
            kind: "resizer".into(),
            version: "0.1.0".into(),
            summary: RString::new(),
            doc: RString::new(),
            options: vec![size, alpha, mode, bias, depths, scales].into(),
            properties: RVec::new(),
        }
    }

    fn with_size(name: &str, input: OptionInput) -> Vec<(String, OptionInput)> {
        vec![("size".into(), 8_i64.into()), (name.into(), input)]
    }

    fn value(name: &str, input: impl Into<OptionInput>) -> OptionValue {
        let values = check(&component(), &with_size(name, input.into())).expect("a good value");
        let found = values.into_iter().find(|value| value.name == name);
        found.expect("in the list").value
    }

    fn error(name: &str, input: impl Into<OptionInput>) -> OptionError {
        check(&component(), &with_size(name, input.into())).expect_err("a bad value")
    }

    #[test]
    fn defaults_are_filled_in_in_the_schemas_order() {
        let values = check(&component(), &[("size".into(), 224_i64.into())]).expect("good");
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        assert_eq!(names, ["size", "alpha", "mode"]);
        assert_eq!(values[1].value, OptionValue::Float(0.5));
    }

    #[test]
    fn numbers_and_lists_are_coerced() {
        assert_eq!(value("alpha", 1_i64), OptionValue::Float(1.0));
        assert_eq!(value("depths", vec![2.0, 6.0]), OptionValue::Ints(vec![2, 6].into()));
        assert_eq!(value("scales", vec![1_i64, -2]), OptionValue::Floats(vec![1.0, -2.0].into()));
        assert_eq!(value("scales", Vec::<f64>::new()), OptionValue::Floats(RVec::new()));
        let size = check(&component(), &[("size".into(), 224.0.into())]).expect("good");
        assert_eq!(size[0].value, OptionValue::Int(224));
    }

    #[test]
    fn wrong_values_say_what_is_right() {
        let unquoted = error("alpha", "0.5");
        assert_eq!(
            unquoted.message,
            "the option \"alpha\" of resizer \"ltr\" must be a number from 0 to 1, not \"0.5\""
        );
        assert_eq!(unquoted.help, "write 0.5, without quotes");
        assert_eq!(unquoted.option, "alpha");
        assert_eq!((&*unquoted.found, &*unquoted.expected), ("\"0.5\"", "a number from 0 to 1"));
        let mode = error("mode", "Bilinear");
        assert_eq!(mode.help, "did you mean \"bilinear\"?");
        assert_eq!(&*mode.expected, "\"bilinear\", \"bicubic\" or \"nearest\"");
        assert_eq!(error("depths", 3_i64).help, "write [3]");
        assert_eq!(error("alpha", vec![0.5]).help, "write 0.5");
        assert_eq!(error("bias", "true").help, "write true, without quotes");
        for (name, input) in [
            ("alpha", OptionInput::Float(f64::NAN)),
            ("alpha", OptionInput::Float(1.5)),
            ("alpha", OptionInput::Bool(true)),
            ("scales", vec![0.5, 2.5].into()),
            ("depths", vec![0.5].into()),
            ("depths", OptionInput::Float(1.0)),
            ("depths", OptionInput::Float(1e300)),
            ("bias", OptionInput::Int(1)),
            ("mode", OptionInput::Int(1)),
        ] {
            assert_eq!(error(name, input).kind, OptionErrorKind::Value, "{name}");
        }
    }

    #[test]
    fn unknown_missing_and_repeated_options() {
        let unknown = error("alfa", 1_i64);
        assert_eq!(unknown.kind, OptionErrorKind::Unknown);
        assert_eq!(unknown.message, "resizer \"ltr\" has no option \"alfa\"");
        assert_eq!(
            unknown.help,
            "did you mean \"alpha\"? resizer \"ltr\" has: size, alpha, mode, bias, depths, scales"
        );
        let missing = check(&component(), &[]).expect_err("size is required");
        assert_eq!(missing.kind, OptionErrorKind::Missing);
        assert_eq!(missing.message, "resizer \"ltr\" needs the option \"size\"");
        assert_eq!(missing.help, "\"size\" is a whole number, 1 or more: Side of the square that comes out.");
        assert_eq!(error("size", 8_i64).kind, OptionErrorKind::Twice);
        let mut plain = component();
        plain.options.clear();
        let none = check(&plain, &[("a".into(), true.into())]).expect_err("no options");
        assert_eq!(none.help, "resizer \"ltr\" has: no options");
    }

    fn inputs() -> impl Strategy<Value = OptionInput> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(OptionInput::Bool),
            any::<i64>().prop_map(OptionInput::Int),
            any::<f64>().prop_map(OptionInput::Float),
            ".{0,8}".prop_map(OptionInput::Text),
        ];
        leaf.prop_recursive(2, 16, 10, |inner| proptest::collection::vec(inner, 0..10).prop_map(OptionInput::List))
    }

    proptest! {
        /// Whatever is written, the answer is an error or values that fit the schema.
        #[test]
        fn what_passes_fits(name in prop_oneof!["size", "alpha", "mode", "bias", "depths", "scales"], input in inputs()) {
            let component = component();
            let mut given = vec![(name.clone(), input)];
            if name != "size" {
                given.push(("size".into(), 1_i64.into()));
            }
            match check(&component, &given) {
                Ok(values) => {
                    for value in values {
                        let spec = component.options.iter().find(|spec| spec.name == value.name);
                        prop_assert!(fits(spec.expect("known"), &value.value).is_ok());
                    }
                }
                Err(error) => prop_assert_eq!(error.option, name),
            }
        }
    }
}
