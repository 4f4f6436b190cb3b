//! A check's findings as a page, and as JSON.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    advice::advice,
    finding::{Checked, Failed, Finding, Outcome},
};

/// A library and its components.
#[derive(Clone, Debug, Serialize)]
pub struct LibraryReport {
    pub library: PathBuf,
    pub quick: bool,
    pub seed: u64,
    pub components: Vec<Checked>,
    pub seconds: f64,
}

impl LibraryReport {
    pub fn failed(&self) -> usize {
        self.components.iter().map(Checked::failed).sum()
    }

    /// Properties that should have been examined and could not be.
    pub fn unexamined(&self) -> usize {
        self.components.iter().map(Checked::unexamined).sum()
    }

    /// 0: everything holds. 1: something does not. 2: something could not be looked at.
    pub fn exit(&self) -> u8 {
        match (self.failed(), self.unexamined()) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }
    }
}

/// How words are dressed on a terminal; empty strings for plain text.
struct Dress {
    bold: &'static str,
    good: &'static str,
    bad: &'static str,
    pale: &'static str,
    off: &'static str,
}

const PLAIN: Dress = Dress { bold: "", good: "", bad: "", pale: "", off: "" };
const COLOURED: Dress =
    Dress { bold: "\x1b[1m", good: "\x1b[32m", bad: "\x1b[1;31m", pale: "\x1b[33m", off: "\x1b[0m" };

/// The page.
pub fn text(report: &LibraryReport, coloured: bool) -> String {
    let dress = if coloured { &COLOURED } else { &PLAIN };
    let Dress { bold, off, .. } = dress;
    let how = if report.quick { "quick" } else { "full" };
    let mut blocks = vec![format!(
        "{bold}{}{off}\n{how} check, seed {}, in {:.1} s",
        report.library.display(),
        report.seed,
        report.seconds
    )];
    for component in &report.components {
        blocks.push(page(component, dress));
        let failures = component.findings.iter().filter_map(|f| match &f.outcome {
            Outcome::Failed(failed) => Some(failure(component, f, failed, dress)),
            _ => None,
        });
        blocks.extend(failures);
    }
    blocks.push(total(report, dress));
    blocks.join("\n\n")
}

/// `12 cases`.
fn cases(number: u32) -> String {
    if number == 1 { "1 case".into() } else { format!("{number} cases") }
}

fn page(component: &Checked, dress: &Dress) -> String {
    let Dress { bold, good, bad, pale, off } = dress;
    let mut lines = vec![format!(
        "{bold}{} {} {}{off}   {:.1} s",
        component.kind, component.id, component.version, component.seconds
    )];
    let wide = |f: &&Finding| matches!(f.outcome, Outcome::Ok { .. } | Outcome::NotExamined { .. });
    let width = component.findings.iter().filter(wide).map(|f| f.property.chars().count()).max().unwrap_or(0);
    let mut last = "";
    for finding in &component.findings {
        let family = if finding.family == last { "" } else { finding.family.as_str() };
        last = &finding.family;
        let (paint, word, rest) = match &finding.outcome {
            Outcome::Ok { cases: number } => (good, "ok", cases(*number)),
            Outcome::Failed(_) => (bad, "failed", String::new()),
            Outcome::NotExamined { why, .. } => (pale, "not examined", format!("({why})")),
        };
        let line = format!("  {family:<10} {paint}{word:<12}{off}  {:<width$}   {rest}", finding.property);
        lines.push(line.trim_end().to_owned());
    }
    lines.extend(component.notes.iter().map(|note| format!("  note: {note}")));
    lines.join("\n")
}

