//! The op reference, rendered from the op table: what the docs say of an op cannot differ from what the op does.

mod examples;

use std::fmt::{self, Write};

pub use examples::example;

use crate::{
    ADJOINT_SUFFIX, AttributeDef, Builder, Class, Graph, Meaning, OpDef, PrintOptions, Result, Role, ops::TABLE, print,
};

/// The constraints that every op has, besides those it declares.
pub const GENERAL_CONSTRAINTS: &[(&str, &str)] = &[
    ("arity", "the op is given as many operands as it takes"),
    ("attribute", "every attribute is declared and of the declared kind; the required ones are there"),
    ("shape", "a `shape` attribute lists positive sizes"),
    ("size", "no result is empty, has more than 8 axes, or more than 2^36 elements"),
    ("cotangent", "an adjoint's cotangents have the types of the results they belong to"),
    ("wrt", "an adjoint is asked for cotangents of float operands"),
];

const INTRODUCTION: &str = "\
# Operations

Generated from the op table of `fer-graph`; do not edit.

*Primitives* are what every engine executes. *Composites* mean exactly their decomposition; an engine may run them whole. \
*Adjoint* ops are emitted by differentiation alone and refused from a plugin. The adjoint of a composite `op` is `op_vjp`: it \
takes the forward operands and the cotangents of the results listed in `cotangents`, gives the cotangents of the operands listed \
in `wrt`, and its decomposition is derived from the forward one.

Element types are `f` (the engine's working precision), `bf16`, `i32`, `u8` and `bool`; *float* is `f` or `bf16`. An op that \
breaks a constraint is refused with the constraint's name: `softmax_c2` is constraint `c2` of `softmax`.
";

/// The whole reference as Markdown.
///
/// # Panics
/// When an op has no example or does not accept its own: faults of the two tables, which the tests exclude.
pub fn reference_markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("\nBesides those an op declares, every op has these constraints:\n\n| constraint | |\n|---|---|\n");
    for (label, rule) in GENERAL_CONSTRAINTS {
        text.push_str(&format!("| `<op>_{label}` | {rule} |\n"));
    }
    for def in TABLE {
        let example = example(def.name).unwrap_or_else(|| panic!("{} has no example", def.name));
        // Writing to a string cannot fail.
        let _ = section(&mut text, def);
        text.push_str(&format!("\nExample:\n\n```text\n{}```\n", print(&example, PrintOptions::EXACT)));
        if let Meaning::Composite(_) = def.meaning {
            let meaning = decomposed(def, &example).unwrap_or_else(|e| panic!("the example of {}: {e}", def.name));
            let meaning = print(&meaning, PrintOptions::EXACT);
            text.push_str(&format!("\nThe example means:\n\n```text\n{meaning}```\n"));
        }
    }
    text
}

fn section(out: &mut String, def: &OpDef) -> fmt::Result {
    writeln!(out, "\n## {}\n", def.name)?;
    let class = match def.class {
        Class::Primitive => "Primitive",
        Class::Composite => "Composite",
        Class::Adjoint => "Adjoint op",
    };
    write!(out, "{class}, version {}.", def.version)?;
    if def.class == Class::Composite {
        write!(out, " Adjoint: `{}{ADJOINT_SUFFIX}`.", def.name)?;
    }
    writeln!(out, "\n\n{}.\n", sentence(def.summary))?;
    writeln!(out, "Operands: {}.", operands(def))?;
    if !def.attributes.is_empty() {
        out.push_str("\n| attribute | kind | |\n|---|---|---|\n");
        for AttributeDef { name, kind, required, doc } in def.attributes {
            let optional = if *required { "" } else { ", optional" };
            writeln!(out, "| `{name}` | {}{optional} | {} |", kind.name(), cell(doc))?;
        }
    }
    if !def.constraints.is_empty() {
        out.push_str("\n| constraint | |\n|---|---|\n");
        for (label, rule) in def.constraints {
            writeln!(out, "| `{}_{label}` | {} |", def.name, cell(rule))?;
        }
    }
    Ok(())
}

fn operands(def: &OpDef) -> String {
    let names = def.operands.names.iter().enumerate().map(|(i, name)| {
        let optional = if i >= def.operands.required { " (optional)" } else { "" };
        let many = if def.operands.variadic && i + 1 == def.operands.names.len() { " (one or more)" } else { "" };
        format!("`{name}`{optional}{many}")
    });
    let list = names.collect::<Vec<_>>().join(", ");
    if list.is_empty() { "none".to_owned() } else { list }
}

/// The summary with a capital letter, unless it begins with a formula.
fn sentence(summary: &str) -> String {
    let mut words = summary.split_whitespace();
    let is_word = |w: &str| w.chars().all(|c| c.is_alphabetic() || matches!(c, '-' | ',' | ';'));
    let starts = words.next().is_some_and(|w| w.len() > 1 && w.starts_with(char::is_alphabetic) && is_word(w));
    let is_prose = starts && words.next().is_none_or(|w| w.starts_with(|c: char| c.is_alphanumeric() || c == '('));
    let text = cell(summary);
    match text.chars().next() {
        Some(first) if is_prose => first.to_uppercase().chain(text.chars().skip(1)).collect(),
        _ => text,
    }
}

/// Text in which no character means something to Markdown.
fn cell(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '|' | '*' | '_' | '<' | '>' | '[' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The example with its one node replaced by what it means.
fn decomposed(def: &'static OpDef, example: &Graph) -> Result<Graph> {
    let b = Builder::new(def.name);
    for input in example.by_role(Role::Input) {
        b.input(&input.name, example.ty(input.value).clone())?;
    }
    let (Meaning::Composite(decompose), [node]) = (def.meaning, example.nodes.as_slice()) else {
        return Err(b.malformed("example", "an example is one node of a composite".into()));
    };
    for (i, result) in decompose(&b, &node.operands, &node.attributes)?.into_iter().enumerate() {
        b.output(&examples::result_name(i), result);
    }
    Ok(b.finish())
}
