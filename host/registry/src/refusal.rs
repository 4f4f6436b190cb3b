//! A component's refusal on its way from the child: as it was given, but for what no terminal should see.

use abi_stable::std_types::RString;
use fer_abi::BuildError;
use serde::{Deserialize, Serialize};

/// Bytes of one text of a refusal.
const LONGEST: usize = 16 * 1024;

/// [`BuildError`] for serde.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    message: String,
    option: String,
    help: String,
    panicked: bool,
}

impl From<BuildError> for Refusal {
    fn from(error: BuildError) -> Refusal {
        let BuildError { message, option, help, panicked } = error;
        Refusal { message: clean(&message), option: clean(&option), help: clean(&help), panicked }
    }
}

impl From<Refusal> for BuildError {
    fn from(refusal: Refusal) -> BuildError {
        let Refusal { message, option, help, panicked } = refusal;
        BuildError { message: message.into(), option: option.into(), help: help.into(), panicked }
    }
}

/// The text, cut where it is endless, with control characters spelt out and what is not UTF-8 replaced.
fn clean(text: &RString) -> String {
    let bytes = text.as_bytes();
    let kept = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    let odd = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    let mut clean = String::with_capacity(kept.len());
    for letter in kept.chars() {
        match odd(letter) {
            true => clean.extend(letter.escape_default()),
            false => clean.push(letter),
        }
    }
    if bytes.len() > LONGEST {
        clean.push_str(&format!("... ({} bytes)", bytes.len()));
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(message: &str) -> String {
        let error = BuildError { message: message.into(), option: "size".into(), help: "a".into(), panicked: true };
        let back: BuildError = Refusal::from(error).into();
        assert_eq!((back.option.as_str(), back.help.as_str(), back.panicked), ("size", "a", true));
        back.message.into()
    }

    #[test]
    fn what_can_be_shown_is_left_alone() {
        let text = "size 3 does not divide 48:\n\ttake 4, or \u{e4}";
        assert_eq!(through(text), text);
    }

    #[test]
    fn what_cannot_is_spelt_out_or_cut() {
        assert_eq!(through("\u{1b}[31mred"), "\\u{1b}[31mred");
        let long = through(&"a".repeat(1 << 20));
        assert!(long.len() < LONGEST + 100 && long.ends_with("... (1048576 bytes)"), "{}", long.len());
    }
}
