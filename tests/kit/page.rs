//! A page of documentation as something to follow: files to write, lines to type, and what is said to them.
//!
//! A code block is a file where the line before it is nothing but its path, `` `path`: ``. A block of `sh` is typed; a block of `text` right
//! after it is what comes back, with `...` for what differs from machine to machine: in a line for some of it, alone for
//! any number of lines. There is no fourth kind of block, so that nothing on such a page goes untried.

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    File { line: usize, path: String, text: String },
    Shell { line: usize, text: String, answer: Option<String> },
}

/// The steps of a page, in order.
///
/// # Errors
/// A block that is none of these, by its line.
pub fn steps(page: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = vec![];
    // The last line that was not empty, and whether it closed a block of `sh`.
    let (mut before, mut typed) = (String::new(), false);
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line_number = number + 1;
        let Some(language) = line.strip_prefix("```") else {
            if !line.trim().is_empty() {
                (before, typed) = (line.to_owned(), false);
            }
            continue;
        };
        let mut text = String::new();
        loop {
            match lines.next() {
                Some((_, line)) if line.starts_with("```") => break,
                Some((_, line)) => text += &format!("{line}\n"),
                None => return Err(format!("line {line_number}: the block has no end")),
            }
        }
        match (named(&before), language, steps.last_mut()) {
            (Some(path), ..) => steps.push(Step::File { line: line_number, path: path.to_owned(), text }),
            (None, "sh", _) => steps.push(Step::Shell { line: line_number, text, answer: None }),
            (None, "text", Some(Step::Shell { answer, .. })) if typed => *answer = Some(text),
            _ => return Err(format!("line {line_number}: {language:?} is no file, nothing to type and no answer")),
        }
        typed = matches!(steps.last(), Some(Step::Shell { answer: None, .. }));
        before.clear();
    }
    Ok(steps)
}

/// `` `path`: ``
fn named(line: &str) -> Option<&str> {
    let path = line.strip_prefix('`')?.strip_suffix("`:")?;
    (!path.is_empty() && !path.contains('`')).then_some(path)
}

/// Whether what came back is what the page shows.
pub fn answers(shown: &str, found: &str) -> bool {
    let lines = |text: &str| text.trim_matches('\n').lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
    all(&lines(shown), &lines(found))
}

fn all(shown: &[String], found: &[String]) -> bool {
    match (shown.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first.trim() == "..." => (0..=found.len()).any(|skip| all(rest, &found[skip..])),
        (Some((first, rest)), Some((line, others))) => one(first, line) && all(rest, others),
        _ => false,
    }
}

fn one(shown: &str, found: &str) -> bool {
    match shown.split_once("...") {
        None => shown == found,
        Some((start, rest)) => match found.strip_prefix(start) {
            None => false,
            Some(found) => (0..=found.len()).any(|at| found.is_char_boundary(at) && one(rest, &found[at..])),
        },
    }
}

#[test]
fn a_page_is_read_in_order() {
    let page = "# Title\n\n`a/b.rs`:\n\n```rust\nfn f() {}\n```\n\n```sh\nls\n```\n\n```text\nb...s\n```\n\nAnd then:\n\n```sh\npwd\n```\n";
    let file = Step::File { line: 5, path: "a/b.rs".into(), text: "fn f() {}\n".into() };
    let shell = |line, text: &str, answer: Option<&str>| Step::Shell {
        line,
        text: text.into(),
        answer: answer.map(str::to_owned),
    };
    assert_eq!(steps(page), Ok(vec![file, shell(9, "ls\n", Some("b...s\n")), shell(19, "pwd\n", None)]));
    for (page, said) in [
        ("Like so:\n```rust\nx\n```\n", "line 2: \"rust\" is no file"),
        ("```text\nx\n```\n", "line 1: \"text\""),
        ("```sh\nls\n```\nSays:\n```text\nx\n```\n", "line 5: \"text\""),
        ("```sh\nls\n", "line 1: the block has no end"),
    ] {
        let error = steps(page).expect_err(page);
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn dots_stand_for_what_differs() {
    assert!(answers("in ... s\n...\nend\n", "in 3.2 s\na\nb\nend\n\n"));
    assert!(answers("...\n", "") && answers("a\n...\n", "a\n") && answers("a ... b ... c", "a 1 b 2 c"));
    assert!(!answers("a\n", "a\nb\n") && !answers("in ... s\n", "in 3 ms\n") && !answers("a\n...\nb\n", "a\n"));
}
