//! Whether what a library says of its components makes sense and has a sane size.
//!
//! Everything later trusts a descriptor that passed: its words are known, its numbers finite, its defaults fit.

use std::collections::HashSet;

use abi_stable::std_types::RString;
use fer_abi::{Attribute, Descriptor, NamedAttribute, OptionSpec, OptionValue, kind, option_kind};

use crate::spec::fits;

/// The kinds of component that this host knows.
pub(crate) const KINDS: [&str; 3] = [kind::BACKBONE, kind::RESIZER, kind::LOSS];

const OPTION_KINDS: [&str; 6] = [
    option_kind::BOOL,
    option_kind::INT,
    option_kind::FLOAT,
    option_kind::TEXT,
    option_kind::INTS,
    option_kind::FLOATS,
];

/// Bytes of one text.
const LONGEST_TEXT: usize = 64 * 1024;
/// Bytes of a name or id.
const LONGEST_NAME: usize = 64;
/// Entries of one list: components, options, choices, numbers.
const LONGEST_LIST: usize = 1000;
/// Bytes of all texts of a library.
const LONGEST_LIBRARY: usize = 16 * 1024 * 1024;
/// Names that mean something else where options are written.
const RESERVED: [&str; 5] = ["options", "plugin", "pretrained", "pretrained_ignore", "sha256"];

/// One line that says what is wrong, or nothing.
pub(crate) fn check(descriptors: &[Descriptor]) -> Result<(), String> {
    if descriptors.is_empty() {
        return Err("describes no components".to_owned());
    }
    length("components", descriptors.len())?;
    let mut checker = Checker::default();
    let mut seen = HashSet::new();
    for (index, descriptor) in descriptors.iter().enumerate() {
        let place = place(index, descriptor);
        checker.component(descriptor).map_err(|reason| format!("{place}: {reason}"))?;
        if !seen.insert((descriptor.kind.as_str(), descriptor.id.as_str())) {
            return Err(format!("{place}: described twice"));
        }
    }
    Ok(())
}

/// The component's id where that can be shown, its number otherwise.
fn place(index: usize, descriptor: &Descriptor) -> String {
    match good_id(descriptor.id.as_bytes()) {
        true => format!("component \"{}\"", descriptor.id),
        false => format!("component {}", index + 1),
    }
}

#[derive(Default)]
struct Checker {
    bytes: usize,
}

impl Checker {
    fn component(&mut self, descriptor: &Descriptor) -> Result<(), String> {
        if !good_id(descriptor.id.as_bytes()) {
            return Err(format!(
                "its id {} is not made of lower case letters, digits and -",
                excerpt(descriptor.id.as_bytes())
            ));
        }
        let kind = excerpt(descriptor.kind.as_bytes());
        if !KINDS.iter().any(|known| known.as_bytes() == descriptor.kind.as_bytes()) {
            return Err(format!("its kind {kind} is not one that this host knows ({})", KINDS.join(", ")));
        }
        self.line("version", &descriptor.version)?;
        self.line("summary", &descriptor.summary)?;
        self.text("doc", &descriptor.doc)?;
        length("options", descriptor.options.len())?;
        let mut names = HashSet::new();
        for spec in &descriptor.options {
            if !good_option_name(spec.name.as_bytes()) {
                return Err(format!(
                    "the option name {} is not made of lower case letters, digits and _",
                    excerpt(spec.name.as_bytes())
                ));
            }
            if RESERVED.contains(&spec.name.as_str()) {
                return Err(format!("the option name \"{}\" is reserved", spec.name));
            }
            if !names.insert(spec.name.as_str()) {
                return Err(format!("two options are called \"{}\"", spec.name));
            }
            self.option(spec).map_err(|reason| format!("option \"{}\": {reason}", spec.name))?;
        }
        self.properties(&descriptor.properties)
    }

