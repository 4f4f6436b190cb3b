//! Errors as plain text: the sentence, the line it is about with a marker below, and what to do.

use std::sync::Arc;

use crate::error::{ConfigError, Label};
use crate::source::Source;

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
    let mut last: Option<(&Arc<Source>, usize)> = None;
    for label in error.labels() {
        let source = &label.span.source;
        let (line, text) = source.line_at(label.span.start);
        let known = last.filter(|(other, _)| Arc::ptr_eq(other, source));
        if known.is_none() {
            let place = if source.is_argument() { source.name().to_owned() } else { label.span.location() };
            out += &format!("    {}{place}{off}\n", dress.faint);
        }
        // A long line is shown as another part for each of its labels.
        let shown = known.is_some_and(|(_, other)| other == line) && text.chars().count() <= WIDEST;
        out += &snippet(label, !shown, dress);
        last = Some((source, line));
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

/// The line of a label, unless it was shown just before, and the marker under it.
fn snippet(label: &Label, with_line: bool, dress: &Dress) -> String {
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
    let width = number.len().max(3);
    let line = if with_line { format!("{faint}{number:>width$} |{off} {shown}\n") } else { String::new() };
    format!("{line}{faint}{:>width$} |{off} {mark}{}{off}\n", "", marker.trim_end())
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
