//! Which entry of a weight file belongs to which parameter.

use std::collections::{BTreeMap, BTreeSet};

use fer_engine::Tensor;
use fer_graph::{Argument, Graph, Role};
use fer_train::names::EMA;

use super::{
    layout::Layout,
    spelling::{is_bookkeeping, spellings},
};

/// Parameters and states of a graph, matched with the entries of a file.
#[derive(Debug, Default)]
pub struct Matched {
    /// Whose spelling the file follows, where it is not the component's own.
    pub layout: Option<String>,
    /// `(name in the graph, name in the file)`; the shapes are equal.
    pub pairs: Vec<(String, String)>,
    /// In the graph only.
    pub missing: Vec<String>,
    /// In the file only.
    pub unexpected: Vec<String>,
    /// Paired by name, with other shapes.
    pub misshapen: Vec<Misshapen>,
    /// Several parameters would take the same entry: `(name in the file, names in the graph)`.
    pub ambiguous: Vec<(String, Vec<String>)>,
    /// Entries that hold nothing to start from.
    pub bookkeeping: Vec<String>,
}

/// A parameter and an entry of one name and different shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// In the graph.
    pub name: String,
    /// In the file.
    pub entry: String,
    pub expected: Vec<usize>,
    pub found: Vec<usize>,
    /// A layout's rule named the entry, which may then be written with its axes folded differently.
    pub renamed: bool,
}

/// Matches the parameters and states that `belongs` picks with a file's entries, in whichever spelling fits most of them: the
/// component's own, or one of the layouts.
pub fn match_names(
    graph: &Graph,
    file: &BTreeMap<String, Tensor>,
    layouts: &[Layout],
    belongs: impl Fn(&str) -> bool,
) -> Matched {
    let wanted: Vec<&Argument> = graph.arguments.iter().filter(|a| a.role != Role::Input && belongs(&a.name)).collect();
    let mut best = match_in(graph, &wanted, file, None);
    for layout in layouts {
        let other = match_in(graph, &wanted, file, Some(layout));
        if other.pairs.len() > best.pairs.len() {
            best = other;
        }
    }
    best
}

fn match_in(graph: &Graph, wanted: &[&Argument], file: &BTreeMap<String, Tensor>, layout: Option<&Layout>) -> Matched {
    let mut matched = Matched { layout: layout.map(|l| l.name.clone()), ..Matched::default() };
    // The component's own name of every entry, and what the file calls it.
    let own: BTreeMap<String, (&String, bool)> = file
        .keys()
        .map(|name| match layout.and_then(|l| l.own_name(name)) {
            Some(own) => (own, (name, true)),
            None => (name.clone(), (name, false)),
        })
        .collect();
    let mut takers: BTreeMap<&String, (bool, Vec<&Argument>)> = BTreeMap::new();
    for &argument in wanted {
        match spellings(&argument.name).into_iter().find_map(|n| own.get(&n)) {
            Some(&(entry, renamed)) => takers.entry(entry).or_insert((renamed, vec![])).1.push(argument),
            None => matched.missing.push(argument.name.clone()),
        }
    }
    for (entry, (renamed, arguments)) in &takers {
        match arguments[..] {
            [one] => {
                let (expected, found) = (graph.shape(one.value).to_vec(), file[*entry].shape.clone());
                let (name, entry, renamed) = (one.name.clone(), (*entry).clone(), *renamed);
                if expected == found {
                    matched.pairs.push((name, entry));
                } else {
                    matched.misshapen.push(Misshapen { name, entry, expected, found, renamed });
                }
            }
            _ => {
                let names = arguments.iter().map(|a| a.name.clone()).collect();
                matched.ambiguous.push(((*entry).clone(), names));
            }
        }
    }
    let taken: BTreeSet<&String> = takers.into_keys().collect();
    let rest = file.keys().filter(|n| !taken.contains(n)).cloned();
    // Beside the average that was taken, the weights themselves are nothing more to start from.
    let averaged = |name: &str| taken.contains(&format!("{EMA}{name}"));
    (matched.bookkeeping, matched.unexpected) = rest.partition(|n| is_bookkeeping(n) || averaged(n));
    matched
}

impl Matched {
    /// What does not fit, as lines: `what: count (first names)`; empty when all is well.
    pub fn complaints(&self) -> Vec<String> {
        let shapes = self.misshapen.iter().map(|m| format!("{}: model {:?}, file {:?}", m.name, m.expected, m.found));
        let several = self.ambiguous.iter().map(|(n, takers)| format!("{n} could be {}", takers.join(" or ")));
        [
            ("missing from the file", self.missing.clone()),
            ("not in the model", self.unexpected.clone()),
            ("other shapes", shapes.collect()),
            ("ambiguous", several.collect()),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", counted(&names)))
        .collect()
    }
}

/// `12 (a, b, c, d, ...)`.
pub fn counted(names: &[String]) -> String {
    let shown = names.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    format!("{} ({shown}{})", names.len(), if names.len() > 4 { ", ..." } else { "" })
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, Init};

    use super::*;

    fn check(parameters: &[&str], file: &[&str]) -> Vec<String> {
        let b = Builder::new("t");
        for name in parameters {
            b.parameter(name, &[2], Init::Zeros).unwrap();
        }
        let file = file.iter().map(|n| ((*n).to_owned(), Tensor::f32([2], vec![0.0; 2]))).collect();
        let m = match_names(&b.finish(), &file, &[], |_| true);
        m.complaints().into_iter().chain(m.pairs.into_iter().map(|(a, b)| format!("{a} <- {b}"))).collect()
    }

    #[test]
    fn full_names_win_over_bare_ones_and_averages_over_both() {
        let full = "backbone.norm.weight";
        assert_eq!(check(&[full], &[full]), ["backbone.norm.weight <- backbone.norm.weight"]);
        assert_eq!(
            check(&[full], &["ema.backbone.norm.weight", full, "optimiser.first_moment.backbone.norm.weight"]),
            ["backbone.norm.weight <- ema.backbone.norm.weight"]
        );
    }

    #[test]
    fn other_frameworks_names_are_known() {
        let pairs = check(
            &["backbone.norm.weight", "head.weight", "resizers.0.conv1.weight"],
            &["norm.weight", "head.fc.weight", "conv1.weight", "bn1.num_batches_tracked"],
        );
        let expected = [
            "resizers.0.conv1.weight <- conv1.weight",
            "head.weight <- head.fc.weight",
            "backbone.norm.weight <- norm.weight",
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let lines = check(&["resizers.0.w", "resizers.1.w", "head.bias"], &["w", "x"]);
        assert_eq!(
            lines,
            [
                "missing from the file: 1 (head.bias)",
                "not in the model: 1 (x)",
                "ambiguous: 1 (w could be resizers.0.w or resizers.1.w)"
            ]
        );
    }
}
