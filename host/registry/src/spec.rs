//! What an option takes: as a check, and in words.

use fer_abi::{OptionSpec, OptionValue, option_kind};

/// Whether a value has the option's kind and lies in its bounds or choices; the error is the [`expectation`].
pub(crate) fn fits(spec: &OptionSpec, value: &OptionValue) -> Result<(), String> {
    let min = spec.min.into_option().unwrap_or(f64::NEG_INFINITY);
    let max = spec.max.into_option().unwrap_or(f64::INFINITY);
    let within = |number: f64| number.is_finite() && min <= number && number <= max;
    let fits = match (spec.kind.as_str(), value) {
        (option_kind::BOOL, OptionValue::Bool(_)) => true,
        (option_kind::INT, OptionValue::Int(int)) => within(*int as f64),
        (option_kind::FLOAT, OptionValue::Float(float)) => within(*float),
        (option_kind::TEXT, OptionValue::Text(text)) => spec.choices.is_empty() || spec.choices.contains(text),
        (option_kind::INTS, OptionValue::Ints(list)) => list.iter().all(|&int| within(int as f64)),
        (option_kind::FLOATS, OptionValue::Floats(list)) => list.iter().all(|&float| within(float)),
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(expectation(spec)),
    }
}

/// What an option takes, as in "a whole number, 1 or more".
pub(crate) fn expectation(spec: &OptionSpec) -> String {
    let noun = match spec.kind.as_str() {
        option_kind::BOOL => "true or false",
        option_kind::INT => "a whole number",
        option_kind::FLOAT => "a number",
        option_kind::INTS => "a list of whole numbers",
        option_kind::FLOATS => "a list of numbers",
        _ if spec.choices.is_empty() => "a text",
        _ => return alternatives(spec),
    };
    format!("{noun}{}", bounds(spec))
}

/// The bounds in words, with the comma or space before them; empty without bounds.
pub(crate) fn bounds(spec: &OptionSpec) -> String {
    match (spec.min.into_option(), spec.max.into_option()) {
        (Some(min), Some(max)) => format!(" from {min} to {max}"),
        (Some(min), None) => format!(", {min} or more"),
        (None, Some(max)) => format!(", {max} or less"),
        (None, None) => String::new(),
    }
}

fn alternatives(spec: &OptionSpec) -> String {
    let words: Vec<String> = spec.choices.iter().map(|word| format!("\"{word}\"")).collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
