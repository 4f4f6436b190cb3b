//! The audit as plain text.

use std::fmt;

use super::{Audit, Listed};

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.name, self.origin)?;
        if let Some(notice) = &self.notice {
            writeln!(f, "NOTE  {notice}")?;
        }
        self.write_counts(f)?;
        if let Some(p) = &self.published {
            let verdict = if p.matches { "as published" } else { "NOT as published" };
            writeln!(f, "\nSizes ({}): {}, {verdict}", p.of, numbers(&p.found))?;
            if !p.matches {
                writeln!(f, "  expected {}", numbers(&p.expected))?;
            }
        }
        if !self.label_modes.is_empty() {
            writeln!(f, "\nLabel modes, each applied to all three lists, beside the published sizes")?;
            writeln!(f, "  {:<12}  {:>10}  {:>10}  {:>10}", "labels", "train", "public", "private")?;
            for mode in &self.label_modes {
                writeln!(f, "  {mode}")?;
            }
        }
        if !self.dropped.is_empty() {
            writeln!(f, "\nLeft out")?;
            for (reason, n) in &self.dropped {
                writeln!(f, "  {n:>7}  {reason}")?;
            }
        }
        writeln!(f, "\nImages")?;
        for (kind, n) in &self.image_kinds {
            writeln!(f, "  {n:>7}  {kind}")?;
        }
        write_listed(f, "missing", &self.missing)?;
        write_listed(f, "unreadable", &self.unreadable)?;
        write_listed(f, "exact duplicates within a split", &self.duplicates.within)?;
        write_listed(f, "exact duplicates across splits", &self.duplicates.across)?;
        write_listed(f, "of these with different labels", &self.duplicates.contradicting)?;
        writeln!(f, "\nFingerprint {}", self.fingerprint)
    }
}

impl Audit {
    /// One row a class with its label, its FERPlus meaning and its count in each split.
    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.label_map.iter().map(|m| m.class.chars().count()).max().unwrap_or(0).max(5);
        write!(f, "\nlabel  {:<name$}  {:<10}", "class", "as FERPlus")?;
        for split in &self.splits {
            write!(f, "  {:>10}", split.split)?;
        }
        writeln!(f)?;
        for meaning in &self.label_map {
            let known = meaning.ferplus.unwrap_or("-");
            write!(f, "{:>5}  {:<name$}  {known:<10}", meaning.label, meaning.class)?;
            for split in &self.splits {
                write!(f, "  {:>10}", split.classes[meaning.label])?;
            }
            writeln!(f)?;
        }
        write!(f, "{:>5}  {:<name$}  {:<10}", "", "all", "")?;
        for split in &self.splits {
            write!(f, "  {:>10}", split.samples)?;
        }
        writeln!(f)
    }
}

fn write_listed(f: &mut fmt::Formatter<'_>, what: &str, listed: &Listed) -> fmt::Result {
    writeln!(f, "  {:>7}  {what}", listed.count)?;
    for item in &listed.first {
        writeln!(f, "           {item}")?;
    }
    match listed.count - listed.first.len() {
        0 => Ok(()),
        more => writeln!(f, "           and {more} more"),
    }
}

fn numbers(values: &[usize]) -> String {
    values.iter().map(usize::to_string).collect::<Vec<_>>().join(" / ")
}
