//! Other spellings of a component's weights: how older or foreign checkpoints name what the component names in its own way.

/// One foreign spelling of a state dict.
///
/// A rule is `(pattern, replacement)`. A pattern is text with at most one `{i}`, which stands for a number, and a `*` at its end,
/// which stands for the rest; the replacement may use `{i}`, `{i+1}`, `{i-1}` and `*`. The first rule that matches a name renames it;
/// other names stay. The host takes the layout under which a file fits best, trying the component's own names first.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Who writes so: shown in the report.
    pub name: &'static str,
    pub rules: &'static [(&'static str, &'static str)],
}

impl Layout {
    /// As it crosses the boundary: the name, then one `pattern -> replacement` a line.
    pub(crate) fn text(&self) -> String {
        let rules = self.rules.iter().map(|(from, to)| format!("{from} -> {to}"));
        [self.name.to_owned()].into_iter().chain(rules).collect::<Vec<_>>().join("\n")
    }
}
