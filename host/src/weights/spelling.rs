//! The names under which files hold what the model calls `backbone.norm.weight`: full names first, then those of other programs.

use std::collections::BTreeMap;

use fer_engine::Tensor;
use fer_train::names::{EMA, is_training_state};

/// Entries of other frameworks' state dicts that hold nothing to train or keep.
const BOOKKEEPING: [&str; 3] = ["num_batches_tracked", "relative_position_index", "attn_mask"];

/// How state dicts begin the names of classifiers.
const CLASSIFIERS: [&str; 4] = ["head.", "head_", "fc.", "classifier."];

/// The names under which a file may hold a parameter, best first.
///
/// A checkpoint of a run with an exponential moving average holds that too, and it is what the run evaluates. A file of one
/// component alone names its entries without the component's place; timm calls the classifier `head`, `head.fc` or `fc`.
pub fn spellings(name: &str) -> Vec<String> {
    let mut names = vec![format!("{EMA}{name}"), name.to_owned()];
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

/// Whether an entry counts, indexes or masks, or belongs to a run's optimiser: nothing that a model starts from.
pub fn is_bookkeeping(name: &str) -> bool {
    is_training_state(name) || BOOKKEEPING.iter().any(|b| name == *b || name.ends_with(&format!(".{b}")))
}

/// Whether an entry, or a parameter of the model, is a classifier's.
pub fn is_classifier(name: &str) -> bool {
    CLASSIFIERS.iter().any(|prefix| name.starts_with(prefix))
}

/// How many classes the classifier in a weight file tells apart, whatever it calls it.
pub fn classes_of(file: &BTreeMap<String, Tensor>) -> Option<usize> {
    // The last layer of the paper's head, or the one layer of a linear head.
    let weight = ["head.4.weight", "head.weight"].iter().find_map(|name| {
        let known = spellings(name).into_iter().find_map(|n| file.get(&n));
        known.filter(|tensor| tensor.shape.len() == 2)
    })?;
    Some(weight.shape[0])
}
