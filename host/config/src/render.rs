//! Errors as plain text: the sentence, the line it is about with a marker below, and what to do.

use std::sync::Arc;

use crate::error::{ConfigError, Label};

/// Lines longer than this are shown as a window around the marker.
const WIDEST: usize = 140;

/// How the parts are dressed; empty strings for plain text.
struct Dress {
    error: &'static str,
    mark: &'static str,
    faint: &'static str,
    help: &'static str,
    off: &'static str,
}

const PLAIN: Dress = Dress { error: "", mark: "", faint: "", help: "", off: "" };
const COLOURED: Dress =
    Dress { error: "\x1b[1;31m", mark: "\x1b[31m", faint: "\x1b[2m", help: "\x1b[1;36m", off: "\x1b[0m" };

/// The error in plain text, ending in a line end.
pub fn render_plain(error: &ConfigError) -> String {
    render(error, &PLAIN)
}

/// The same words with terminal colours.
pub fn render_coloured(error: &ConfigError) -> String {
    render(error, &COLOURED)
}

fn render(error: &ConfigError, dress: &Dress) -> String {
    let Dress { off, .. } = dress;
    let mut out = format!("{}error{off}: {}\n", dress.error, error.message());
    let mut shown = None;
    for label in error.labels() {
        let source = &label.span.source;
        if !shown.is_some_and(|last| Arc::ptr_eq(last, source)) {
            let place = if source.is_argument() { source.name().to_owned() } else { label.span.location() };
            out += &format!("    {}{place}{off}\n", dress.faint);
        }
        shown = Some(source);
        out += &snippet(label, dress);
    }
    for note in error.notes() {
        out += &format!("    {note}\n");
    }
    if let Some(help) = error.help_text() {
        out += &format!("{}help{off}: {help}\n", dress.help);
    }
    for other in error.others() {
        out.push('\n');
        out += &render(other, dress);
    }
    out
}

/// The line of a label and the marker under it.
fn snippet(label: &Label, dress: &Dress) -> String {
    let span = &label.span;
    let (start, line) = span.source.line_at(span.start);
    let (number, column) = span.source.line_column(span.start);
    let length = line.get(span.start - start..).map_or(0, |rest| {
        let end = (span.end - span.start).min(rest.len());
        rest.get(..end).unwrap_or(rest).chars().count()
    });
    let (shown, before, length) = window(line, column - 1, length);
    let number = if span.source.is_argument() { String::new() } else { number.to_string() };
    let Dress { mark, faint, off, .. } = dress;
    let marker = format!("{}{} {}", " ".repeat(before), "^".repeat(length.max(1)), label.text);
    format!(
        "{faint}{number:>3} |{off} {shown}\n{faint}{:>width$} |{off} {mark}{}{off}\n",
        "",
        marker.trim_end(),
        width = number.len().max(3)
    )
}

/// What is shown of a line: its text (tabs and control characters as single blanks), the blanks before the marker, and
/// the marker's length.
fn window(line: &str, column: usize, length: usize) -> (String, usize, usize) {
    let letters: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if letters.len() <= WIDEST {
        return (letters.iter().collect::<String>().trim_end().to_owned(), column, length);
    }
    let from = column.saturating_sub(WIDEST / 2);
    let to = (from + WIDEST).min(letters.len());
    let (head, tail) = (if from > 0 { "..." } else { "" }, if to < letters.len() { "..." } else { "" });
    let middle: String = letters[from..to].iter().collect();
    (format!("{head}{}{tail}", middle.trim_end()), column - from + head.len(), length.min(to.saturating_sub(column)))
}
