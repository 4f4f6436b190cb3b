//! What a classifier's answers are worth: confusion matrix, rates by class, the number that chooses an epoch.

use serde::{Deserialize, Serialize};

use crate::{significance::wilson, spec::Criterion};

/// Answers that cannot be counted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricsError {
    #[error("logits of row {row} hold {value}: the model has diverged")]
    NotANumber { row: usize, value: f64 },
    #[error("label {label} of row {row} is outside the {classes} classes")]
    Label { row: usize, label: i64, classes: usize },
    #[error("{what}: expected {expected}, found {found}")]
    Length { what: &'static str, expected: usize, found: usize },
    #[error("weight {value} of row {row} is not a finite number of at least 0")]
    Weight { row: usize, value: f64 },
    #[error("there is nothing to measure: no example was counted")]
    Empty,
}

/// Counts of (truth, answer) pairs; rows are the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    pub fn new(classes: usize) -> Confusion {
        Confusion { classes, counts: vec![0; classes * classes] }
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    /// # Panics
    /// When a class is out of range: a fault of the caller.
    pub fn add(&mut self, truth: usize, answer: usize) {
        assert!(truth < self.classes && answer < self.classes, "({truth}, {answer}) of {} classes", self.classes);
        self.counts[truth * self.classes + answer] += 1;
    }

    pub fn get(&self, truth: usize, answer: usize) -> u64 {
        self.counts[truth * self.classes + answer]
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Right answers.
    pub fn trace(&self) -> u64 {
        (0..self.classes).map(|c| self.get(c, c)).sum()
    }

    /// Examples of a class.
    pub fn support(&self, class: usize) -> u64 {
        (0..self.classes).map(|answer| self.get(class, answer)).sum()
    }

    /// Answers of a class.
    pub fn answered(&self, class: usize) -> u64 {
        (0..self.classes).map(|truth| self.get(truth, class)).sum()
    }

    pub fn rows(&self) -> Vec<Vec<u64>> {
        (0..self.classes).map(|truth| (0..self.classes).map(|answer| self.get(truth, answer)).collect()).collect()
    }
}

/// One class's rates; 0 where there is nothing to divide by, as scikit-learn has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    pub name: String,
    /// Examples of this class.
    pub support: u64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// The summary of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean over the examples.
    pub loss: f64,
    /// Right answers over examples.
    pub accuracy: f64,
    /// Mean recall over the classes that have examples.
    pub balanced_accuracy: f64,
    /// Mean F1 over the classes that have examples or answers (scikit-learn's `f1_score(average = "macro")`).
    pub macro_f1: f64,
    /// Examples counted.
    pub count: u64,
    pub per_class: Vec<ClassMetrics>,
    /// Rows are the truth.
    pub confusion: Vec<Vec<u64>>,
}

impl Metrics {
    /// # Errors
    /// [`MetricsError::Empty`] without examples, [`MetricsError::Length`] when there is not one name a class.
    pub fn of(confusion: &Confusion, names: &[String], loss: f64) -> Result<Metrics, MetricsError> {
        let classes = confusion.classes();
        if names.len() != classes {
            return Err(MetricsError::Length { what: "class names", expected: classes, found: names.len() });
        }
        let count = confusion.total();
        if count == 0 {
            return Err(MetricsError::Empty);
        }
        let per_class: Vec<ClassMetrics> = names
            .iter()
            .enumerate()
            .map(|(c, name)| {
                let (right, support, answered) = (confusion.get(c, c), confusion.support(c), confusion.answered(c));
                ClassMetrics {
                    name: name.clone(),
                    support,
                    precision: ratio(right, answered),
                    recall: ratio(right, support),
                    f1: ratio(2 * right, support + answered),
                }
            })
            .collect();
        Ok(Metrics {
            loss,
            accuracy: ratio(confusion.trace(), count),
            balanced_accuracy: mean(per_class.iter().filter(|c| c.support > 0).map(|c| c.recall)),
            macro_f1: mean(
                per_class
                    .iter()
                    .enumerate()
                    .filter(|(i, c)| c.support > 0 || confusion.answered(*i) > 0)
                    .map(|(_, c)| c.f1),
            ),
            count,
            per_class,
            confusion: confusion.rows(),
        })
    }

    /// Right answers.
    pub fn correct(&self) -> u64 {
        self.confusion.iter().enumerate().map(|(c, row)| row[c]).sum()
    }

