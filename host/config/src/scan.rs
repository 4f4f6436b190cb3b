//! The small pieces of RON: blanks and comments, words, numbers, texts and characters.

use std::sync::Arc;

use crate::error::ConfigError;
use crate::source::{Source, Span};
use crate::tree::Value;

/// A position in a source.
pub(crate) struct Cursor<'s> {
    pub source: &'s Arc<Source>,
    pub at: usize,
}

impl<'s> Cursor<'s> {
    /// What is still to be read.
    pub fn rest(&self) -> &'s str {
        &self.source.text()[self.at..]
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over the next character.
    pub fn bump(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }

    /// Steps over `letter` if it is next.
    pub fn eat(&mut self, letter: char) -> bool {
        let eaten = self.peek() == Some(letter);
        if eaten {
            self.bump();
        }
        eaten
    }

    /// From `start` to here.
    pub fn since(&self, start: usize) -> Span {
        Span::new(self.source, start, self.at)
    }

    /// The next character, or the empty span at the end.
    pub fn here(&self) -> Span {
        Span::new(self.source, self.at, self.at + self.peek().map_or(0, char::len_utf8))
    }

    /// What is next, in words.
    pub fn found(&self) -> String {
        match self.peek() {
            Some(letter) if letter.is_control() => format!("{letter:?}"),
            Some(letter) => format!("`{letter}`"),
            None if self.source.is_argument() => "the end of the argument".into(),
            None => "the end of the file".into(),
        }
    }

    /// "expected this, found that", at the next character.
    pub fn expected(&self, what: &str) -> ConfigError {
        ConfigError::new(format!("expected {what}, found {}", self.found())).label(&self.here(), "found here")
    }

    /// Steps over blanks, line comments and nested block comments.
    pub fn blanks(&mut self) -> Result<(), ConfigError> {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            let rest = self.rest();
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    fn block_comment(&mut self) -> Result<(), ConfigError> {
        let (start, text) = (self.at, self.rest());
        let (mut depth, mut at) = (0usize, 0);
        while at < text.len() {
            let pair = &text.as_bytes()[at..text.len().min(at + 2)];
            match pair {
                b"/*" => (depth, at) = (depth + 1, at + 2),
                b"*/" => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
            if depth == 0 {
                self.at += at;
                return Ok(());
            }
        }
        let opening = Span::new(self.source, start, start + 2);
        Err(ConfigError::new("a comment is never closed").label(&opening, "it opens here").help("close it with `*/`"))
    }

    /// A bare word, if one is next; `r#word` gives `word`.
    pub fn word(&mut self) -> Option<&'s str> {
        let rest = self.rest();
        if let Some(raw) = rest.strip_prefix("r#") {
            let length = raw.find(|c: char| !is_raw_word(c)).unwrap_or(raw.len());
            if length > 0 {
                self.at += 2 + length;
                return Some(&raw[..length]);
            }
        }
        if !rest.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return None;
        }
        let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        self.at += length;
        Some(&rest[..length])
    }

    /// A number; a sign or a digit is next.
    pub fn number(&mut self) -> Result<Value, ConfigError> {
        let start = self.at;
        let mut last = ' ';
        while let Some(letter) = self.peek() {
            let exponent =
                matches!(last, 'e' | 'E') && !self.since(start).text().trim_start_matches(['+', '-']).starts_with("0x");
            let sign = matches!(letter, '+' | '-') && (self.at == start || exponent);
            if !sign && !is_word(letter) && letter != '.' {
                break;
            }
            last = letter;
            self.bump();
        }
        let span = self.since(start);
        parse_number(span.text()).map_err(|(message, help)| {
            let error = ConfigError::new(format!("`{}` {message}", span.text())).label(&span, "found here");
            if help.is_empty() { error } else { error.help(help) }
        })
    }

