//! The name of a new plugin: what cargo takes as a package, Rust as a library, and the registry as a component's id.

use crate::failure::{Failure, Result};

/// What the registry takes as an id.
const LONGEST: usize = 64;

/// Words of the language, of this edition and those to come.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Libraries that come with the compiler: a crate of that name could not be told from them.
const STANDARD: [&str; 5] = ["alloc", "core", "proc-macro", "std", "test"];

/// Folders that cargo makes below `target/`.
const CARGO: [&str; 4] = ["build", "deps", "examples", "incremental"];

/// Names that Windows gives to devices.
const DEVICES: [&str; 22] = [
    "aux", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "con", "lpt1", "lpt2", "lpt3",
    "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9", "nul", "prn",
];

/// Types that the template uses by these names.
const TYPES: [&str; 24] = [
    "Backbone",
    "Box",
    "Contract",
    "DType",
    "Domain",
    "Err",
    "Error",
    "GraphBuilder",
    "Init",
    "Law",
    "Layout",
    "Loss",
    "LossInputs",
    "None",
    "Ok",
    "Option",
    "Options",
    "Resizer",
    "Result",
    "Size",
    "Some",
    "String",
    "Value",
    "Vec",
];

/// A name that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `my-loss`: the package and the component's id.
    pub id: String,
    /// `my_loss`: the library.
    pub library: String,
    /// `MyLoss`: the type.
    pub ty: String,
}

impl Name {
    /// # Errors
    /// A name that cargo, Rust or the registry would refuse, or that would be taken for something else.
    pub fn new(text: &str) -> Result<Name> {
        let Err(rule) = allowed(text) else {
            return Ok(Name { id: text.into(), library: text.replace('-', "_"), ty: type_name(text) });
        };
        let failure = Failure::new(format!("{text:?} cannot be a plugin's name: {rule}"));
        Err(match tamed(text) {
            Some(near) => failure.help(format!("did you mean {near}?")),
            None => failure.help("a name is like my-loss: lower case letters, digits and -"),
        })
    }

    /// The file that cargo makes of the library.
    pub fn file(&self) -> String {
        format!("{}{}{}", std::env::consts::DLL_PREFIX, self.library, std::env::consts::DLL_SUFFIX)
    }
}

/// Nothing, or the rule that a name breaks.
fn allowed(text: &str) -> Result<(), String> {
    if let Some(odd) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(format!("{odd:?} is not a lower case letter, a digit or -"));
    }
    let rule = match text {
        _ if !text.starts_with(|c: char| c.is_ascii_lowercase()) => "it must begin with a letter",
        _ if text.ends_with('-') || text.contains("--") => "a - stands between letters or digits",
        _ if text.len() > LONGEST => return Err(format!("it is longer than {LONGEST} letters")),
        _ if KEYWORDS.contains(&text) => "it is a word of the Rust language",
        _ if STANDARD.contains(&text) => "a library of that name comes with the compiler",
        _ if CARGO.contains(&text) => "cargo has a folder of that name below target/",
        _ if DEVICES.contains(&text) => "Windows has a device of that name",
        _ if text == "fer" || text.starts_with("fer-") => "fer-... are the names of the host's own crates",
        _ => return Ok(()),
    };
    Err(rule.into())
}

/// `my-loss` as `MyLoss`; what would hide a type of the template gets an end of its own.
fn type_name(id: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let name: String = id.split('-').map(capital).collect();
    if TYPES.contains(&name.as_str()) { name + "Plugin" } else { name }
}

/// The name that was probably meant: `My_Loss` is `my-loss`.
fn tamed(text: &str) -> Option<String> {
    let mut name = String::new();
    let mut before = '-';
    for letter in text.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            name.push('-');
        }
        before = letter;
        name.push(if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' });
    }
    let words: Vec<&str> = name.split('-').filter(|word| !word.is_empty() && *word != "fer").collect();
    let name = words.join("-");
    // What is a name of something else may still be part of one.
    [name.clone(), format!("my-{name}")].into_iter().find(|name| *name != text && allowed(name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_have_three_spellings() {
        let name = Name::new("my-loss-2").unwrap();
        assert_eq!((name.library.as_str(), name.ty.as_str()), ("my_loss_2", "MyLoss2"));
        assert_eq!(Name::new("loss").unwrap().ty, "LossPlugin");
        assert_eq!(Name::new("self-made").unwrap().ty, "SelfMade");
    }

    #[test]
    fn bad_names_are_told_apart() {
        for (text, said, help) in [
            ("", "begin with a letter", "like my-loss"),
            ("My_Loss", "'M' is not", "did you mean my-loss?"),
            ("MyLoss", "'M' is not", "did you mean my-loss?"),
            ("my loss", "' ' is not", "did you mean my-loss?"),
            ("größe", "'ö' is not", "did you mean gr-e?"),
            ("../up", "'.' is not", "did you mean up?"),
            ("2fast", "begin with a letter", "did you mean my-2fast?"),
            ("-x", "begin with a letter", "did you mean x?"),
            ("x--y", "between letters", "did you mean x-y?"),
            ("match", "word of the Rust", "did you mean my-match?"),
            ("proc-macro", "comes with the compiler", "did you mean my-proc-macro?"),
            ("deps", "target/", "did you mean my-deps?"),
            ("nul", "Windows", "did you mean my-nul?"),
            ("fer-focal", "host's own crates", "did you mean focal?"),
        ] {
            let failure = Name::new(text).expect_err(text);
            assert!(failure.error.message().contains(said), "{text}: {}", failure.error.message());
            assert!(failure.error.help_text().unwrap_or_default().contains(help), "{text}: {:?}", failure.error);
        }
        assert!(Name::new(&"x".repeat(65)).is_err());
    }

    #[test]
    fn tables_are_in_order() {
        for table in [&STANDARD[..], &CARGO, &DEVICES, &TYPES] {
            assert!(table.is_sorted(), "{table:?}");
        }
    }
}
