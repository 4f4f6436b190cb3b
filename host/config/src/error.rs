//! The one error of this crate: a sentence, the places in the text that it is about, and what to do.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, SourceCode};

use crate::source::Span;

/// A place in a text and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// What is wrong with a config. `Display` is the sentence alone; [`crate::render_plain`] shows all of it.
#[derive(Clone, Debug)]
pub struct ConfigError {
    message: String,
    labels: Vec<Label>,
    notes: Vec<String>,
    help: Option<String>,
    others: Vec<ConfigError>,
}

impl ConfigError {
    /// An error of one sentence, in lower case and without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), labels: Vec::new(), notes: Vec::new(), help: None, others: Vec::new() }
    }

    /// Points at `span`; the first label is where the error is said to be.
    #[must_use]
    pub fn label(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: span.first_line(), text: text.into() });
        self
    }

    /// A fact in a line of its own, below the sentence.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// What the user can do about it; a second help is added to the first.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        self.help = Some(match self.help.take() {
            Some(first) => format!("{first}. {help}"),
            None => help,
        });
        self
    }

    /// Several errors as one, the first leading; `None` when there are none.
    pub fn all(errors: impl IntoIterator<Item = ConfigError>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        first.others.extend(errors);
        Some(first)
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The places it points at, the most important first.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Facts in lines of their own.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What to do about it.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Further errors found in the same config.
    pub fn others(&self) -> &[ConfigError] {
        &self.others
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let lines: Vec<&str> = self.notes.iter().map(String::as_str).chain(self.help.as_deref()).collect();
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.labels.first().map(|label| &label.span as &dyn SourceCode)
    }

    /// miette shows one text an error, so labels in another file are left to the plain renderer.
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let first = self.labels.first()?;
        let same = |label: &&Label| std::sync::Arc::ptr_eq(&label.span.source, &first.span.source);
        Some(Box::new(self.labels.iter().filter(same).map(|label| {
            let span = &label.span;
            LabeledSpan::new(Some(label.text.clone()), span.start, span.end.saturating_sub(span.start))
        })))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (!self.others.is_empty()).then(|| Box::new(self.others.iter().map(|error| error as &dyn Diagnostic)) as _)
    }
}

/// The source of a span, for miette.
impl SourceCode for Span {
    fn read_span<'a>(
        &'a self,
        span: &miette::SourceSpan,
        context_before: usize,
        context_after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let contents = self.source.text().read_span(span, context_before, context_after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.source.name().to_owned(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}
