//! The built-in faces as a data set.

use crate::classes::{FERPLUS, owned};
use crate::dataset::{Dataset, ImageSource, Sample, Split};
use crate::error::{DataError, Result};
use crate::faces::{FaceRecipe, annotate};
use crate::rng::{Draws, Purpose};
use crate::spec::BuiltinSpec;

/// FERPlus's majority training labels by class: the frequencies of the `imbalance` option.
const FERPLUS_COUNTS: [usize; 8] = [8733, 7284, 3136, 3022, 2098, 116, 536, 120];

/// The three splits; images are drawn when they are loaded.
pub fn read(spec: &BuiltinSpec) -> Result<Dataset> {
    check(spec)?;
    let origin = format!(
        "drawn, {} px, difficulty {}, {}, seed {}",
        spec.size,
        spec.difficulty,
        if spec.imbalance { "FERPlus's class frequencies" } else { "equal classes" },
        spec.seed
    );
    let mut set = Dataset::new("Built-in faces", origin, owned(&FERPLUS));
    // Faces are numbered through all splits, so no face is in two of them.
    let mut number = 0;
    for (split, n) in Split::ALL.into_iter().zip([spec.train, spec.validation, spec.test]) {
        let mut classes = quota(n, spec.imbalance);
        Draws::new(spec.seed, Purpose::FaceClass, split as u32, 0, 0).shuffle(&mut classes);
        for (i, class) in classes.into_iter().enumerate() {
            let recipe = recipe(spec, class, number);
            number += 1;
            let id = format!("{split}-{i:06}");
            let mut sample = Sample::new(id, ImageSource::Builtin(recipe), class);
            sample.votes = Some(annotate(class, recipe.seed));
            set.split_mut(split).push(sample);
        }
    }
    Ok(set)
}

/// Face number `number` of a specification, showing `class`.
pub(crate) fn recipe(spec: &BuiltinSpec, class: usize, number: u64) -> FaceRecipe {
    let (high, low) = ((number >> 32) as u32, number as u32);
    let mut draws = Draws::new(spec.seed, Purpose::Face, low, high, class as u32 + 1);
    let seed = u64::from(draws.word()) << 32 | u64::from(draws.word());
    FaceRecipe { class, seed, size: spec.size, difficulty: spec.difficulty as f32 }
}

/// The most faces in a split: more are a typing mistake, and would only fill the memory.
const MOST: usize = 10_000_000;

pub(crate) fn check(spec: &BuiltinSpec) -> Result<()> {
    if !(FERPLUS.len()..=MOST).contains(&spec.train) {
        return Err(DataError::field("train", spec.train, format!("8 (one face a class) to {MOST}")));
    }
    for (name, n) in [("validation", spec.validation), ("test", spec.test)] {
        if !(1..=MOST).contains(&n) {
            return Err(DataError::field(name, n, format!("1 to {MOST}")));
        }
    }
    if !(24..=1024).contains(&spec.size) {
        return Err(DataError::field("size", spec.size, "24..=1024 pixels"));
    }
    if !(0.0..=4.0).contains(&spec.difficulty) {
        return Err(DataError::field("difficulty", spec.difficulty, "0 (clean) to 4; 1 is usual"));
    }
    Ok(())
}

/// `n` class indices in the wanted proportion, every class at least once where `n` allows.
fn quota(n: usize, imbalance: bool) -> Vec<usize> {
    let total: usize = FERPLUS_COUNTS.iter().sum();
    let mut counts: [usize; 8] =
        std::array::from_fn(
            |c| {
                if imbalance { (n * FERPLUS_COUNTS[c] / total).max(usize::from(n >= 8)) } else { n / 8 }
            },
        );
    // Rounding leaves a few: the classes in order take them, most frequent first where there is an imbalance.
    let mut c = 0;
    while counts.iter().sum::<usize>() < n {
        counts[c % 8] += 1;
        c += 1;
    }
    while counts.iter().sum::<usize>() > n {
        let most = (0..8).fold(0, |best, c| if counts[c] > counts[best] { c } else { best });
        counts[most] -= 1;
    }
    counts.iter().enumerate().flat_map(|(class, &k)| std::iter::repeat_n(class, k)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_class_frequencies_are_as_asked() {
        let spec = BuiltinSpec { train: 100, validation: 9, test: 8, ..Default::default() };
        let set = read(&spec).unwrap();
        assert_eq!((set.train.len(), set.validation.len(), set.test.len()), (100, 9, 8));
        let [train, _, test] = set.counts();
        assert_eq!((train, test), (vec![13, 13, 13, 13, 12, 12, 12, 12], vec![1; 8]));

        let spec = BuiltinSpec { train: 1000, imbalance: true, ..spec };
        let [train, ..] = read(&spec).unwrap().counts();
        assert_eq!(train.iter().sum::<usize>(), 1000);
        assert!(train[0] > 330 && train[5] >= 1 && train[5] < 10, "{train:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_set_and_another_does_not() {
        let spec = BuiltinSpec { train: 32, ..Default::default() };
        let print = |seed| read(&BuiltinSpec { seed, ..spec.clone() }).unwrap().fingerprint();
        assert_eq!(print(1), print(1));
        assert_ne!(print(1), print(2));
    }

    #[test]
    fn impossible_sizes_are_named() {
        let message = |spec: BuiltinSpec| read(&spec).unwrap_err().to_string();
        assert!(message(BuiltinSpec { train: 3, ..Default::default() }).contains("`train`"));
        assert!(message(BuiltinSpec { train: usize::MAX, ..Default::default() }).contains("`train`"));
        assert!(message(BuiltinSpec { test: usize::MAX, ..Default::default() }).contains("`test`"));
        assert!(message(BuiltinSpec { size: 8, ..Default::default() }).contains("`size`"));
        let hard = BuiltinSpec { difficulty: f64::NAN, ..Default::default() };
        assert!(message(hard).contains("`difficulty`"));
    }
}
