//! Where text comes from: a file, a command-line argument, or the host itself; and spans into it.

use std::fmt;
use std::sync::Arc;

/// What kind of place a text was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Argument,
}

/// A text that was read, and the name under which errors show it.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
    name: String,
    text: String,
}

impl Source {
    /// A file; `name` is its path as the user would write it.
    pub fn file(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { kind: Kind::File, name: name.into(), text: text.into() })
    }

    /// A command-line argument, written out in full (`--set epochs=3`).
    pub fn argument(text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { kind: Kind::Argument, name: "on the command line".into(), text: text.into() })
    }

    /// The path of a file; for an argument, words that say so.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text is a command-line argument.
    pub fn is_argument(&self) -> bool {
        self.kind == Kind::Argument
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.floor(offset)];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }

    /// Byte offset of the start of the line that holds `offset`, and the line without its end.
    pub(crate) fn line_at(&self, offset: usize) -> (usize, &str) {
        let offset = self.floor(offset);
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |at| offset + at);
        (start, self.text[start..end].trim_end_matches('\r'))
    }

    /// The nearest character boundary at or before `offset`.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// A range of bytes in a [`Source`].
#[derive(Clone)]
pub struct Span {
    pub source: Arc<Source>,
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// Bytes `start..end` of `source`.
    pub fn new(source: &Arc<Source>, start: usize, end: usize) -> Self {
        Self { source: Arc::clone(source), start, end }
    }

    /// The text that the span covers.
    pub fn text(&self) -> &str {
        self.source.text.get(self.start..self.end).unwrap_or_default()
    }

    /// `configs/x.ron:12:5` for a file, the argument itself for the command line.
    pub fn location(&self) -> String {
        match self.source.kind {
            Kind::Argument => self.source.text.clone(),
            Kind::File => {
                let (line, column) = self.source.line_column(self.start);
                format!("{}:{line}:{column}", self.source.name)
            }
        }
    }

    /// The span cut at the end of its first line: what a marker can underline.
    pub(crate) fn first_line(&self) -> Self {
        let length = self.text().find(['\n', '\r']).unwrap_or(self.end.saturating_sub(self.start));
        let shown = self.text().get(..length).unwrap_or_default().trim_end().len();
        Self { end: self.start + shown, ..self.clone() }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} of {}", self.start, self.end, self.source.name)
    }
}
