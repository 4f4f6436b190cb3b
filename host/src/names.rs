//! Which entry of a weight file belongs to which parameter: full names first, then the names that other frameworks use.

use std::collections::{BTreeMap, BTreeSet};

use fer_engine::Tensor;
use fer_graph::{Graph, Role};

/// Entries of other frameworks' state dicts that hold nothing to train or keep.
const BOOKKEEPING: [&str; 3] = ["num_batches_tracked", "relative_position_index", "attn_mask"];

/// Parameters and states of a graph, matched with the entries of a file.
#[derive(Debug, Default)]
pub struct Matched {
    /// `(name in the graph, name in the file)`.
    pub pairs: Vec<(String, String)>,
    /// In the graph only.
    pub missing: Vec<String>,
    /// In the file only.
    pub unexpected: Vec<String>,
    /// Both have the name, with other shapes: `(name, in the graph, in the file)`.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Several parameters would take the same entry: `(name in the file, names in the graph)`.
    pub ambiguous: Vec<(String, Vec<String>)>,
}

/// The names under which a file may hold a parameter, best first.
///
/// A file of one component alone names its entries without the component's place; timm calls the classifier `head.fc` (Swin) or
/// `head`.
pub fn spellings(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let Some(rest) = name.strip_prefix("backbone.") {
        names.push(rest.to_owned());
    } else if let Some(rest) = name.strip_prefix("head.") {
        names.extend([format!("head.fc.{rest}"), format!("fc.{rest}")]);
    } else if let Some(rest) = name.strip_prefix("resizers.")
        && let Some((_, rest)) = rest.split_once('.')
    {
        names.push(rest.to_owned());
    }
    names
}

/// Matches a graph's parameters and states with a file's entries.
pub fn match_names(graph: &Graph, file: &BTreeMap<String, Tensor>) -> Matched {
    let mut matched = Matched::default();
    let mut takers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for argument in graph.arguments.iter().filter(|a| a.role != Role::Input) {
        match spellings(&argument.name).into_iter().find(|n| file.contains_key(n)) {
            Some(entry) => takers.entry(entry).or_default().push(argument.name.clone()),
            None => matched.missing.push(argument.name.clone()),
        }
    }
    for (entry, names) in &takers {
        match names.as_slice() {
            [one] => {
                let expected = graph.argument(one).map(|a| graph.shape(a.value).to_vec()).unwrap_or_default();
                let found = &file[entry].shape;
                if expected == *found {
                    matched.pairs.push((one.clone(), entry.clone()));
                } else {
                    matched.misshapen.push((one.clone(), expected, found.clone()));
                }
            }
            several => matched.ambiguous.push((entry.clone(), several.to_vec())),
        }
    }
    let taken: BTreeSet<&String> = takers.keys().collect();
    let is_bookkeeping = |name: &str| BOOKKEEPING.iter().any(|b| name == *b || name.ends_with(&format!(".{b}")));
    matched.unexpected = file.keys().filter(|n| !taken.contains(n) && !is_bookkeeping(n)).cloned().collect();
    matched
}

impl Matched {
    /// What does not fit, as lines: `what: count (first names)`; empty when all is well.
    pub fn complaints(&self) -> Vec<String> {
        let mut lines = vec![];
        let mut say = |what: &str, names: Vec<String>| {
            if !names.is_empty() {
                let shown = names.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
                let more = if names.len() > 4 { ", ..." } else { "" };
                lines.push(format!("{what}: {} ({shown}{more})", names.len()));
            }
        };
        say("missing from the file", self.missing.clone());
        say("not in the model", self.unexpected.clone());
        let shapes = self.misshapen.iter().map(|(n, e, f)| format!("{n}: model {e:?}, file {f:?}"));
        say("other shapes", shapes.collect());
        let several = self.ambiguous.iter().map(|(n, takers)| format!("{n} could be {}", takers.join(" or ")));
        say("ambiguous", several.collect());
        lines
    }
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
        let m = match_names(&b.finish(), &file);
        m.complaints().into_iter().chain(m.pairs.into_iter().map(|(a, b)| format!("{a} <- {b}"))).collect()
    }

    #[test]
    fn full_names_win_over_bare_ones() {
        assert_eq!(
            check(&["backbone.norm.weight"], &["backbone.norm.weight"]),
            ["backbone.norm.weight <- backbone.norm.weight"]
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
