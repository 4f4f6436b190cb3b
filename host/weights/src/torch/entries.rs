//! The state dict in a checkpoint: itself, or one level below other things.

use std::collections::BTreeMap;

use super::{
    View,
    pickle::Pickle,
    values::{Id, Result, Value, unsupported},
};

/// Keys that mean the model where several entries hold tensors, the first that is there.
const MODEL: [&str; 5] = ["state_dict", "model", "model_state_dict", "model_state", "net"];

/// Names shown in a note.
const SHOWN: usize = 6;

/// The tensors of the state dict by name, and what was done to find it.
pub fn tensors(pickle: &Pickle, root: Id) -> Result<(BTreeMap<String, View>, Vec<String>)> {
    let entries = dict(pickle, root).ok_or_else(|| unsupported("is no dictionary"))?;
    if has_tensors(pickle, entries) {
        return Ok(collect(pickle, entries, vec![]));
    }
    let inner: Vec<(&str, &[(Id, Id)])> = entries
        .iter()
        .filter_map(|&(key, value)| Some((pickle.text(key).ok()?, dict(pickle, value)?)))
        .filter(|(_, entries)| has_tensors(pickle, entries))
        .collect();
    let chosen = match inner.as_slice() {
        [] => return Err(unsupported(format!("holds no tensors, but {}", list(keys(pickle, entries))))),
        [one] => Some(one),
        several => MODEL.iter().find_map(|key| several.iter().find(|(name, _)| name == key)),
    };
    let Some((name, entries)) = chosen else {
        let names = list(inner.iter().map(|(name, _)| (*name).to_owned()).collect());
        return Err(unsupported(format!(
            "holds several dictionaries of tensors, and none is surely the model's: {names}"
        )));
    };
    let others: Vec<String> = inner.iter().map(|(n, _)| *n).filter(|n| n != name).map(str::to_owned).collect();
    let mut notes = vec![format!("the tensors are those of {name:?} in the checkpoint")];
    if !others.is_empty() {
        notes.push(format!("other tensors in the checkpoint were not read: {}", list(others)));
    }
    Ok(collect(pickle, entries, notes))
}

fn dict(pickle: &Pickle, id: Id) -> Option<&[(Id, Id)]> {
    match pickle.value(id) {
        Value::Dict(entries) => Some(entries),
        _ => None,
    }
}

fn has_tensors(pickle: &Pickle, entries: &[(Id, Id)]) -> bool {
    entries
        .iter()
        .any(|&(key, value)| matches!((pickle.value(key), pickle.value(value)), (Value::Text(_), Value::Tensor(_))))
}

fn keys(pickle: &Pickle, entries: &[(Id, Id)]) -> Vec<String> {
    entries.iter().map(|&(key, _)| pickle.text(key).map_or("a nameless entry", |text| text).to_owned()).collect()
}

fn collect(pickle: &Pickle, entries: &[(Id, Id)], mut notes: Vec<String>) -> (BTreeMap<String, View>, Vec<String>) {
    let (mut tensors, mut aside) = (BTreeMap::new(), vec![]);
    for &(key, value) in entries {
        match (pickle.value(key), pickle.value(value)) {
            (Value::Text(name), Value::Tensor(view)) => {
                tensors.insert(name.clone(), (**view).clone());
            }
            (Value::Text(name), _) => aside.push(name.clone()),
            _ => aside.push("a nameless entry".to_owned()),
        }
    }
    if !aside.is_empty() {
        notes.push(format!("entries that are no tensors were left aside: {}", list(aside)));
    }
    (tensors, notes)
}

fn list(mut names: Vec<String>) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let rest = if names.len() > SHOWN { ", ..." } else { "" };
    names.truncate(SHOWN);
    let short = |name: &String| name.chars().take(60).collect::<String>().escape_debug().to_string();
    format!("{}{rest}", names.iter().map(short).collect::<Vec<_>>().join(", "))
}
