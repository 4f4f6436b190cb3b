//! Prints a tree as RON: one line where it fits, otherwise an item a line.

use crate::scan::is_word;
use crate::tree::{Name, Node, Value};

/// Lines are kept within this many characters where the content allows.
const WIDTH: usize = 100;
const INDENT: usize = 4;

/// The tree as RON over several lines, ending in a line end; the outermost brackets are always opened up.
pub fn print(node: &Node) -> String {
    let mut out = String::new();
    broken(node, 0, &mut out);
    out.push('\n');
    out
}

/// The tree as RON in one line.
pub fn print_inline(node: &Node) -> String {
    let mut out = String::new();
    inline(node, &mut out);
    out
}

/// The parts of a node with brackets.
struct Parts<'n> {
    name: Option<&'n Name>,
    brackets: (char, char),
    /// What stands before each item's value, and the value.
    items: Vec<(String, &'n Node)>,
}

fn parts(node: &Node) -> Option<Parts<'_>> {
    Some(match &node.value {
        Value::Group { name, fields } => Parts {
            name: name.as_ref(),
            brackets: ('(', ')'),
            items: fields.iter().map(|field| (format!("{}: ", word(&field.key)), &field.node)).collect(),
        },
        Value::Tuple { name, items } => Parts { name: name.as_ref(), brackets: ('(', ')'), items: plain(items) },
        Value::List(items) => Parts { name: None, brackets: ('[', ']'), items: plain(items) },
        Value::Map(entries) => Parts {
            name: None,
            brackets: ('{', '}'),
            items: entries.iter().map(|(key, value)| (format!("{}: ", print_inline(key)), value)).collect(),
        },
        _ => return None,
    })
}

fn plain(items: &[Node]) -> Vec<(String, &Node)> {
    items.iter().map(|item| (String::new(), item)).collect()
}

fn inline(node: &Node, out: &mut String) {
    let Some(Parts { name, brackets, items }) = parts(node) else {
        return scalar(node, out);
    };
    *out += &name.map_or(String::new(), |name| word(&name.text));
    out.push(brackets.0);
    for (index, (key, value)) in items.iter().enumerate() {
        *out += if index > 0 { ", " } else { "" };
        *out += key;
        inline(value, out);
    }
    out.push(brackets.1);
}

/// Opens the outermost brackets; what is inside stays in one line where it fits.
fn broken(node: &Node, indent: usize, out: &mut String) {
    let Some(Parts { name, brackets, items }) = parts(node).filter(|parts| !parts.items.is_empty()) else {
        return inline(node, out);
    };
    *out += &name.map_or(String::new(), |name| word(&name.text));
    out.push(brackets.0);
    for (key, value) in items {
        let margin = " ".repeat(indent + INDENT);
        *out += &format!("\n{margin}{key}");
        let line = print_inline(value);
        if margin.len() + key.chars().count() + line.chars().count() < WIDTH {
            *out += &line;
        } else {
            broken(value, indent + INDENT, out);
        }
        out.push(',');
    }
    *out += &format!("\n{}{}", " ".repeat(indent), brackets.1);
}

fn scalar(node: &Node, out: &mut String) {
    match &node.value {
        Value::Bool(flag) => *out += &flag.to_string(),
        Value::Int(number) => *out += &number.to_string(),
        // Debug keeps the point (`2.0`) and is exact when read back.
        Value::Float(number) => *out += &format!("{number:?}"),
        Value::Char(letter) => *out += &format!("'{}'", escaped(*letter, '\'')),
        Value::Text(text) => {
            out.push('"');
            text.chars().for_each(|letter| *out += &escaped(letter, '"'));
            out.push('"');
        }
        Value::None => *out += "None",
        Value::Some(inner) => *out += &format!("Some({})", print_inline(inner)),
        Value::Word(name) => *out += &word(name),
        Value::Group { .. } | Value::Tuple { .. } | Value::List(_) | Value::Map(_) => {}
    }
}

fn escaped(letter: char, quote: char) -> String {
    match letter {
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        _ if letter == quote => format!("\\{letter}"),
        _ if letter.is_control() => format!("\\u{{{:x}}}", u32::from(letter)),
        _ => letter.to_string(),
    }
}

/// A key or a name, raw where it is not a plain word.
fn word(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(is_word);
    if plain { name.to_owned() } else { format!("r#{name}") }
}