    fn option(&mut self, spec: &OptionSpec) -> Result<(), String> {
        let Some(kind) = OPTION_KINDS.into_iter().find(|known| known.as_bytes() == spec.kind.as_bytes()) else {
            return Err(format!(
                "its kind {} is not one of {}",
                excerpt(spec.kind.as_bytes()),
                OPTION_KINDS.join(", ")
            ));
        };
        self.text("doc", &spec.doc)?;
        length("choices", spec.choices.len())?;
        let mut words = HashSet::new();
        for word in &spec.choices {
            self.line("choice", word)?;
            if !words.insert(word.as_str()) {
                return Err(format!("the choice {word:?} is there twice"));
            }
        }
        if !spec.choices.is_empty() && kind != option_kind::TEXT {
            return Err(format!("it has choices, but its kind is {kind}"));
        }
        let bounds = [spec.min.into_option(), spec.max.into_option()];
        let bounded = bounds.iter().any(Option::is_some);
        if bounded && (kind == option_kind::TEXT || kind == option_kind::BOOL) {
            return Err(format!("it has bounds, but its kind is {kind}"));
        }
        if bounds.iter().flatten().any(|bound| !bound.is_finite()) {
            return Err("its bounds are not finite".to_owned());
        }
        if let [Some(min), Some(max)] = bounds
            && min > max
        {
            return Err(format!("its bounds {min} and {max} exclude everything"));
        }
        if let Some(default) = spec.default.as_ref().into_option() {
            self.default_size(default)?;
            fits(spec, default).map_err(|reason| format!("its default is not {reason}"))?;
        }
        Ok(())
    }

    fn default_size(&mut self, default: &OptionValue) -> Result<(), String> {
        match default {
            OptionValue::Text(text) => self.text("default", text),
            OptionValue::Ints(list) => length("numbers in a default", list.len()),
            OptionValue::Floats(list) => length("numbers in a default", list.len()),
            OptionValue::Bool(_) | OptionValue::Int(_) | OptionValue::Float(_) => Ok(()),
        }
    }

    fn properties(&mut self, properties: &[NamedAttribute]) -> Result<(), String> {
        length("properties", properties.len())?;
        for property in properties {
            self.line("property name", &property.name)?;
            let finite = match &property.value {
                Attribute::Text(text) => {
                    self.text("property", text)?;
                    true
                }
                Attribute::Ints(list) => {
                    length("numbers in a property", list.len())?;
                    true
                }
                Attribute::Floats(list) => {
                    length("numbers in a property", list.len())?;
                    list.iter().all(|float| float.is_finite())
                }
                Attribute::Float(float) => float.is_finite(),
                Attribute::Int(_) | Attribute::Bool(_) => true,
            };
            if !finite {
                return Err(format!("property \"{}\" is not finite", property.name));
            }
        }
        Ok(())
    }

    /// A text of one line.
    fn line(&mut self, what: &str, text: &RString) -> Result<(), String> {
        self.text(what, text)?;
        match text.contains('\n') {
            true => Err(format!("its {what} has more than one line")),
            false => Ok(()),
        }
    }

    /// A text that a terminal can show.
    fn text(&mut self, what: &str, text: &RString) -> Result<(), String> {
        if text.len() > LONGEST_TEXT {
            return Err(format!("its {what} has {} bytes, at most {LONGEST_TEXT} are allowed", text.len()));
        }
        self.bytes += text.len();
        if self.bytes > LONGEST_LIBRARY {
            return Err(format!("its texts exceed {LONGEST_LIBRARY} bytes"));
        }
        // The bytes come from foreign code, which may have made a "string" of anything.
        let Ok(text) = std::str::from_utf8(text.as_bytes()) else {
            return Err(format!("its {what} is not UTF-8"));
        };
        match text.chars().any(|letter| letter.is_control() && letter != '\n' && letter != '\t') {
            true => Err(format!("its {what} has control characters")),
            false => Ok(()),
        }
    }
}

fn length(what: &str, found: usize) -> Result<(), String> {
    match found > LONGEST_LIST {
        true => Err(format!("{found} {what}, at most {LONGEST_LIST} are allowed")),
        false => Ok(()),
    }
}

fn good_id(id: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    id.len() <= LONGEST_NAME
        && id.first().is_some_and(word)
        && id.last().is_some_and(word)
        && id.iter().all(|byte| word(byte) || *byte == b'-')
}

fn good_option_name(name: &[u8]) -> bool {
    name.len() <= LONGEST_NAME
        && name.first().is_some_and(|byte| byte.is_ascii_lowercase() || *byte == b'_')
        && name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
}

