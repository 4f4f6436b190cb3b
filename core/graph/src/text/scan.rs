//! Reads words, numbers and quoted text from a graph's text, and says where and what it found when it expected something else.

use crate::{GraphError, Result, assemble::quoted};

/// Whether a name stands in text without quotes.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "_" && name.chars().all(is_word)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/')
}

/// A place in the text, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// Walks through a text.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    pub fn new(text: &'t str) -> Scanner<'t> {
        Scanner { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Passes over blanks, line ends and comments.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest().trim_start();
            self.at = self.text.len() - rest.len();
            if !rest.starts_with('#') {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    /// Where the next thing stands.
    pub fn place(&mut self) -> Place {
        self.skip_blanks();
        Place(self.at)
    }

    pub fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest().is_empty()
    }

    /// Passes over a sign if it comes next.
    pub fn take(&mut self, sign: &str) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    /// # Errors
    /// When something else comes.
    pub fn expect(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    /// The next word without passing over it; empty when none comes.
    pub fn peek_word(&mut self) -> &'t str {
        self.skip_blanks();
        let rest = self.rest();
        &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
    }

    /// # Errors
    /// When no word comes.
    pub fn word(&mut self, what: &str) -> Result<&'t str> {
        let word = self.peek_word();
        if word.is_empty() {
            return Err(self.expected(what));
        }
        self.at += word.len();
        Ok(word)
    }

    /// A word, or text in quotes.
    ///
    /// # Errors
    /// When neither comes.
    pub fn name(&mut self, what: &str) -> Result<String> {
        self.skip_blanks();
        if self.rest().starts_with('"') { self.quoted() } else { self.word(what).map(str::to_owned) }
    }

    /// A word that reads as a number.
    ///
    /// # Errors
    /// When something else comes.
    pub fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        // A sign and digits are one word already, but for the `+` of an exponent, which is never printed.
        match self.peek_word().parse() {
            Ok(number) => {
                self.at += self.peek_word().len();
                Ok(number)
            }
            Err(_) => Err(self.expected(what)),
        }
    }

    /// Text in quotes, with Rust's escapes.
    ///
    /// # Errors
    /// When no quote comes, the text does not end, or an escape has no meaning.
    pub fn quoted(&mut self) -> Result<String> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            let start = Place(self.at);
            match self.next_char() {
                None | Some('\n') => return Err(self.error(start, "expected `\"`, the text ends here".to_owned())),
                Some('"') => return Ok(text),
                Some('\\') => match self.escape() {
                    Some(c) => text.push(c),
                    None => return Err(self.error(start, "expected an escape such as \\n or \\u{e9}".to_owned())),
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn next_char(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn escape(&mut self) -> Option<char> {
        match self.next_char()? {
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            '0' => Some('\0'),
            c @ ('"' | '\'' | '\\') => Some(c),
            'u' => {
                let digits = self.rest().strip_prefix('{')?;
                let digits = &digits[..digits.find('}')?];
                self.at += digits.len() + 2;
                u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
            }
            _ => None,
        }
    }

    /// "expected this, found that", told of what comes next.
    pub fn expected(&mut self, what: &str) -> GraphError {
        let place = self.place();
        let found = match (self.peek_word(), self.rest().chars().next()) {
            (_, None) => "the end".to_owned(),
            ("", Some(c)) => format!("`{}`", c.escape_debug()),
            (word, _) => quoted(word),
        };
        self.error(place, format!("expected {what}, found {found}"))
    }

    /// A syntax error at a place.
    pub fn error(&self, place: Place, message: String) -> GraphError {
        let (line, column) = self.line_and_column(place);
        GraphError::Syntax { line, column, message }
    }

    /// An op's or a graph's error, told of a place: a constraint keeps its name, everything else is a fault of the text.
    pub fn located(&self, place: Place, error: GraphError) -> GraphError {
        let (line, column) = self.line_and_column(place);
        match error {
            GraphError::Constraint { op, constraint, message, scope } => {
                let message = format!("{message} (line {line}, column {column})");
                GraphError::Constraint { op, constraint, message, scope }
            }
            GraphError::Malformed { message, .. } => GraphError::Syntax { line, column, message },
            other => other,
        }
    }

    fn line_and_column(&self, place: Place) -> (usize, usize) {
        let before = &self.text[..place.0];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
