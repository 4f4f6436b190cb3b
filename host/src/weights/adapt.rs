//! Decides what becomes of every parameter of a component and of every entry of a weight file.

use std::collections::{BTreeMap, BTreeSet};

use fer_engine::{Data, Tensor};
use fer_graph::{Graph, Positions};
use globset::GlobSet;
use serde::{Deserialize, Serialize};

use super::{
    layout::Layout,
    matching::{Matched, Misshapen, match_names},
    resample,
    spelling::is_classifier,
};

/// A component's parameters as the file gives them, and what happened.
#[derive(Debug, Default)]
pub struct Adapted {
    /// By the graph's names.
    pub tensors: BTreeMap<String, Tensor>,
    pub fates: Fates,
}

/// What became of parameters (the model's names) and entries (the file's).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fates {
    /// Whose spelling the file follows, where it is not the component's own.
    pub layout: Option<String>,
    /// Parameters taken as they are.
    pub loaded: Vec<String>,
    /// Position tables of another size.
    pub resized: Vec<Resized>,
    /// The classifier's parameters, started from the seed: the file's are for other classes or another head, or absent.
    pub started_anew: Vec<String>,
    /// Parameters that the file lacks and the config lets start from the seed.
    pub missing: Vec<String>,
    /// Entries that nothing was made of: another classifier's, another part's, bookkeeping, or those that the config names.
    pub ignored: Vec<String>,
}

/// A table that was brought to another size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    pub name: String,
    pub from: Vec<usize>,
    pub to: Vec<usize>,
}

/// Which part of the model a file is for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// `backbone.`, `resizers.1.`
    pub prefix: &'p str,
    /// Whether the heads belong to it.
    pub heads: bool,
}

impl Place<'_> {
    fn holds(&self, name: &str) -> bool {
        name.starts_with(self.prefix) || (self.heads && is_classifier(name))
    }

    /// Whether an entry is, by its full name, that of another part of a whole model.
    fn is_elsewhere(&self, entry: &str) -> bool {
        let whole = ["backbone.", "resizers.", "head."].iter().any(|part| entry.starts_with(part));
        whole && !self.holds(entry)
    }
}

/// Takes from a file what belongs to one part of the graph. `lenient` matches the names, the model's or the file's, that need not fit.
///
/// # Errors
/// What does not fit, one line a kind, with the first names.
pub fn adapt(
    graph: &Graph,
    place: Place<'_>,
    file: &BTreeMap<String, Tensor>,
    layouts: &[Layout],
    lenient: &GlobSet,
) -> Result<Adapted, Vec<String>> {
    let mut matched = match_names(graph, file, layouts, |name| place.holds(name));
    let mut adapted = Adapted::default();
    let fates = &mut adapted.fates;
    fates.layout = matched.layout.take();
    set_heads_apart(&mut matched, fates);
    let bare = |name: &str| name.strip_prefix(place.prefix).map(str::to_owned);
    let allowed = |name: &str| lenient.is_match(name) || bare(name).is_some_and(|n| lenient.is_match(n));

    let (missing, left) = matched.missing.into_iter().partition(|n| allowed(n));
    (fates.missing, matched.missing) = (missing, left);
    let mut left = vec![];
    for odd in matched.misshapen {
        match fitted(graph, &odd, &file[&odd.entry]) {
            Ok(tensor) => {
                fates.resized.push(Resized { name: odd.name.clone(), from: odd.found, to: odd.expected });
                adapted.tensors.insert(odd.name, tensor);
            }
            Err(_) if allowed(&odd.name) || lenient.is_match(&odd.entry) => {
                fates.missing.push(odd.name);
                fates.ignored.push(odd.entry);
            }
            Err(_) => left.push(odd),
        }
    }
    matched.misshapen = left;
    let unused = |n: &String| (place.heads && is_classifier(n)) || place.is_elsewhere(n) || lenient.is_match(n);
    let (ignored, left) = matched.unexpected.into_iter().partition(unused);
    fates.ignored.extend::<Vec<String>>(ignored);
    fates.ignored.append(&mut matched.bookkeeping);
    fates.ignored.sort();
    matched.unexpected = left;

    for (name, entry) in &matched.pairs {
        let tensor = &file[entry];
        if !tensor.data.dtype().is_float() {
            matched.unexpected.push(format!("{entry}, which holds {}", tensor.data.dtype()));
            continue;
        }
        adapted.tensors.insert(name.clone(), tensor.clone());
        fates.loaded.push(name.clone());
    }
    let complaints = matched.complaints();
    if complaints.is_empty() { Ok(adapted) } else { Err(complaints) }
}

/// A head is loaded whole or not at all: one that lacks a part, or is for other classes, starts anew.
fn set_heads_apart(matched: &mut Matched, fates: &mut Fates) {
    let head_of = |name: &str| is_classifier(name).then(|| name.split('.').next().unwrap_or(name).to_owned());
    let unfit: BTreeSet<String> = {
        let missing = matched.missing.iter().filter_map(|n| head_of(n));
        missing.chain(matched.misshapen.iter().filter_map(|m| head_of(&m.name))).collect()
    };
    let anew = |name: &str| head_of(name).is_some_and(|head| unfit.contains(&head));
    fates.started_anew.extend(matched.missing.extract_if(.., |n| anew(n)));
    for odd in matched.misshapen.extract_if(.., |m| anew(&m.name)) {
        fates.started_anew.push(odd.name);
        fates.ignored.push(odd.entry);
    }
    for (name, entry) in matched.pairs.extract_if(.., |(n, _)| anew(n)) {
        fates.started_anew.push(name);
        fates.ignored.push(entry);
    }
    fates.started_anew.sort();
}

/// An entry of another shape, brought to the parameter's.
fn fitted(graph: &Graph, odd: &Misshapen, tensor: &Tensor) -> Result<Tensor, String> {
    let argument = graph.argument(&odd.name).ok_or("is not in the model")?;
    if !tensor.data.dtype().is_float() {
        return Err(format!("holds {}", tensor.data.dtype()));
    }
    // The same numbers with the axes folded differently: a fully connected layer written as a convolution.
    if odd.renamed && odd.expected.iter().product::<usize>() == odd.found.iter().product::<usize>() {
        return Ok(Tensor::new(odd.expected.clone(), tensor.data.clone()));
    }
    let table = tensor.to_f64();
    let values = match (argument.positions, odd.expected.as_slice(), odd.found.as_slice()) {
        (Some(Positions::Tokens { prefix, rows, columns }), &[1, _, width], &[1, _, found]) if width == found => {
            resample::tokens(&table, width, prefix, [rows, columns])?
        }
        (Some(Positions::Distances { rows, columns }), &[_, heads], &[_, found]) if heads == found => {
            resample::distances(&table, heads, [rows, columns])?
        }
        _ => return Err("has another shape".into()),
    };
    // The file's precision is kept.
    let data = match tensor.data {
        Data::F64(_) => Data::F64(values),
        _ => Data::F32(values.into_iter().map(|v| v as f32).collect()),
    };
    Ok(Tensor::new(odd.expected.clone(), data))
}
