//! Which epoch is the best so far, and when to give up waiting for a better one.

use serde::{Deserialize, Serialize};

use crate::spec::{Criterion, EarlyStopping};

/// The epoch a run would be reported by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Counts from 0.
    pub epoch: usize,
    pub score: f64,
}

/// What one epoch's score means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// This epoch is the best so far: keep its weights.
    pub improved: bool,
    /// Patience is used up.
    pub stop: bool,
}

/// The memory of the selection; part of a checkpoint, so that a resumed run decides as an unbroken one.
///
/// Two questions are kept apart. The best epoch is the one of the strictly best score. Patience counts epochs since the score
/// last moved by more than `min_delta` from where it had last done so, so that many tiny gains do not keep a run alive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    pub best: Option<Best>,
    /// The score patience is counted from.
    pub reference: Option<f64>,
    pub epochs_without_improvement: usize,
}

impl Selection {
    /// Takes in the score of an epoch. A score that is not finite never improves.
    pub fn observe(&mut self, criterion: Criterion, rule: Option<&EarlyStopping>, epoch: usize, score: f64) -> Verdict {
        let finite = score.is_finite();
        let improved = finite && self.best.is_none_or(|best| criterion.better(score, best.score));
        if improved {
            self.best = Some(Best { epoch, score });
        }
        let min_delta = rule.map_or(0.0, |r| r.min_delta);
        if finite && self.reference.is_none_or(|reference| criterion.gain(reference, score) > min_delta) {
            self.reference = Some(score);
            self.epochs_without_improvement = 0;
        } else {
            self.epochs_without_improvement += 1;
        }
        Verdict { improved, stop: rule.is_some_and(|r| self.epochs_without_improvement >= r.patience.max(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(criterion: Criterion, rule: Option<EarlyStopping>, scores: &[f64]) -> (Selection, Option<usize>) {
        let mut s = Selection::default();
        for (epoch, &score) in scores.iter().enumerate() {
            if s.observe(criterion, rule.as_ref(), epoch, score).stop {
                return (s, Some(epoch));
            }
        }
        (s, None)
    }

    #[test]
    fn stops_after_patience() {
        let rule = EarlyStopping { patience: 2, min_delta: 0.0 };
        let (s, end) = run(Criterion::Accuracy, Some(rule), &[0.5, 0.6, 0.6, 0.55, 0.9]);
        assert_eq!((s.best, end), (Some(Best { epoch: 1, score: 0.6 }), Some(3)));
    }

    #[test]
    fn smaller_loss_is_better() {
        let (s, end) = run(Criterion::Loss, None, &[2.0, 1.0, 1.5]);
        assert_eq!((s.best, end), (Some(Best { epoch: 1, score: 1.0 }), None));
        assert_eq!(s.epochs_without_improvement, 1);
    }

    #[test]
    fn tiny_gains_choose_the_epoch_but_do_not_reset_patience() {
        let rule = EarlyStopping { patience: 3, min_delta: 0.1 };
        let (s, end) = run(Criterion::Accuracy, Some(rule), &[0.5, 0.51, 0.52, 0.53]);
        assert_eq!((s.best.unwrap().epoch, end), (3, Some(3)));
    }

    #[test]
    fn not_a_number_never_improves() {
        let (s, _) = run(Criterion::Loss, None, &[f64::NAN, f64::NEG_INFINITY, 3.0, f64::NAN]);
        assert_eq!(s.best, Some(Best { epoch: 2, score: 3.0 }));
    }
}
