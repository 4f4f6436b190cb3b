//! The learning rate over time, as a pure function of the step.

use std::f64::consts::PI;

use crate::spec::{Schedule, WarmUp};

/// What the learning rate is multiplied with at a step.
///
/// `step` counts optimiser steps of the whole run from 0; a run has `steps_per_epoch * epochs` of them. Beyond the end the last
/// value holds. A warm-up multiplies the schedule and does not shift its clock, as `LinearLR` chained with another PyTorch scheduler.
///
/// The values are those of PyTorch: `StepLR` and `ExponentialLR` stepped every epoch, `CosineAnnealingLR` (`T_max` = all steps) and
/// `OneCycleLR` (`anneal_strategy = "cos"`) stepped every step. `OneCycleLR` divides its *initial* rate by `final_div_factor`;
/// here `end_divisor` divides the peak, so it is PyTorch's `div_factor * final_div_factor`.
pub fn factor(schedule: &Schedule, warm_up: Option<&WarmUp>, step: u64, steps_per_epoch: usize, epochs: usize) -> f64 {
    let steps_per_epoch = steps_per_epoch.max(1) as u64;
    let total = steps_per_epoch.saturating_mul(epochs.max(1) as u64);
    let ramp = warm_up.map_or(1.0, |w| ramp(w, step, steps_per_epoch));
    let epoch = step.min(total - 1) / steps_per_epoch;
    ramp * match *schedule {
        Schedule::Constant => 1.0,
        Schedule::Step { every, factor } => factor.powf((epoch / every.max(1) as u64) as f64),
        Schedule::Exponential { factor } => factor.powf(epoch as f64),
        Schedule::Cosine { final_factor } => cosine(1.0, final_factor, step as f64 / total as f64),
        Schedule::OneCycle { warm, start_divisor, end_divisor } => {
            one_cycle(step as f64, total as f64, warm, start_divisor, end_divisor)
        }
    }
}

/// A straight line from `start_factor` at step 0 to 1 at the end of the warm-up.
fn ramp(warm_up: &WarmUp, step: u64, steps_per_epoch: u64) -> f64 {
    let length = warm_up.epochs * steps_per_epoch as f64;
    let step = step as f64;
    if step >= length { 1.0 } else { warm_up.start_factor + (1.0 - warm_up.start_factor) * step / length }
}

/// Half a cosine from `start` at 0 to `end` at 1.
fn cosine(start: f64, end: f64, at: f64) -> f64 {
    end + (start - end) * 0.5 * (1.0 + (PI * at.clamp(0.0, 1.0)).cos())
}

fn one_cycle(step: f64, total: f64, warm: f64, start_divisor: f64, end_divisor: f64) -> f64 {
    // PyTorch puts the peak on step `warm * total - 1`, and the end on the last step.
    let (peak, last) = (warm * total - 1.0, total - 1.0);
    if step < peak {
        cosine(1.0 / start_divisor, 1.0, step / peak)
    } else {
        let fall = last - peak;
        // A run that is all warm-up ends on its peak.
        cosine(1.0, 1.0 / end_divisor, if fall > 0.0 { (step - peak) / fall } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1e-3), "{found} is not {expected}");
    }

    fn at(schedule: &Schedule, steps: &[u64], steps_per_epoch: usize, epochs: usize) -> Vec<f64> {
        steps.iter().map(|&s| factor(schedule, None, s, steps_per_epoch, epochs)).collect()
    }

    #[test]
    fn constant_is_one() {
        assert_eq!(at(&Schedule::Constant, &[0, 7, 1000], 5, 3), [1.0; 3]);
    }

    /// `StepLR(step_size = 15, gamma = 0.25)`, the paper's schedule, with 10 steps an epoch.
    #[test]
    fn step_changes_at_epoch_boundaries() {
        let s = Schedule::Step { every: 15, factor: 0.25 };
        assert_eq!(at(&s, &[0, 149, 150, 299, 300, 999], 10, 100), [1.0, 1.0, 0.25, 0.25, 0.0625, 0.25f64.powi(6)]);
    }

    /// `ExponentialLR(gamma = 0.9)`, SCN's schedule.
    #[test]
    fn exponential_falls_every_epoch() {
        let found = at(&Schedule::Exponential { factor: 0.9 }, &[0, 3, 4, 8, 279], 4, 70);
        for (f, e) in found.into_iter().zip([1.0, 1.0, 0.9, 0.81, 0.9f64.powi(69)]) {
            close(f, e);
        }
    }

    /// `CosineAnnealingLR(T_max = 12, eta_min = 0.1)` from 1: 0.1 + 0.45 (1 + cos(pi t / 12)).
    #[test]
    fn cosine_changes_every_step() {
        let found = at(&Schedule::Cosine { final_factor: 0.1 }, &[0, 2, 3, 4, 6, 8, 12, 40], 4, 3);
        let (r2, r3) = (2f64.sqrt(), 3f64.sqrt());
        let expected = [1.0, 0.55 + 0.225 * r3, 0.55 + 0.225 * r2, 0.775, 0.55, 0.325, 0.1, 0.1];
        for (f, e) in found.into_iter().zip(expected) {
            close(f, e);
        }
    }

    /// `OneCycleLR(max_lr = 1, total_steps = 10, pct_start = 0.3, div_factor = 25, final_div_factor = 400)`:
    /// peak on step 2, end on step 9.
    #[test]
    fn one_cycle_rises_and_falls() {
        let s = Schedule::OneCycle { warm: 0.3, start_divisor: 25.0, end_divisor: 25.0 * 400.0 };
        let found = at(&s, &[0, 1, 2, 9, 50], 5, 2);
        for (f, e) in found.into_iter().zip([0.04, 0.52, 1.0, 1e-4, 1e-4]) {
            close(f, e);
        }
        // Step 5 is 3/7 of the way down.
        close(factor(&s, None, 5, 5, 2), 1e-4 + (1.0 - 1e-4) / 2.0 * (1.0 + (PI * 3.0 / 7.0).cos()));
    }

    #[test]
    fn one_cycle_survives_short_runs() {
        for total in 1..6 {
            for warm in [0.0, 0.3, 1.0] {
                let s = Schedule::OneCycle { warm, start_divisor: 25.0, end_divisor: 1e4 };
                for step in 0..8 {
                    let f = factor(&s, None, step, total, 1);
                    assert!(f.is_finite() && (0.0..=1.0).contains(&f), "{f} at {step} of {total}, warm {warm}");
                }
            }
        }
    }

    #[test]
    fn warm_up_multiplies() {
        let w = WarmUp { epochs: 1.5, start_factor: 0.1 };
        let s = Schedule::Exponential { factor: 0.5 };
        let found: Vec<f64> = [0, 3, 4, 6].iter().map(|&t| factor(&s, Some(&w), t, 4, 9)).collect();
        for (f, e) in found.into_iter().zip([0.1, 0.55, 0.5 * 0.7, 0.5]) {
            close(f, e);
        }
        let none = WarmUp { epochs: 0.0, start_factor: 0.0 };
        assert_eq!(factor(&Schedule::Constant, Some(&none), 0, 4, 9), 1.0);
    }
}