    /// A text in quotes; the opening quote is next.
    pub fn text(&mut self) -> Result<String, ConfigError> {
        let start = self.at;
        self.bump();
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(self.unclosed_text(start, "\"")),
                Some('"') => {
                    self.bump();
                    return Ok(text);
                }
                Some('\\') => text.push(self.escape()?),
                Some(letter) => {
                    text.push(letter);
                    self.bump();
                }
            }
        }
    }

    /// Whether `r"` or `r#"` is next.
    pub fn at_raw_text(&self) -> bool {
        self.rest().strip_prefix('r').is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    }

    /// A raw text, `r#"..."#`.
    pub fn raw_text(&mut self) -> Result<String, ConfigError> {
        let start = self.at;
        self.bump();
        let hashes = self.rest().len() - self.rest().trim_start_matches('#').len();
        self.at += hashes + 1;
        let end = format!("\"{}", "#".repeat(hashes));
        match self.rest().find(&end) {
            Some(length) => {
                let text = self.rest()[..length].to_owned();
                self.at += length + end.len();
                Ok(text)
            }
            None => Err(self.unclosed_text(start, &end)),
        }
    }

    fn unclosed_text(&self, start: usize, end: &str) -> ConfigError {
        let (line, text) = self.source.line_at(start);
        ConfigError::new("a text is never closed")
            .label(&Span::new(self.source, start, line + text.len()), "it opens here")
            .help(format!("close it with `{end}`"))
    }

    /// A character in single quotes; the opening quote is next.
    pub fn character(&mut self) -> Result<char, ConfigError> {
        let start = self.at;
        self.bump();
        let letter = match self.peek() {
            Some('\\') => self.escape()?,
            Some(letter) if letter != '\'' && letter != '\n' => {
                self.bump();
                letter
            }
            _ => return Err(self.expected("a character")),
        };
        if self.eat('\'') {
            return Ok(letter);
        }
        let span = self.since(start);
        Err(ConfigError::new("single quotes hold one character")
            .label(&span, "found here")
            .help("text stands in double quotes: \"...\""))
    }

    /// An escape; the backslash is next.
    fn escape(&mut self) -> Result<char, ConfigError> {
        let start = self.at;
        self.bump();
        let letter = self.peek();
        self.bump();
        let code = match letter {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('0') => return Ok('\0'),
            Some(same @ ('\\' | '"' | '\'')) => return Ok(same),
            Some('x') => self.rest().get(..2),
            Some('u') => self.rest().strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(code, _)| code),
            _ => None,
        };
        let number = code.filter(|code| code.len() <= 6).and_then(|code| u32::from_str_radix(code, 16).ok());
        match (letter, code, number.and_then(char::from_u32)) {
            (Some(kind), Some(code), Some(value)) => {
                self.at += code.len() + if kind == 'u' { 2 } else { 0 };
                Ok(value)
            }
            _ => {
                let span = self.since(start);
                Err(ConfigError::new(format!("`{}` is not an escape", span.text()))
                    .label(&span, "found here")
                    .help(r#"a backslash is written `\\`; others are \" \' \n \r \t \0 \x41 \u{e9}"#))
            }
        }
    }
}

pub(crate) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn is_raw_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '+' | '-')
}

/// A number's value, or what is wrong with it and a hint.
fn parse_number(text: &str) -> Result<Value, (&'static str, &'static str)> {
    const NOT: (&str, &str) = ("is not a number", "");
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let sign = |value: f64| if negative { -value } else { value };
    if digits == "inf" {
        return Ok(Value::Float(sign(f64::INFINITY)));
    }
    let plain = digits.replace('_', "");
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = plain.strip_prefix(prefix) {
            let value = i128::from_str_radix(digits, radix).map_err(|_| NOT)?;
            return whole(if negative { -value } else { value });
        }
    }
    let suffix = plain.find(['i', 'u', 'f']).unwrap_or(plain.len());
    let (plain, suffix) = plain.split_at(suffix);
    const SUFFIXES: [&str; 13] =
        ["", "i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64", "u128", "f32", "f64"];
    if !SUFFIXES.contains(&suffix) || !plain.contains(|c: char| c.is_ascii_digit()) {
        return Err(NOT);
    }
    if plain.contains(['.', 'e', 'E']) || suffix.starts_with('f') {
        let value: f64 = plain.parse().map_err(|_| NOT)?;
        if value.is_infinite() {
            return Err(("is too large a number", "write `inf` if infinity is meant"));
        }
        return Ok(Value::Float(sign(value)));
    }
    if !plain.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(NOT);
    }
    let value: i128 = plain.parse().map_err(|_| TOO_LARGE)?;
    whole(if negative { -value } else { value })
}

const TOO_LARGE: (&str, &str) = ("is too large a whole number", "whole numbers have at most 64 bits");

fn whole(value: i128) -> Result<Value, (&'static str, &'static str)> {
    if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value) { Ok(Value::Int(value)) } else { Err(TOO_LARGE) }
}