/// Hostile bytes, short and printable.
fn excerpt(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(40)];
    let ellipsis = if start.len() < bytes.len() { "..." } else { "" };
    format!("{:?}{ellipsis}", String::from_utf8_lossy(start))
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::{ROption, RVec};

    use super::*;

    fn option(name: &str, kind: &str) -> OptionSpec {
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

    fn component() -> Descriptor {
        Descriptor {
            id: "ltr".into(),
            kind: kind::RESIZER.into(),
            version: "0.1.0".into(),
            summary: "learns".into(),
            doc: "Two\nlines.".into(),
            options: RVec::new(),
            properties: RVec::new(),
        }
    }

    fn reason(change: impl FnOnce(&mut Descriptor)) -> String {
        let mut descriptor = component();
        change(&mut descriptor);
        check(&[descriptor]).expect_err("a bad descriptor")
    }

    fn option_reason(kind: &str, change: impl FnOnce(&mut OptionSpec)) -> String {
        reason(|descriptor| {
            let mut spec = option("size", kind);
            change(&mut spec);
            descriptor.options.push(spec);
        })
    }

    #[test]
    fn a_good_component_passes() {
        let mut good = component();
        let mut alpha = option("alpha", option_kind::FLOAT);
        alpha.min = ROption::RSome(0.0);
        alpha.default = ROption::RSome(OptionValue::Float(0.5));
        good.options.push(alpha);
        assert_eq!(check(&[good]), Ok(()));
    }

    #[test]
    fn components_are_checked() {
        for (reason, part) in [
            (check(&[]).expect_err("nothing"), "no components"),
            (check(&[component(), component()]).expect_err("twice"), "component \"ltr\": described twice"),
            (reason(|found| found.id = "L T\u{1b}R".into()), "component 1: its id \"L T\\u{1b}R\" is not"),
            (reason(|found| found.id = "".into()), "its id \"\""),
            (reason(|found| found.id = "-a".into()), "its id"),
            (
                reason(|found| found.kind = "head".into()),
                "its kind \"head\" is not one that this host knows (backbone, resizer, loss)",
            ),
            (reason(|found| found.summary = "a\nb".into()), "summary has more than one line"),
            (reason(|found| found.doc = "\u{1b}[31m".into()), "control characters"),
            (reason(|found| found.doc = "a".repeat(65537).into()), "its doc has 65537 bytes, at most 65536"),
            (reason(|found| found.options = vec![option("a", "int"); 1001].into()), "1001 options"),
            (reason(|found| found.options = vec![option("a", "int"); 2].into()), "two options are called \"a\""),
            (reason(|found| found.options.push(option("Size", "int"))), "option name \"Size\""),
            (reason(|found| found.options.push(option("plugin", "int"))), "reserved"),
            (
                reason(|found| {
                    found.properties.push(NamedAttribute { name: "a".into(), value: Attribute::Float(f64::NAN) });
                }),
                "not finite",
            ),
        ] {
            assert!(reason.contains(part), "{reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
    }

    #[test]
    fn schemas_must_agree_with_themselves() {
        for (reason, part) in [
            (option_reason("number", |_| ()), "its kind \"number\""),
            (
                option_reason("int", |spec| {
                    spec.default = ROption::RSome(OptionValue::Float(1.0));
                }),
                "option \"size\": its default is not a whole number",
            ),
            (
                option_reason("int", |spec| {
                    spec.default = ROption::RSome(OptionValue::Int(0));
                    spec.min = ROption::RSome(1.0);
                }),
                "its default is not a whole number, 1 or more",
            ),
            (
                option_reason("floats", |spec| {
                    spec.default = ROption::RSome(OptionValue::Floats(vec![f64::INFINITY].into()));
                }),
                "its default is not",
            ),
            (
                option_reason("text", |spec| {
                    spec.choices = vec!["a".into()].into();
                    spec.default = ROption::RSome(OptionValue::Text("b".into()));
                }),
                "its default is not \"a\"",
            ),
            (option_reason("text", |spec| spec.min = ROption::RSome(1.0)), "has bounds"),
            (option_reason("int", |spec| spec.choices = vec!["a".into()].into()), "has choices"),
            (option_reason("text", |spec| spec.choices = vec!["a".into(); 2].into()), "there twice"),
            (option_reason("int", |spec| spec.max = ROption::RSome(f64::NAN)), "not finite"),
            (
                option_reason("int", |spec| {
                    spec.min = ROption::RSome(2.0);
                    spec.max = ROption::RSome(1.0);
                }),
                "exclude everything",
            ),
        ] {
            assert!(reason.contains(part), "{reason}");
        }
    }
}
