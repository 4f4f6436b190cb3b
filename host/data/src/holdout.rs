//! Seeded, stratified splits for sets that publish none, optionally keeping a person's images together.

use crate::dataset::{Dataset, Sample, Split};
use crate::error::{DataError, Result};
use crate::rng::{Draws, Purpose};

/// Shares of the images that go to validation and test; each within 0..1 and together below 1.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    pub validation: f64,
    pub test: f64,
}

impl Shares {
    pub fn new(validation: f64, test: f64) -> Result<Self> {
        for (name, share) in [("validation", validation), ("test", test)] {
            if !(share.is_finite() && (0.0..1.0).contains(&share)) {
                return Err(DataError::field(name, share, "a share from 0 up to but not 1"));
            }
        }
        if validation + test >= 1.0 {
            return Err(DataError::field(
                "validation + test",
                validation + test,
                "less than 1, so that training images remain",
            ));
        }
        Ok(Self { validation, test })
    }
}

/// Distributes `samples` over the three splits of `set`, class by class as close to the shares as whole groups allow.
///
/// A group is a subject where samples have one, else a single image. Groups are visited in an order drawn from `seed`,
/// the rarest class first, and each goes where that class is most wanting (Sechidis et al. 2011, "On the
/// stratification of multi-label data").
pub fn distribute(set: &mut Dataset, mut samples: Vec<Sample>, shares: Shares, seed: u64) {
    samples.sort_by(|a, b| a.id.cmp(&b.id));
    let mut groups: Vec<Vec<Sample>> = Vec::new();
    let mut by_subject = std::collections::BTreeMap::<String, Vec<Sample>>::new();
    for sample in samples {
        match &sample.subject {
            Some(subject) => by_subject.entry(subject.clone()).or_default().push(sample),
            None => groups.push(vec![sample]),
        }
    }
    groups.extend(by_subject.into_values());
    Draws::new(seed, Purpose::HoldOut, 0, 0, 0).shuffle(&mut groups);

    let classes = set.classes.len();
    let mut totals = vec![0usize; classes];
    for sample in groups.iter().flatten() {
        totals[sample.label] += 1;
    }
    let wanted_share = [1.0 - shares.validation - shares.test, shares.validation, shares.test];
    let mut wanted: Vec<[f64; 3]> = totals.iter().map(|&n| wanted_share.map(|share| share * n as f64)).collect();

    let mut order: Vec<usize> = (0..classes).filter(|&c| totals[c] > 0).collect();
    order.sort_by_key(|&c| totals[c]);
    for class in order {
        let (now, later): (Vec<_>, Vec<_>) = groups.into_iter().partition(|g| g.iter().any(|s| s.label == class));
        groups = later;
        for group in now {
            // The first of equals is training, so a class of one image is trained on.
            let target = (0..3).fold(0, |best, s| if wanted[class][s] > wanted[class][best] + 1e-9 { s } else { best });
            for sample in group {
                wanted[sample.label][target] -= 1.0;
                set.split_mut(Split::ALL[target]).push(sample);
            }
        }
    }
    for split in Split::ALL {
        set.split_mut(split).sort_by(|a, b| a.id.cmp(&b.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::ImageSource;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn samples(per_class: &[usize], people: Option<usize>) -> Vec<Sample> {
        let mut all = Vec::new();
        for (label, &n) in per_class.iter().enumerate() {
            for i in 0..n {
                let mut s = Sample::new(format!("{label}-{i:03}"), ImageSource::file("x".into()), label);
                s.subject = people.map(|p| format!("S{:03}", (i * 7 + label) % p));
                all.push(s);
            }
        }
        all
    }

    fn split(per_class: &[usize], people: Option<usize>, seed: u64) -> Dataset {
        let classes = (0..per_class.len()).map(|c| c.to_string()).collect();
        let mut set = Dataset::new("Made", "by hand", classes);
        let shares = Shares::new(0.1, 0.2).unwrap();
        distribute(&mut set, samples(per_class, people), shares, seed);
        set
    }

    #[test]
    fn shares_are_held_class_by_class() {
        let [train, validation, test] = split(&[100, 50, 10], None, 3).counts();
        assert_eq!((train, validation, test), (vec![70, 35, 7], vec![10, 5, 1], vec![20, 10, 2]));
    }

    #[test]
    fn bad_shares_are_named() {
        assert!(Shares::new(1.0, 0.0).unwrap_err().to_string().contains("validation"));
        assert!(Shares::new(0.1, f64::NAN).unwrap_err().to_string().contains("test"));
        assert!(Shares::new(0.5, 0.5).unwrap_err().to_string().contains("less than 1"));
    }

    proptest! {
        #[test]
        fn nobody_is_in_two_splits_and_nothing_is_lost(
            per_class in prop::collection::vec(1usize..40, 2..6),
            people in 3usize..30,
            seed in any::<u64>(),
        ) {
            let set = split(&per_class, Some(people), seed);
            let total: usize = set.counts().iter().flatten().sum();
            prop_assert_eq!(total, per_class.iter().sum::<usize>());
            let people = Split::ALL.map(|s| {
                set.split(s).iter().filter_map(|x| x.subject.clone()).collect::<BTreeSet<_>>()
            });
            prop_assert!(people[0].is_disjoint(&people[1]));
            prop_assert!(people[0].is_disjoint(&people[2]));
            prop_assert!(people[1].is_disjoint(&people[2]));
            let again = split(&per_class, Some(30), seed).fingerprint();
            prop_assert_eq!(again, split(&per_class, Some(30), seed).fingerprint());
        }
    }
}
