//! How sure one can be of an accuracy, and of a difference between two.
//!
//! On 3,137 test images an accuracy of 89 % is known to +-1.1 points: a single run decides little.

use serde::{Deserialize, Serialize};

use crate::metrics::MetricsError;

/// The 97.5 % quantile of the standard normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// Wilson's score interval for a proportion (Wilson 1927), at 95 %. `(0, 1)` without observations.
pub fn wilson(successes: u64, count: u64) -> (f64, f64) {
    if count == 0 {
        return (0.0, 1.0);
    }
    let n = count as f64;
    let p = successes as f64 / n;
    let z2 = Z95 * Z95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends the bound is exact, whatever the rounding.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes == count { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

/// McNemar's test of two classifiers on the same examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Examples that only the first got right.
    pub only_first: u64,
    /// Examples that only the second got right.
    pub only_second: u64,
    /// Two-sided p-value of the exact binomial test.
    pub exact: f64,
    /// Two-sided mid-p value: less conservative, and to be preferred (Fagerland, Lydersen & Laake 2013).
    pub mid: f64,
}

/// Whether two classifiers differ, given for each example whether each of them was right.
///
/// # Errors
/// [`MetricsError::Length`] when the two are not paired.
pub fn mcnemar(first: &[bool], second: &[bool]) -> Result<McNemar, MetricsError> {
    if first.len() != second.len() {
        return Err(MetricsError::Length { what: "paired answers", expected: first.len(), found: second.len() });
    }
    let only = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|&(&x, &y)| x && !y).count() as u64;
    let (only_first, only_second) = (only(first, second), only(second, first));
    let (below, at) = half_binomial(only_first.min(only_second), only_first + only_second);
    Ok(McNemar { only_first, only_second, exact: (2.0 * (below + at)).min(1.0), mid: (2.0 * below + at).min(1.0) })
}

/// `P(X < k)` and `P(X = k)` for `X ~ Binomial(n, 1/2)`, `k <= n/2`.
fn half_binomial(k: u64, n: u64) -> (f64, f64) {
    // In logarithms, since 2^-n leaves the range of f64 for n > 1074.
    let mut log = -(n as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    for i in 0..k {
        below += log.exp();
        log += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    (below, log.exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }

    /// The example of Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    #[test]
    fn wilson_known_answers() {
        let (low, high) = wilson(81, 263);
        close(low, 0.2553, 5e-5);
        close(high, 0.3662, 5e-5);
        let (low, high) = wilson(0, 20);
        assert_eq!(low, 0.0);
        close(high, 0.1611, 5e-5);
        // 89.5 % of FERPlus's 3,137 test images: about +-1.1 points.
        let (low, high) = wilson(2808, 3137);
        close(high - low, 0.0215, 5e-4);
    }

    /// Fagerland et al. 2013, table 1 (airway hyper-responsiveness): 1 and 7 discordant pairs, exact p 0.0703, mid-p 0.0391.
    #[test]
    fn mcnemar_known_answers() {
        let first = [vec![true], vec![false; 7], vec![true; 5]].concat();
        let second = [vec![false], vec![true; 7], vec![true; 5]].concat();
        let m = mcnemar(&first, &second).unwrap();
        assert_eq!((m.only_first, m.only_second), (1, 7));
        close(m.exact, 18.0 / 256.0, 1e-12);
        close(m.mid, 10.0 / 256.0, 1e-12);
        let same = mcnemar(&first, &first).unwrap();
        assert_eq!((same.exact, same.mid), (1.0, 1.0));
        assert!(mcnemar(&first, &second[1..]).is_err());
    }

    #[test]
    fn mcnemar_of_many() {
        let n = 4000;
        let first: Vec<bool> = (0..n).map(|i| i < 2000).collect();
        let second: Vec<bool> = first.iter().map(|r| !r).collect();
        let m = mcnemar(&first, &second).unwrap();
        close(m.mid, 1.0, 1e-9);
        let second: Vec<bool> = (0..n).map(|i| i >= 1900).collect();
        let m = mcnemar(&first, &second).unwrap();
        // Normal approximation with continuity: z = (|1900 - 2000| - 1) / sqrt(3900) = 1.5853, p = 0.1129.
        close(m.exact, 0.1129, 5e-4);
    }
}
