//! Finds the kernels of a preprocessed unit: most come out of macros, so that no earlier text names them.

/// A kernel as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    /// The first argument of `__launch_bounds__`, an expression.
    pub(crate) most_threads: Option<String>,
}

/// What `__global__` and `__launch_bounds__` become, see `runtime/emulator.h`.
const KERNEL: &str = "__attribute__((fer_kernel))";
const BOUNDS: &str = "fer_bounds";

pub(crate) fn kernels(preprocessed: &str) -> Vec<Found> {
    let mut found: Vec<Found> = vec![];
    let mut rest = preprocessed;
    while let Some(at) = rest.find(KERNEL) {
        rest = &rest[at + KERNEL.len()..];
        if let Some(kernel) = declaration(rest)
            && found.iter().all(|f| f.name != kernel.name)
        {
            found.push(kernel);
        }
    }
    found
}

/// Reads up to the parameters: attributes, `void`, the name.
fn declaration(text: &str) -> Option<Found> {
    let mut most_threads = None;
    let mut last = None;
    let mut rest = text.trim_start();
    loop {
        let word = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
        let (name, behind) = rest.split_at(word);
        rest = behind.trim_start();
        match (name, rest.starts_with('(')) {
            ("", false) => return None,
            ("__attribute__", true) => {
                let (inside, behind) = enclosed(rest)?;
                if let Some(bounds) = inside.trim_start_matches(['(', ' ']).strip_prefix(BOUNDS) {
                    let (all, _) = enclosed(bounds.trim_start())?;
                    most_threads = Some(first(all).trim().to_owned());
                }
                rest = behind.trim_start();
            }
            ("", true) => return last.map(|name: &str| Found { name: name.to_owned(), most_threads }),
            (name, true) => return Some(Found { name: name.to_owned(), most_threads }),
            (name, false) => last = Some(name),
        }
    }
}

/// What stands in the parentheses that `text` begins with, and what stands behind them.
fn enclosed(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((text.get(1..i)?, &text[i + 1..]));
        }
    }
    None
}

/// Up to the first comma that is in no parentheses.
fn first(text: &str) -> &str {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => return &text[..i],
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, Option<String>)> {
        kernels(text).into_iter().map(|k| (k.name, k.most_threads)).collect()
    }

    #[test]
    fn attributes_stand_before_or_behind_the_result() {
        let text = "extern \"C\" __attribute__((fer_kernel)) void plain(int n) {}\n\
                    extern \"C\" __attribute__((fer_kernel)) void __attribute__((fer_bounds(W * (2 + 1), 4))) behind(float* p) {}\n\
                    extern \"C\" __attribute__((fer_kernel)) __attribute__((fer_bounds(256)))\nvoid before () {}";
        let some = |x: &str| Some(x.to_owned());
        let expected = vec![
            ("plain".to_owned(), None),
            ("behind".to_owned(), some("W * (2 + 1)")),
            ("before".to_owned(), some("256")),
        ];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn a_declaration_and_its_definition_are_one_kernel() {
        let text =
            "__attribute__((fer_kernel)) void twice(int); __attribute__((fer_kernel)) void twice(int n) { f(n); }";
        assert_eq!(found(text), vec![("twice".to_owned(), None)]);
    }

    #[test]
    fn what_is_no_declaration_is_passed_over() {
        assert_eq!(found("__attribute__((fer_kernel)) ; void f(int) {}"), vec![]);
        assert_eq!(found("__attribute__((fer_kernel)) void __attribute__((fer_bounds(2"), vec![]);
    }
}