    /// Where the accuracy of endlessly many such examples lies, at 95 %.
    pub fn accuracy_interval(&self) -> (f64, f64) {
        wilson(self.correct(), self.count)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), v| (sum + v, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// Counts the answers of an evaluation, batch by batch.
#[derive(Clone, Debug)]
pub struct Tally {
    names: Vec<String>,
    confusion: Confusion,
    loss: f64,
    weight: f64,
}

impl Tally {
    /// One name a class, in the order of the logits.
    pub fn new(names: Vec<String>) -> Tally {
        let confusion = Confusion::new(names.len());
        Tally { names, confusion, loss: 0.0, weight: 0.0 }
    }

    /// Takes in a batch: logits `[n, classes]` row-major, `n` labels, `n` weights (1 each when absent) and the batch's weighted
    /// mean loss. A row of weight 0 is padding and does not count; any other counts once. Gives the answer to each row:
    /// the class of the largest logit, the first of equals.
    ///
    /// # Errors
    /// [`MetricsError`]; the tally is then unchanged. A NaN logit is an error, since no answer could be read from it.
    pub fn add<T: Copy + Into<f64>>(
        &mut self,
        logits: &[T],
        labels: &[i32],
        weights: Option<&[f64]>,
        mean_loss: f64,
    ) -> Result<Vec<usize>, MetricsError> {
        let (n, classes) = (labels.len(), self.names.len());
        if logits.len() != n * classes {
            return Err(MetricsError::Length { what: "logits", expected: n * classes, found: logits.len() });
        }
        if let Some(found) = weights.map(<[f64]>::len).filter(|&found| found != n) {
            return Err(MetricsError::Length { what: "weights", expected: n, found });
        }
        let mut answers = Vec::with_capacity(n);
        let mut pairs = Vec::with_capacity(n);
        let mut weight = 0.0;
        for (row, &label) in labels.iter().enumerate() {
            let own = weights.map_or(1.0, |w| w[row]);
            if !(own.is_finite() && own >= 0.0) {
                return Err(MetricsError::Weight { row, value: own });
            }
            let answer = answer(&logits[row * classes..(row + 1) * classes])
                .map_err(|value| MetricsError::NotANumber { row, value })?;
            answers.push(answer);
            if own == 0.0 {
                continue;
            }
            let truth = usize::try_from(label).ok().filter(|&l| l < classes);
            let truth = truth.ok_or(MetricsError::Label { row, label: i64::from(label), classes })?;
            pairs.push((truth, answer));
            weight += own;
        }
        for (truth, answer) in pairs {
            self.confusion.add(truth, answer);
        }
        // A batch of padding alone has no loss to speak of (its mean is 0/0).
        if weight > 0.0 {
            self.loss += mean_loss * weight;
            self.weight += weight;
        }
        Ok(answers)
    }

    pub fn confusion(&self) -> &Confusion {
        &self.confusion
    }

    /// # Errors
    /// [`MetricsError::Empty`] when nothing was counted.
    pub fn finish(&self) -> Result<Metrics, MetricsError> {
        Metrics::of(&self.confusion, &self.names, self.loss / self.weight)
    }
}

/// Index of the largest, the first of equals; the NaN if there is one.
fn answer<T: Copy + Into<f64>>(logits: &[T]) -> Result<usize, f64> {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, &logit) in logits.iter().enumerate() {
        let logit: f64 = logit.into();
        if logit.is_nan() {
            return Err(logit);
        }
        if logit > best.1 {
            best = (i, logit);
        }
    }
    Ok(best.0)
}

impl Criterion {
    pub fn score(self, metrics: &Metrics) -> f64 {
        match self {
            Criterion::Accuracy => metrics.accuracy,
            Criterion::BalancedAccuracy => metrics.balanced_accuracy,
            Criterion::MacroF1 => metrics.macro_f1,
            Criterion::Loss => metrics.loss,
        }
    }

    /// How much better `new` is than `old`; negative when it is worse.
    pub fn gain(self, old: f64, new: f64) -> f64 {
        match self {
            Criterion::Loss => old - new,
            _ => new - old,
        }
    }

    /// Whether score `a` is strictly better than `b`; a NaN is worse than any number.
    pub fn better(self, a: f64, b: f64) -> bool {
        !a.is_nan() && (b.is_nan() || self.gain(b, a) > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("c{i}")).collect()
    }

    fn close(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }

    fn counted(classes: usize, pairs: &[(usize, usize)]) -> Confusion {
        let mut c = Confusion::new(classes);
        pairs.iter().for_each(|&(t, a)| c.add(t, a));
        c
    }

