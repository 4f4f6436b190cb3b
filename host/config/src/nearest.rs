//! The name that was probably meant.

/// Names that other tools use, and ours.
const SYNONYMS: &[(&str, &str)] = &[
    ("augmentations", "augment"),
    ("batch_size", "batch"),
    ("class_weight", "class_weights"),
    ("dataset", "data"),
    ("grad_clip", "clip"),
    ("init_lr", "learning_rate"),
    ("lr", "learning_rate"),
    ("lr_scheduler", "schedule"),
    ("max_epochs", "epochs"),
    ("n_epochs", "epochs"),
    ("num_epochs", "epochs"),
    ("num_workers", "workers"),
    ("path", "root"),
    ("patch", "patch_size"),
    ("scheduler", "schedule"),
    ("step_size", "every"),
    ("gamma", "factor"),
    ("wd", "weight_decay"),
];

/// The candidate that `found` was probably meant to be: the same but for case and dashes, another tool's word for it,
/// a beginning of it, or a few slips of the finger away. `None` when nothing is near.
pub fn nearest<'c>(found: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let wanted = plain(found);
    if wanted.is_empty() || found.len() > 64 {
        return None;
    }
    let synonym = SYNONYMS.iter().find(|(theirs, _)| *theirs == wanted).map(|(_, ours)| *ours);
    let slips = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let name = plain(candidate);
            let rank = if name == wanted {
                0
            } else if synonym == Some(name.as_str()) {
                1
            } else {
                let distance = strsim::damerau_levenshtein(&wanted, &name);
                let begins = wanted.len() >= 3 && (name.starts_with(&wanted) || wanted.starts_with(&name));
                if distance <= slips && distance < name.chars().count().max(2) {
                    1 + distance
                } else if begins {
                    100
                } else {
                    return None;
                }
            };
            Some((rank, candidate))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, candidate)| candidate)
}

/// Lists longer than this are left out where a near name is found.
const LONG_LIST: usize = 10;

/// ``did you mean `x`? Keys here: a, b, c``: the help of every unknown name. `list` says what the candidates are.
pub(crate) fn suggest(found: &str, candidates: &[&str], list: &str) -> String {
    match nearest(found, candidates.iter().copied()) {
        Some(near) => did_you_mean(near, candidates, list),
        None => format!("{}: {}", list.to_lowercase(), candidates.join(", ")),
    }
}

/// The same where the near name is known.
pub(crate) fn did_you_mean(near: &str, candidates: &[&str], list: &str) -> String {
    if candidates.len() > LONG_LIST {
        format!("did you mean `{near}`?")
    } else {
        format!("did you mean `{near}`? {list}: {}", candidates.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("ltrr", ["bilinear", "ltr", "sr", "stn"]), Some("ltr"));
        assert_eq!(nearest("SGD", ["Adam", "AdamW", "Sgd"]), Some("Sgd"));
        assert_eq!(nearest("adamw", ["Adam", "AdamW", "Sgd"]), Some("AdamW"));
        assert_eq!(nearest("lr", ["learning_rate", "eps"]), Some("learning_rate"));
        assert_eq!(nearest("optimizer", ["optimiser", "schedule"]), Some("optimiser"));
        assert_eq!(nearest("f_pdls", ["pdls", "f-pdls"]), Some("f-pdls"));
        assert_eq!(nearest("acc", ["Accuracy", "Loss"]), Some("Accuracy"));
        assert_eq!(nearest("zebra", ["learning_rate", "eps"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
