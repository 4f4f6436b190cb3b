//! A component as `plugin show` prints it.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use fer_abi::{OptionSpec, OptionValue, property};
use serde::Serialize;

use crate::{
    component::Component,
    info::{ComponentInfo, PropertyInfo, ValueInfo},
    spec::bounds,
};

/// Everything known of a component, for `--json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComponentReport {
    #[serde(flatten)]
    pub component: ComponentInfo,
    pub library: PathBuf,
    pub sha256: String,
}

impl Component {
    /// The component as data that serde writes.
    pub fn report(&self) -> ComponentReport {
        ComponentReport {
            component: ComponentInfo::from(self.descriptor()),
            library: self.library().to_owned(),
            sha256: self.sha256().to_owned(),
        }
    }
}

const WIDTH: usize = 100;

/// The component as text: what it is, where it comes from, what it can be told.
pub fn describe(component: &Component) -> String {
    page(&component.report(), component.options(), component.library())
}

fn page(report: &ComponentReport, options: &[OptionSpec], library: &Path) -> String {
    let about = &report.component;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{} {} {}", about.kind, about.id, about.version);
    if !about.summary.is_empty() {
        let _ = writeln!(text, "{}", about.summary);
    }
    let _ = writeln!(text, "\nlibrary  {}", library.display());
    let _ = writeln!(text, "sha256   {}", report.sha256);
    if !about.doc.trim().is_empty() {
        let _ = writeln!(text, "\n{}", about.doc.trim());
    }
    match options {
        [] => text.push_str("\nno options\n"),
        options => table(&mut text, options),
    }
    claims(&mut text, about);
    kernels(&mut text, about);
    text
}

/// What `plugin check` holds the component to besides what its kind must do.
fn claims(text: &mut String, about: &ComponentInfo) {
    // How weights are spelled is no claim, and long; kernels have a list of their own.
    let other = [property::LAYOUT, property::KERNEL, property::ABI];
    let claims: Vec<_> = about.properties.iter().filter(|p| !other.contains(&p.name.as_str())).collect();
    if !claims.is_empty() {
        text.push_str("\nclaims (fer-host plugin check)\n");
    }
    for claim in claims {
        let _ = match &claim.value {
            ValueInfo::Bool(true) => writeln!(text, "    {}", claim.name),
            ValueInfo::Text(said) => writeln!(text, "    {}: {said}", claim.name),
            other => writeln!(text, "    {}: {other:?}", claim.name),
        };
    }
}

/// The library's kernels for ops of its own.
fn kernels(text: &mut String, about: &ComponentInfo) {
    let kernel = |p: &PropertyInfo| match &p.value {
        ValueInfo::Text(said) if p.name == property::KERNEL => Some(said.clone()),
        _ => None,
    };
    let kernels: Vec<String> = about.properties.iter().filter_map(kernel).collect();
    if kernels.is_empty() {
        return;
    }
    text.push_str("\nkernels of the library (device, op, version)\n");
    for kernel in &kernels {
        let _ = writeln!(text, "    {kernel}");
    }
}

/// Columns as wide as their widest cell, the documentation below each row.
fn table(text: &mut String, options: &[OptionSpec]) {
    let header = ["option", "type", "default", "range"].map(str::to_owned);
    let rows: Vec<[String; 4]> = options.iter().map(cells).collect();
    let width = |column: usize| {
        let all = rows.iter().chain([&header]);
        all.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let mut line = |row: &[String; 4], doc: &str| {
        let mut columns = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(columns, "{cell:width$}   ");
        }
        columns.push_str(&row[3]);
        let _ = writeln!(text, "{}", columns.trim_end());
        for paragraph in doc.lines() {
            for wrapped in wrap(paragraph, WIDTH - 4) {
                let _ = writeln!(text, "    {wrapped}");
            }
        }
    };
    line(&[const { String::new() }; 4], "");
    line(&header, "");
    for (row, spec) in rows.iter().zip(options) {
        line(row, &spec.doc);
    }
}

fn cells(spec: &OptionSpec) -> [String; 4] {
    let default = match spec.default.as_ref().into_option() {
        Some(value) => show(value),
        None if spec.optional => "none".to_owned(),
        None => "required".to_owned(),
    };
    let range = match spec.choices.as_slice() {
        [] => bounds(spec).trim_start_matches([',', ' ']).to_owned(),
        words => {
            let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            words.join(" | ")
        }
    };
    [spec.name.to_string(), spec.kind.to_string(), default, range]
}

fn show(value: &OptionValue) -> String {
    match value {
        OptionValue::Bool(given) => given.to_string(),
        OptionValue::Int(given) => given.to_string(),
        OptionValue::Float(given) => given.to_string(),
        OptionValue::Text(given) => format!("{given:?}"),
        OptionValue::Ints(given) => format!("{given:?}"),
        OptionValue::Floats(given) => format!("{given:?}"),
    }
}

/// Words in lines of at most `width` characters, longer words alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::{ROption, RVec};

    use super::*;
    use crate::info::PropertyInfo;

    #[test]
    fn a_page_reads_like_a_table() {
        let size = OptionSpec {
            name: "size".into(),
            kind: "int".into(),
            optional: false,
            default: ROption::RNone,
            min: ROption::RSome(1.0),
            max: ROption::RNone,
            choices: RVec::new(),
            doc: "Side of the square that comes out.".into(),
        };
        let mode = OptionSpec {
            name: "mode".into(),
            kind: "text".into(),
            default: ROption::RSome(OptionValue::Text("mean".into())),
            min: ROption::RNone,
            choices: vec!["mean".into(), "sum".into()].into(),
            doc: "".into(),
            ..size.clone()
        };
        let claim = |name: &str, value| PropertyInfo { name: name.into(), value };
        let report = ComponentReport {
            component: ComponentInfo {
                kind: "resizer".into(),
                id: "ltr".into(),
                version: "0.1.0".into(),
                summary: "learns to resize".into(),
                doc: "From a paper.\n".into(),
                options: Vec::new(),
                properties: vec![
                    claim("layout", ValueInfo::Text("another program\na -> b".into())),
                    claim("keeps_constants", ValueInfo::Bool(true)),
                    claim("output_size", ValueInfo::Text("square of size".into())),
                ],
            },
            library: "/p/libltr.so".into(),
            sha256: "ab12".into(),
        };
        let text = page(&report, &[size, mode], &report.library);
        assert_eq!(
            text,
            "resizer ltr 0.1.0\n\
             learns to resize\n\
             \n\
             library  /p/libltr.so\n\
             sha256   ab12\n\
             \n\
             From a paper.\n\
             \n\
             option   type   default    range\n\
             size     int    required   1 or more\n    Side of the square that comes out.\n\
             mode     text   \"mean\"     \"mean\" | \"sum\"\n\
             \n\
             claims (fer-host plugin check)\n    keeps_constants\n    output_size: square of size\n"
        );
        assert!(page(&report, &[], &report.library).contains("\nno options\n\nclaims"));
        let mut with = report.clone();
        let text = |said: &str| PropertyInfo { name: "kernel".into(), value: ValueInfo::Text(said.into()) };
        with.component.properties =
            vec![text("cpu a.b 1"), text("cuda a.b 1: f, for each row, blocks of 64, source of 9 bytes")];
        let shown = page(&with, &[], &report.library);
        assert!(
            shown.ends_with(
                "\nkernels of the library (device, op, version)\n    cpu a.b 1\n    \
                 cuda a.b 1: f, for each row, blocks of 64, source of 9 bytes\n"
            ),
            "{shown}"
        );
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
    }
}
