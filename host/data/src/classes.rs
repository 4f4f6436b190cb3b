//! The expressions by name. Data sets order them differently, so nothing is ever mapped by index.

use crate::error::{DataError, Result};

/// The eight expressions in the order of FERPlus, which is also the order of the prior table.
pub const FERPLUS: [&str; 8] = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"];

/// FER2013's label numbers 0..=6.
pub const FER2013: [&str; 7] = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];

/// RAF-DB's label numbers 1..=7.
pub const RAF_DB: [&str; 7] = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"];

/// AffectNet's label numbers 0..=7 (8 none, 9 uncertain and 10 no face are not expressions).
pub const AFFECTNET: [&str; 8] = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"];

/// Other words for the FERPlus names, as data sets and people write them.
const SYNONYMS: [(&str, usize); 14] = [
    ("happy", 1),
    ("joy", 1),
    ("happines", 1),
    ("surprised", 2),
    ("suprise", 2),
    ("sad", 3),
    ("angry", 4),
    ("disgusted", 5),
    ("fearful", 6),
    ("afraid", 6),
    ("scared", 6),
    ("contemptuous", 7),
    ("natural", 0),
    ("neutrality", 0),
];

/// The index in [`FERPLUS`] of an expression however it is written (`Angry`, `anger`, ` happy`), if it is one.
pub fn ferplus_index(name: &str) -> Option<usize> {
    let name = name.trim().to_lowercase();
    FERPLUS
        .iter()
        .position(|c| *c == name)
        .or_else(|| SYNONYMS.iter().find(|(word, _)| *word == name).map(|(_, index)| *index))
}

/// For each class its row in the FERPlus prior table, found by name.
///
/// Fails on a class that is no FERPlus expression and on two classes that mean the same one.
pub fn prior_rows(classes: &[String]) -> Result<Vec<usize>> {
    let mut rows = Vec::with_capacity(classes.len());
    for class in classes {
        let row = ferplus_index(class).ok_or_else(|| DataError::UnknownClass {
            found: class.clone(),
            place: "the class list of the prior table".into(),
            known: FERPLUS.join(", "),
        })?;
        if rows.contains(&row) {
            return Err(DataError::Prior {
                place: "for the data set's classes".into(),
                found: format!("`{class}` is the second class that means `{}`", FERPLUS[row]),
                expected: "each expression once".into(),
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Owned copies of a list of names.
pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_the_published_sets_fall_out_of_the_names() {
        let rows = |names: &[&str]| prior_rows(&owned(names)).unwrap();
        assert_eq!(rows(&FERPLUS), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(rows(&FER2013), [4, 5, 6, 1, 3, 2, 0]);
        assert_eq!(rows(&RAF_DB), [2, 6, 5, 1, 3, 4, 0]);
        assert_eq!(rows(&AFFECTNET), [0, 1, 3, 2, 6, 5, 4, 7]);
        let ck = ["anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"];
        assert_eq!(rows(&ck), [4, 7, 5, 6, 1, 3, 2]);
    }

    #[test]
    fn unknown_and_repeated_names_are_errors() {
        let unknown = prior_rows(&owned(&["happy", "bored"])).unwrap_err().to_string();
        assert!(unknown.contains("bored") && unknown.contains("neutral"), "{unknown}");
        let twice = prior_rows(&owned(&["happy", "Joy"])).unwrap_err().to_string();
        assert!(twice.contains("Joy") && twice.contains("happiness"), "{twice}");
    }
}
