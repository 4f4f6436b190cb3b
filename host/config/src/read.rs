//! Reads RON into a tree of spans. No crate keeps the spans of RON's keys, and keys are what users misspell.
//!
//! Everything of RON that a config can use is here: comments, plain and raw texts, characters, numbers with signs, bases,
//! separators and suffixes, `Some`/`None`, named and unnamed groups and tuples, lists, maps, and `#![enable(...)]`
//! (accepted and ignored, since the extensions that matter are always on). Byte strings are refused.

use std::sync::Arc;

use crate::error::ConfigError;
use crate::scan::Cursor;
use crate::source::{Source, Span};
use crate::tree::{Field, Name, Node, Value};

/// How a config begins.
pub(crate) const FORM: &str = "a config is written `Experiment(name: ..., ...)`";

/// Deeper nesting is refused, so that no text can exhaust the stack.
const DEEPEST: usize = 64;

/// Reads a whole source as one value.
pub fn read(source: &Arc<Source>) -> Result<Node, ConfigError> {
    let start = if source.text().starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    read_from(source, start)
}

/// Reads what follows byte `start` of a source as one value.
pub(crate) fn read_from(source: &Arc<Source>, start: usize) -> Result<Node, ConfigError> {
    let mut reader = Reader { cursor: Cursor { source, at: start }, depth: 0, suspect: None };
    reader.attributes()?;
    let node = reader.value()?;
    reader.cursor.blanks()?;
    if reader.cursor.peek().is_some() {
        let end = if source.is_argument() { "the end of the argument" } else { "the end of the file" };
        let error = reader.cursor.expected(end);
        let bare = matches!(node.value, Value::Word(_)) && reader.cursor.peek() == Some(':');
        return Err(if bare { error.help(FORM) } else { reader.after_word(&node, error) });
    }
    Ok(node)
}

struct Reader<'s> {
    cursor: Cursor<'s>,
    depth: usize,
    /// The first bracket whose content goes on at an outdented line: the one that was probably left open.
    suspect: Option<Span>,
}

