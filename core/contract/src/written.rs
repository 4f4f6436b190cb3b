//! Options as text, as a config writes them: `q: 0.7, depths: [2, 1], mode: "mean"`.

use fer_abi::{NamedOption, OptionSpec, OptionValue, option_kind};

/// One value as RON.
pub fn value(value: &OptionValue) -> String {
    match value {
        OptionValue::Bool(v) => v.to_string(),
        OptionValue::Int(v) => v.to_string(),
        OptionValue::Float(v) => format!("{v:?}"),
        OptionValue::Text(v) => format!("{v:?}"),
        OptionValue::Ints(v) => format!("{v:?}"),
        OptionValue::Floats(v) => format!("{v:?}"),
    }
}

/// `name: value, name: value`.
pub fn write(options: &[NamedOption]) -> String {
    let options = options.iter().map(|o| format!("{}: {}", o.name, value(&o.value)));
    options.collect::<Vec<_>>().join(", ")
}

/// What [`write`] wrote, with the kinds that the schema gives the options.
///
/// # Errors
/// What cannot be read, in a phrase.
pub fn read(schema: &[OptionSpec], text: &str) -> Result<Vec<NamedOption>, String> {
    let mut options = vec![];
    for part in split(text) {
        let (name, value) = part.split_once(':').ok_or_else(|| format!("{part:?} is not NAME: VALUE"))?;
        let name = name.trim();
        let spec = schema.iter().find(|spec| spec.name == name);
        let spec = spec.ok_or_else(|| format!("there is no option {name:?}"))?;
        let value = read_value(&spec.kind, value.trim())
            .ok_or_else(|| format!("{part:?}: not a value of kind {}", spec.kind))?;
        options.push(NamedOption { name: spec.name.clone(), value });
    }
    Ok(options)
}

fn read_value(kind: &str, text: &str) -> Option<OptionValue> {
    Some(match kind {
        option_kind::BOOL => OptionValue::Bool(text.parse().ok()?),
        option_kind::INT => OptionValue::Int(text.parse().ok()?),
        option_kind::FLOAT => OptionValue::Float(text.parse().ok()?),
        option_kind::INTS => OptionValue::Ints(list(text)?),
        option_kind::FLOATS => OptionValue::Floats(list(text)?),
        _ => OptionValue::Text(unquoted(text)?.into()),
    })
}

fn list<T: std::str::FromStr, L: FromIterator<T>>(text: &str) -> Option<L> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| item.parse().ok()).collect()
}

/// The text in quotes; its escapes are Rust's.
fn unquoted(text: &str) -> Option<String> {
    let mut letters = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut plain = String::new();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                'u' => {
                    let code: String = letters.by_ref().skip(1).take_while(|&c| c != '}').collect();
                    char::from_u32(u32::from_str_radix(&code, 16).ok()?)?
                }
                other => other,
            },
            other => other,
        });
    }
    Some(plain)
}

/// The parts between commas that stand neither in brackets nor in quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted, mut escaped) = (vec![], 0, 0usize, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use fer_abi::abi_stable::std_types::{RNone, RVec};

    use super::*;

    fn spec(name: &str, kind: &str) -> OptionSpec {
        OptionSpec {
            name: name.into(),
            kind: kind.into(),
            optional: false,
            default: RNone,
            min: RNone,
            max: RNone,
            choices: RVec::new(),
            doc: "".into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let schema = [("a", "bool"), ("b", "int"), ("c", "float"), ("d", "text"), ("e", "ints"), ("f", "floats")]
            .map(|(n, k)| spec(n, k));
        let values = [
            OptionValue::Bool(true),
            OptionValue::Int(-3),
            OptionValue::Float(1e-5),
            OptionValue::Text("a, \"b\": [c]\n\u{7f}\\".into()),
            OptionValue::Ints(vec![1, -2].into()),
            OptionValue::Floats(vec![].into()),
        ];
        let options: Vec<NamedOption> =
            schema.iter().zip(values).map(|(s, value)| NamedOption { name: s.name.clone(), value }).collect();
        assert_eq!(read(&schema, &write(&options)), Ok(options));
        assert_eq!(read(&schema, ""), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let schema = [spec("a", "int")];
        assert_eq!(read(&schema, "b: 1"), Err("there is no option \"b\"".into()));
        assert_eq!(read(&schema, "a"), Err("\"a\" is not NAME: VALUE".into()));
        assert_eq!(read(&schema, "a: 1.5"), Err("\"a: 1.5\": not a value of kind int".into()));
    }
}
