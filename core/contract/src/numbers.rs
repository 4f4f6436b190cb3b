//! Comparing lists of numbers.

use std::fmt;

/// Where two lists differ most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    pub index: usize,
    pub left: f64,
    pub right: f64,
    /// Difference over the largest magnitude in either list.
    pub relative: f64,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "element {}: {:e} against {:e} ({:.1e} of the largest)",
            self.index, self.left, self.right, self.relative
        )
    }
}

/// Whether two lists of equal length agree to a share of their largest magnitude. Single elements may cancel to nothing, so that
/// a share of each element's own magnitude would ask for digits that no sum has.
///
/// # Errors
/// The worst place. NaN agrees with nothing.
pub fn close(left: &[f64], right: &[f64], tolerance: f64) -> Result<(), Deviation> {
    assert_eq!(left.len(), right.len(), "lists to compare have one length");
    let largest = left.iter().chain(right).fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let deviations = left.iter().zip(right).enumerate().map(|(index, (&l, &r))| {
        let relative = if (l - r).is_nan() { f64::INFINITY } else { (l - r).abs() / largest };
        Deviation { index, left: l, right: r, relative }
    });
    match deviations.max_by(|a, b| a.relative.total_cmp(&b.relative)) {
        Some(worst) if worst.relative > tolerance => Err(worst),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_measured_against_the_largest() {
        assert!(close(&[1e6, 0.0], &[1e6, 1e-7], 1e-12).is_ok());
        assert_eq!(close(&[1.0, 2.0], &[1.0, 2.5], 0.1).unwrap_err().index, 1);
        assert!(close(&[0.0], &[0.0], 0.0).is_ok());
    }

    #[test]
    fn nan_and_infinity_are_never_close() {
        assert!(close(&[f64::NAN], &[f64::NAN], 1.0).is_err());
        assert!(close(&[f64::INFINITY], &[f64::INFINITY], 1.0).is_err());
    }
}