fn failure(component: &Checked, finding: &Finding, failed: &Failed, dress: &Dress) -> String {
    let Dress { bold, bad, off, .. } = dress;
    let below = |text: &str| text.trim_end().replace('\n', "\n              ");
    let mut lines = vec![
        format!("{bad}failed{off}: {} {} breaks {bold}{:?}{off}", component.kind, component.id, finding.property),
        format!("  found       {}", below(&failed.message)),
    ];
    if !failed.case.is_empty() {
        let case: Vec<&str> = failed.case.lines().map(str::trim).collect();
        let word = if failed.shrunk { "case" } else { "last case" };
        lines.push(format!("  {word:<9}   {}", below(&case.join("\n"))));
    }
    lines.push(format!("  what to do  {}", advice(&finding.property)));
    if !failed.reproduction.is_empty() {
        lines.push("  reproduce   save this as case.ron and run: fer-host trace case.ron".to_owned());
        lines.extend(failed.reproduction.lines().map(|line| format!("      {line}")));
    }
    lines.join("\n")
}

fn total(report: &LibraryReport, dress: &Dress) -> String {
    let Dress { good, bad, pale, off, .. } = dress;
    let all: usize = report.components.iter().map(|c| c.findings.len()).sum();
    let nothing = |f: &&Finding| matches!(f.outcome, Outcome::NotExamined { nothing_to_look_at: true, .. });
    let idle = report.components.iter().flat_map(|c| &c.findings).filter(nothing).count();
    let (failed, unexamined) = (report.failed(), report.unexamined());
    let held = all - failed - unexamined - idle;
    let mut text = format!("{good}{held} of {all} properties hold{off}");
    if failed > 0 {
        text += &format!(", {bad}{failed} failed{off}");
    }
    if unexamined > 0 {
        text += &format!(", {pale}{unexamined} could not be examined{off}");
    }
    if idle > 0 {
        text += &format!(", {idle} have nothing to look at here");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: Vec<Outcome>) -> LibraryReport {
        let finding = |outcome| Finding { family: "building".into(), property: "building is total".into(), outcome };
        let component = Checked {
            kind: "loss".into(),
            id: "odd".into(),
            version: "0.1.0".into(),
            findings: outcomes.into_iter().map(finding).collect(),
            notes: vec![],
            seconds: 1.0,
        };
        LibraryReport { library: "libodd.so".into(), quick: true, seed: 7, components: vec![component], seconds: 1.25 }
    }

    fn broken() -> Outcome {
        Outcome::Failed(Box::new(Failed {
            message: "it panics".into(),
            case: "options ()\n  seed 1".into(),
            reproduction: "Reproduction(\n)".into(),
            shrunk: true,
        }))
    }

    fn missing(nothing_to_look_at: bool) -> Outcome {
        Outcome::NotExamined { why: "it is empty".into(), nothing_to_look_at }
    }

    #[test]
    fn exit_codes_tell_wrong_from_unknown() {
        let ok = || Outcome::Ok { cases: 3 };
        assert_eq!(report(vec![ok(), missing(true)]).exit(), 0);
        assert_eq!(report(vec![ok(), missing(false)]).exit(), 2);
        assert_eq!(report(vec![broken(), missing(false)]).exit(), 1);
    }

    #[test]
    fn a_page_says_what_was_found_and_what_to_do() {
        let page = text(&report(vec![Outcome::Ok { cases: 3 }, broken(), missing(true)]), false);
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines[..2], ["libodd.so", "quick check, seed 7, in 1.2 s"]);
        assert_eq!(lines[3], "loss odd 0.1.0   1.0 s");
        assert_eq!(lines[4], "  building   ok            building is total   3 cases");
        assert_eq!(lines[5], "             failed        building is total");
        assert_eq!(lines[6], "             not examined  building is total   (it is empty)");
        assert_eq!(lines[8], "failed: loss odd breaks \"building is total\"");
        assert_eq!(lines[9..12], ["  found       it panics", "  case        options ()", "              seed 1"]);
        assert!(page.ends_with("1 of 3 properties hold, 1 failed, 1 have nothing to look at here"), "{page}");
        assert!(!page.contains('\x1b') && text(&report(vec![broken()]), true).contains("\x1b[1;31mfailed"));
    }
}