impl Reader<'_> {
    /// `#![enable(implicit_some)]` lines before the value.
    fn attributes(&mut self) -> Result<(), ConfigError> {
        self.cursor.blanks()?;
        while self.cursor.rest().starts_with("#![") {
            match self.cursor.rest().find(']') {
                Some(end) => self.cursor.at += end + 1,
                None => return Err(self.cursor.expected("`#![enable(...)]`")),
            }
            self.cursor.blanks()?;
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Node, ConfigError> {
        self.cursor.blanks()?;
        if self.depth >= DEEPEST {
            return Err(ConfigError::new(format!("brackets are nested more than {DEEPEST} deep"))
                .label(&self.cursor.here(), "this is the last straw"));
        }
        self.depth += 1;
        let node = self.value_inside();
        self.depth -= 1;
        node
    }

    fn value_inside(&mut self) -> Result<Node, ConfigError> {
        let start = self.cursor.at;
        let value = match self.cursor.peek() {
            Some('(') => self.parentheses(None)?,
            Some('[') => self.list()?,
            Some('{') => self.map()?,
            Some('"') => Value::Text(self.cursor.text()?),
            Some('\'') => Value::Char(self.cursor.character()?),
            Some('+' | '-' | '.' | '0'..='9') => self.cursor.number()?,
            Some('r') if self.cursor.at_raw_text() => Value::Text(self.cursor.raw_text()?),
            Some('b') if self.cursor.rest()[1..].starts_with(['"', '\'']) => {
                return Err(self.cursor.expected("a value").help("byte strings have no use here: leave out the `b`"));
            }
            _ => match self.cursor.word() {
                Some(word) => self.after_name(word, start)?,
                None => return Err(self.cursor.expected("a value")),
            },
        };
        Ok(Node::new(value, self.cursor.since(start)))
    }

    /// A bare word was read: a constant, or a variant's name with or without brackets.
    fn after_name(&mut self, word: &str, start: usize) -> Result<Value, ConfigError> {
        let span = self.cursor.since(start);
        match word {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "inf" => return Ok(Value::Float(f64::INFINITY)),
            "NaN" => return Err(ConfigError::new("`NaN` is no setting").label(&span, "found here")),
            "None" => return Ok(Value::None),
            _ => {}
        }
        self.cursor.blanks()?;
        if self.cursor.peek() != Some('(') {
            self.cursor.at = span.end;
            return Ok(Value::Word(word.to_owned()));
        }
        if word != "Some" {
            return self.parentheses(Some(Name { text: word.to_owned(), span }));
        }
        let opening = self.open();
        let inner = self.value()?;
        self.separator(')', &opening, &inner)?;
        self.close(')', &opening)?;
        Ok(Value::Some(Box::new(inner)))
    }

    /// `(...)`: a group of keys if the first thing is a key, a tuple otherwise.
    fn parentheses(&mut self, name: Option<Name>) -> Result<Value, ConfigError> {
        let opening = self.open();
        self.cursor.blanks()?;
        if self.cursor.peek() == Some(')') || self.at_key()? {
            let fields = self.fields(&opening)?;
            return Ok(Value::Group { name, fields });
        }
        let items = self.items(')', &opening)?;
        Ok(Value::Tuple { name, items })
    }

    fn list(&mut self) -> Result<Value, ConfigError> {
        let opening = self.open();
        Ok(Value::List(self.items(']', &opening)?))
    }

    fn map(&mut self) -> Result<Value, ConfigError> {
        let opening = self.open();
        let mut entries: Vec<(Node, Node)> = Vec::new();
        loop {
            self.cursor.blanks()?;
            if self.cursor.peek().is_none_or(|c| c == '}') {
                self.close('}', &opening)?;
                return Ok(Value::Map(entries));
            }
            let key = self.value()?;
            if let Some((first, _)) = entries.iter().find(|(other, _)| *other == key) {
                return Err(twice(&key.describe(), &key.span, &first.span));
            }
            self.colon(&key.describe())?;
            let value = self.value()?;
            self.separator('}', &opening, &value)?;
            entries.push((key, value));
        }
    }

    /// Whether `word :` or `"text" :` is next; reads nothing.
    fn at_key(&mut self) -> Result<bool, ConfigError> {
        let start = self.cursor.at;
        let quoted = self.cursor.peek() == Some('"');
        let key = if quoted { self.cursor.text().is_ok() } else { self.cursor.word().is_some() };
        if key {
            self.cursor.blanks()?;
        }
        let found = key && matches!(self.cursor.peek(), Some(':' | '='));
        self.cursor.at = start;
        Ok(found)
    }

    fn fields(&mut self, opening: &Span) -> Result<Vec<Field>, ConfigError> {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            self.cursor.blanks()?;
            if self.cursor.peek().is_none_or(|c| c == ')') {
                self.close(')', opening)?;
                return Ok(fields);
            }
            self.watch_indentation(opening);
            let start = self.cursor.at;
            let Some(key) = self.cursor.word() else {
                let error = self.cursor.expected("a key or `)`");
                let quoted = self.cursor.peek() == Some('"');
                return Err(if quoted { error.help("keys are written without quotes") } else { error });
            };
            let key_span = self.cursor.since(start);
            if let Some(first) = fields.iter().find(|field| field.key == key) {
                return Err(twice(&format!("`{key}`"), &key_span, &first.key_span));
            }
            self.colon(&format!("`{key}`"))?;
            let node = self.value()?;
            self.separator(')', opening, &node)?;
            fields.push(Field { key: key.to_owned(), key_span, node });
        }
    }

    fn items(&mut self, closing: char, opening: &Span) -> Result<Vec<Node>, ConfigError> {
        let mut items = Vec::new();
        loop {
            self.cursor.blanks()?;
            if self.cursor.peek().is_none_or(|c| c == closing) {
                self.close(closing, opening)?;
                return Ok(items);
            }
            let item = self.value()?;
            self.separator(closing, opening, &item)?;
            items.push(item);
        }
    }

    /// Steps over an opening bracket.
    fn open(&mut self) -> Span {
        let span = self.cursor.here();
        self.cursor.bump();
        span
    }

    /// Steps over the closing bracket, or says which bracket is open.
    fn close(&mut self, closing: char, opening: &Span) -> Result<(), ConfigError> {
        if self.cursor.eat(closing) {
            return Ok(());
        }
        let bracket = self.suspect.as_ref().unwrap_or(opening);
        let what = if self.cursor.source.is_argument() { "argument" } else { "file" };
        let label = if self.suspect.is_some() { "this bracket seems to be the open one" } else { "it opens here" };
        let closing = match bracket.text() {
            "[" => ']',
            "{" => '}',
            _ => ')',
        };
        Err(ConfigError::new(format!("the {what} ends inside a `{}`", bracket.text()))
            .label(bracket, label)
            .help(format!("close it with `{closing}`")))
    }

    /// The colon behind a key.
    fn colon(&mut self, key: &str) -> Result<(), ConfigError> {
        self.cursor.blanks()?;
        if self.cursor.eat(':') {
            return Ok(());
        }
        let error = self.cursor.expected(&format!("`:` after {key}"));
        Err(if self.cursor.peek() == Some('=') { error.help("write `key: value`") } else { error })
    }

    /// The comma behind a value; the last one may be left out.
    fn separator(&mut self, closing: char, opening: &Span, before: &Node) -> Result<(), ConfigError> {
        self.cursor.blanks()?;
        if self.cursor.eat(',') || self.cursor.peek().is_none_or(|c| c == closing) {
            return Ok(());
        }
        if matches!(before.value, Value::Text(_)) && before.span.text().contains('\n') {
            return Err(ConfigError::new("a text goes on over the end of its line")
                .label(&before.span, "it opens here")
                .help("its closing quote seems to be missing"));
        }
        let error = self.cursor.expected(&format!("`,` or `{closing}`"));
        if matches!(self.cursor.peek(), Some(')' | ']' | '}')) {
            return Err(error.label(opening, format!("this is open and wants `{closing}`")));
        }
        let end = &before.span;
        let (line, _) = end.source.line_column(end.end);
        if line < end.source.line_column(self.cursor.at).0 || self.at_key()? {
            let gap = Span::new(&end.source, end.end, end.end);
            return Err(ConfigError::new("a comma is missing").label(&gap, format!("expected `,` or `{closing}` here")));
        }
        Err(self.after_word(before, error))
    }

    /// Explains `f-pdls` and `data/ferplus`: a word that goes on with what no word has is a text without its quotes.
    fn after_word(&self, node: &Node, error: ConfigError) -> ConfigError {
        let rest = self.cursor.rest();
        if !matches!(node.value, Value::Word(_))
            || node.span.end != self.cursor.at
            || !rest.starts_with(['-', '/', '.'])
        {
            return error;
        }
        let tail = rest.find(|c: char| c.is_whitespace() || ",()[]{}\"".contains(c)).unwrap_or(rest.len());
        error.help(format!("text stands in quotes: \"{}{}\"", node.span.text(), &rest[..tail]))
    }

    /// Remembers a bracket when a key stands on a later line and no deeper than the bracket's own line.
    fn watch_indentation(&mut self, opening: &Span) {
        let source = self.cursor.source;
        let indentation = |offset| {
            let (start, line) = source.line_at(offset);
            (start, line.len() - line.trim_start().len())
        };
        let ((opened, outer), (line, inner)) = (indentation(opening.start), indentation(self.cursor.at));
        let first = line + inner == self.cursor.at;
        if self.suspect.is_none() && line > opened && first && inner <= outer && outer > 0 {
            self.suspect = Some(opening.clone());
        }
    }
}

fn twice(key: &str, second: &Span, first: &Span) -> ConfigError {
    ConfigError::new(format!("{key} is given twice")).label(second, "the second time").label(first, "the first time")
}