    /// By hand: truth 0 0 0 1 1 2, answers 0 0 1 1 1 0; class 3 never occurs.
    #[test]
    fn rates_by_hand() {
        let c = counted(4, &[(0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (2, 0)]);
        let m = Metrics::of(&c, &names(4), 0.5).unwrap();
        close(m.accuracy, 4.0 / 6.0, 1e-15);
        close(m.balanced_accuracy, (2.0 / 3.0 + 1.0 + 0.0) / 3.0, 1e-15);
        close(m.macro_f1, (2.0 / 3.0 + 0.8 + 0.0) / 3.0, 1e-15);
        let zero = &m.per_class[0];
        assert_eq!((zero.support, zero.name.as_str()), (3, "c0"));
        close(zero.precision, 2.0 / 3.0, 1e-15);
        assert_eq!((m.per_class[2].precision, m.per_class[2].recall, m.per_class[2].f1), (0.0, 0.0, 0.0));
        assert_eq!(m.confusion[0], [2, 1, 0, 0]);
        assert_eq!((m.count, m.correct()), (6, 4));
    }

    #[test]
    fn ties_go_to_the_first_and_padding_does_not_count() {
        let mut t = Tally::new(names(3));
        let logits = [1.0f32, 1.0, 0.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 2.0, 2.0];
        let answers = t.add(&logits, &[0, 0, -1], Some(&[1.0, 3.0, 0.0]), 2.0).unwrap();
        assert_eq!(answers, [0, 0, 1]);
        t.add(&[0.0, 9.0, 0.0], &[2], None, 10.0).unwrap();
        t.add(&[0.0, 9.0, 0.0], &[2], Some(&[0.0]), f64::NAN).unwrap();
        let m = t.finish().unwrap();
        assert_eq!(m.count, 3);
        close(m.loss, (2.0 * 4.0 + 10.0) / 5.0, 1e-15);
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let mut t = Tally::new(names(2));
        assert!(matches!(t.add(&[0.0, f64::NAN], &[0], None, 0.0), Err(MetricsError::NotANumber { row: 0, .. })));
        assert!(matches!(t.add(&[0.0, 1.0], &[2], None, 0.0), Err(MetricsError::Label { label: 2, .. })));
        assert!(matches!(t.add(&[0.0, 1.0], &[-1], None, 0.0), Err(MetricsError::Label { label: -1, .. })));
        assert!(matches!(t.add(&[0.0], &[0], None, 0.0), Err(MetricsError::Length { .. })));
        assert!(matches!(t.add(&[0.0, 1.0], &[0], Some(&[f64::NAN]), 0.0), Err(MetricsError::Weight { .. })));
        assert_eq!(t.finish(), Err(MetricsError::Empty));
    }

    #[test]
    fn criteria_have_a_direction() {
        assert!(Criterion::Loss.better(1.0, 2.0) && Criterion::Accuracy.better(2.0, 1.0));
        for c in [Criterion::Loss, Criterion::MacroF1] {
            assert!(c.better(1.0, f64::NAN) && !c.better(f64::NAN, 1.0) && !c.better(1.0, 1.0));
        }
    }

    proptest! {
        #[test]
        fn accuracy_is_trace_over_total(pairs in prop::collection::vec((0usize..5, 0usize..5), 1..200)) {
            let c = counted(5, &pairs);
            let m = Metrics::of(&c, &names(5), 0.0).unwrap();
            prop_assert_eq!(m.accuracy, c.trace() as f64 / pairs.len() as f64);
            let weighted: f64 = m.per_class.iter().map(|p| p.recall * p.support as f64).sum();
            prop_assert!((weighted / pairs.len() as f64 - m.accuracy).abs() < 1e-12);
            let (low, high) = m.accuracy_interval();
            prop_assert!(low <= m.accuracy && m.accuracy <= high);
            let json = serde_json::to_string(&m).unwrap();
            prop_assert_eq!(serde_json::from_str::<Metrics>(&json).unwrap(), m);
        }

        #[test]
        fn renaming_classes_permutes_the_matrix(
            pairs in prop::collection::vec((0usize..5, 0usize..5), 1..100),
            to in Just((0..5).collect::<Vec<usize>>()).prop_shuffle(),
        ) {
            let c = counted(5, &pairs);
            let renamed: Vec<_> = pairs.iter().map(|&(t, a)| (to[t], to[a])).collect();
            let d = counted(5, &renamed);
            for t in 0..5 {
                for a in 0..5 {
                    prop_assert_eq!(c.get(t, a), d.get(to[t], to[a]));
                }
            }
            let (m, r) = (Metrics::of(&c, &names(5), 0.0).unwrap(), Metrics::of(&d, &names(5), 0.0).unwrap());
            prop_assert!((m.macro_f1 - r.macro_f1).abs() < 1e-12);
            prop_assert!((m.balanced_accuracy - r.balanced_accuracy).abs() < 1e-12);
        }
    }
}
