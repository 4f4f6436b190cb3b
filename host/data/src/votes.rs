//! How ten annotator votes become a label (Barsoum et al. 2016, "Training deep networks for facial expression
//! recognition with crowd-sourced label distribution").

use crate::spec::LabelMode;

/// Eight expressions, then `unknown` and `not a face`.
pub type Votes = [u8; 10];

/// Number of expressions; positions from here on are not expressions.
const EXPRESSIONS: usize = 8;

/// What the votes say.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The label, and in the soft modes a distribution over the eight expressions.
    Label { label: usize, target: Option<[f32; 8]> },
    /// Not usable, with the reason under which it is counted.
    Dropped(&'static str),
}

pub const NO_AGREEMENT: &str = "no agreement among the votes";
pub const UNKNOWN: &str = "voted unknown";
pub const NOT_A_FACE: &str = "voted not a face";
pub const NO_VOTES: &str = "no expression with two votes";

/// Votes of a single annotator are outliers and count as none.
fn without_outliers(votes: &Votes) -> Votes {
    votes.map(|v| if v <= 1 { 0 } else { v })
}

/// Turns votes into a label by one of the three published rules.
pub fn decide(votes: &Votes, mode: LabelMode) -> Verdict {
    let votes = without_outliers(votes);
    let total = sum(&votes);
    if total == 0 {
        return Verdict::Dropped(NO_VOTES);
    }
    let kept = match mode {
        LabelMode::Majority => majority(&votes, total),
        LabelMode::Probability => leading(&votes, total),
        LabelMode::MultiTarget => frequent(&votes, total),
    };
    let Some(kept) = kept else {
        return Verdict::Dropped(NO_AGREEMENT);
    };
    match first_maximum(&kept) {
        8 => Verdict::Dropped(UNKNOWN),
        9 => Verdict::Dropped(NOT_A_FACE),
        label if mode == LabelMode::Majority => Verdict::Label { label, target: None },
        label => {
            let mass: u32 = kept[..EXPRESSIONS].iter().map(|v| u32::from(*v)).sum();
            let target = std::array::from_fn(|c| match mode {
                // Equal shares: the rule asks which expressions are present, not how strongly.
                LabelMode::MultiTarget => {
                    let present = kept[..EXPRESSIONS].iter().filter(|v| **v > 0).count();
                    if kept[c] > 0 { 1.0 / present as f32 } else { 0.0 }
                }
                _ => f32::from(kept[c]) / mass as f32,
            });
            Verdict::Label { label, target: Some(target) }
        }
    }
}

fn sum(votes: &Votes) -> u32 {
    votes.iter().map(|v| u32::from(*v)).sum()
}

/// The first position of the greatest count; ties go to the earlier expression as in the published rule.
fn first_maximum(votes: &Votes) -> usize {
    (0..votes.len()).fold(0, |best, i| if votes[i] > votes[best] { i } else { best })
}

fn majority(votes: &Votes, total: u32) -> Option<Votes> {
    let top = first_maximum(votes);
    (2 * u32::from(votes[top]) > total).then(|| {
        let mut kept = [0; 10];
        kept[top] = votes[top];
        kept
    })
}

/// Takes counts from the top, all ties of a count together, until 75 % of the votes or three entries are reached or
/// `unknown` / `not a face` comes up, which ends the walk and is itself kept only where it came first.
fn leading(votes: &Votes, total: u32) -> Option<Votes> {
    let mut rest = *votes;
    let mut kept = [0; 10];
    let (mut mass, mut entries, mut open) = (0, 0, true);
    while 4 * mass < 3 * total && entries < 3 && open {
        let top = rest[first_maximum(&rest)];
        for i in 0..votes.len() {
            if rest[i] != top {
                continue;
            }
            kept[i] = top;
            rest[i] = 0;
            mass += u32::from(top);
            entries += 1;
            if i >= EXPRESSIONS {
                open = false;
                if sum(&kept) > u32::from(top) {
                    kept[i] = 0;
                    entries -= 1;
                }
                break;
            }
        }
    }
    (2 * sum(&kept) > total && entries <= 3).then_some(kept)
}

fn frequent(votes: &Votes, total: u32) -> Option<Votes> {
    let kept = votes.map(|v| if 10 * u32::from(v) >= 3 * total { v } else { 0 });
    (2 * sum(&kept) > total).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn label(votes: Votes, mode: LabelMode) -> Option<usize> {
        match decide(&votes, mode) {
            Verdict::Label { label, .. } => Some(label),
            Verdict::Dropped(_) => None,
        }
    }

    #[test]
    fn majority_needs_more_than_half_after_single_votes_are_gone() {
        // 5 of 10, but the single votes do not count: 5 of 8.
        assert_eq!(label([5, 3, 1, 1, 0, 0, 0, 0, 0, 0], LabelMode::Majority), Some(0));
        assert_eq!(label([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], LabelMode::Majority), None);
        let unknown = decide(&[1, 0, 0, 0, 0, 0, 0, 0, 9, 0], LabelMode::Majority);
        assert_eq!(unknown, Verdict::Dropped(UNKNOWN));
        let no_face = decide(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 10], LabelMode::Majority);
        assert_eq!(no_face, Verdict::Dropped(NOT_A_FACE));
        let scattered = decide(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1], LabelMode::Majority);
        assert_eq!(scattered, Verdict::Dropped(NO_VOTES));
    }

    #[test]
    fn probability_stops_at_three_quarters() {
        let Verdict::Label { label, target: Some(target) } =
            decide(&[4, 4, 2, 0, 0, 0, 0, 0, 0, 0], LabelMode::Probability)
        else {
            panic!("expected a soft label");
        };
        assert_eq!(label, 0);
        assert_eq!(target, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        // Four equal counts make four entries: too many.
        assert_eq!(label_of_ties(), None);
    }

    fn label_of_ties() -> Option<usize> {
        label([2, 2, 2, 2, 0, 0, 0, 0, 0, 0], LabelMode::Probability)
    }

    #[test]
    fn multi_target_shares_equally_from_thirty_percent() {
        let Verdict::Label { target: Some(target), .. } =
            decide(&[5, 3, 2, 0, 0, 0, 0, 0, 0, 0], LabelMode::MultiTarget)
        else {
            panic!("expected a soft label");
        };
        assert_eq!(target, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    /// Ten votes over ten positions.
    fn ten_votes() -> impl Strategy<Value = Votes> {
        prop::collection::vec(0usize..10, 10).prop_map(|choices| {
            let mut votes = [0; 10];
            for c in choices {
                votes[c] += 1;
            }
            votes
        })
    }

    proptest! {
        #[test]
        fn targets_are_distributions_that_peak_at_the_label(votes in ten_votes()) {
            for mode in [LabelMode::Probability, LabelMode::MultiTarget] {
                if let Verdict::Label { label, target: Some(target) } = decide(&votes, mode) {
                    prop_assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                    prop_assert!(target.iter().all(|t| *t <= target[label]));
                    prop_assert!(votes[label] > 1);
                }
            }
        }

        #[test]
        fn a_majority_is_kept_by_every_mode(votes in ten_votes()) {
            if let Some(winner) = label(votes, LabelMode::Majority) {
                prop_assert_eq!(label(votes, LabelMode::Probability), Some(winner));
                prop_assert_eq!(label(votes, LabelMode::MultiTarget), Some(winner));
            }
        }
    }
}
