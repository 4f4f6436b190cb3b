//! A step of Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019), parameter and moments in one pass.

use rayon::prelude::*;

use crate::simd::{Isa, Kernel, Simd};

/// Numbers of a task.
const TASK: usize = 1 << 14;

/// The constants of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    /// Decay the parameter (AdamW) instead of adding to the gradient (Adam).
    pub decoupled: bool,
}

/// What all elements share, rounded once.
#[derive(Clone, Copy, Debug)]
struct Factors {
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    epsilon: f32,
    /// Of the parameter, into the gradient; none where 0.
    decay: f32,
    /// Of the parameter that stays.
    kept: f32,
    /// `1 / sqrt(1 - beta2^step)`.
    root: f32,
    /// `learning_rate / (1 - beta1^step)`.
    pace: f32,
}

impl Factors {
    fn new(constants: AdamW, learning_rate: f32, step: f32) -> Factors {
        let AdamW { beta1, beta2, epsilon, weight_decay, decoupled } = constants;
        let correction = |beta: f64| 1.0 - beta.powf(f64::from(step));
        let rate = f64::from(learning_rate);
        Factors {
            beta1: beta1 as f32,
            rest1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            decay: if decoupled { 0.0 } else { weight_decay as f32 },
            kept: if decoupled { (1.0 - rate * weight_decay) as f32 } else { 1.0 },
            root: (1.0 / correction(beta2).sqrt()) as f32,
            pace: (rate / correction(beta1)) as f32,
        }
    }
}

/// One step, in place; `step` counts from 1. All slices are of one size.
///
/// # Panics
/// When they are not.
#[allow(clippy::too_many_arguments, reason = "the operands of the operation")]
pub fn adamw(
    isa: Isa,
    constants: AdamW,
    learning_rate: f32,
    step: f32,
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let sizes = [gradient.len(), first.len(), second.len()];
    assert!(sizes.iter().all(|&n| n == parameter.len()), "{sizes:?} numbers for {} parameters", parameter.len());
    let factors = Factors::new(constants, learning_rate, step);
    let moments = first.par_chunks_mut(TASK).zip(second.par_chunks_mut(TASK));
    let numbers = parameter.par_chunks_mut(TASK).zip(gradient.par_chunks(TASK));
    numbers.zip(moments).for_each(|((parameter, gradient), (first, second))| {
        isa.run(Step { factors, parameter, gradient, first, second });
    });
}

struct Step<'a> {
    factors: Factors,
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.parameter.len();
        let (p, g) = (self.parameter.as_mut_ptr(), self.gradient.as_ptr());
        let (m, v) = (self.first.as_mut_ptr(), self.second.as_mut_ptr());
        let mut at = 0;
        // SAFETY: all four have `count` numbers.
        unsafe {
            while at + S::LANES <= count {
                let x = [s.load(p.add(at)), s.load(g.add(at)), s.load(m.add(at)), s.load(v.add(at))];
                let [x, first, second] = step(s, &self.factors, x);
                s.store(p.add(at), x);
                s.store(m.add(at), first);
                s.store(v.add(at), second);
                at += S::LANES;
            }
            let left = count - at;
            if left > 0 {
                let load = |from: *const f32| s.load_first(from.add(at), left);
                let x = [load(p), load(g), load(m), load(v)];
                let [x, first, second] = step(s, &self.factors, x);
                s.store_first(p.add(at), x, left);
                s.store_first(m.add(at), first, left);
                s.store_first(v.add(at), second, left);
            }
        }
    }
}

/// Parameter and moments anew, of parameter, gradient and moments.
#[inline(always)]
fn step<S: Simd>(s: S, factors: &Factors, [parameter, gradient, first, second]: [S::F; 4]) -> [S::F; 3] {
    let of = |x: f32| s.splat(x);
    // An infinite parameter must not reach a gradient that it is no part of.
    let gradient = if factors.decay != 0.0 { s.fma(parameter, of(factors.decay), gradient) } else { gradient };
    let first = s.fma(first, of(factors.beta1), s.mul(gradient, of(factors.rest1)));
    let square = s.mul(gradient, gradient);
    let second = s.fma(second, of(factors.beta2), s.mul(square, of(factors.rest2)));
    let root = s.fma(s.sqrt(second), of(factors.root), of(factors.epsilon));
    let pace = s.mul(s.div(first, root), of(factors.pace));
    [s.sub(s.mul(parameter, of(factors.kept)), pace), first, second]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Numbers, assert_near};

    /// The formulas in f64.
    fn truth(c: AdamW, rate: f64, step: f64, x: [f64; 4]) -> [f64; 3] {
        let [p, g, m, v] = x;
        let g = if c.decoupled { g } else { g + c.weight_decay * p };
        let m = c.beta1 * m + (1.0 - c.beta1) * g;
        let v = c.beta2 * v + (1.0 - c.beta2) * g * g;
        let root = v.sqrt() / (1.0 - c.beta2.powf(step)).sqrt();
        let moved = m / (root + c.epsilon) * rate / (1.0 - c.beta1.powf(step));
        let kept = if c.decoupled { p * (1.0 - rate * c.weight_decay) } else { p };
        [kept - moved, m, v]
    }

    #[test]
    fn steps_keep_to_the_formulas() {
        let mut numbers = Numbers::new(1);
        for isa in Isa::available() {
            for count in [0, 1, 7, 15, 16, 33, 40_001] {
                for (weight_decay, decoupled) in [(0.0, true), (0.05, true), (0.05, false)] {
                    let c = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay, decoupled };
                    let [mut p, g, mut m, mut v] = std::array::from_fn(|_| numbers.floats(count));
                    v.iter_mut().for_each(|v| *v = v.abs());
                    let (rate, step) = (1e-3, [1.0f32, 2.0, 1000.0][count % 3]);
                    let truth: Vec<[f64; 3]> = (0..count)
                        .map(|i| truth(c, f64::from(rate), f64::from(step), [p[i], g[i], m[i], v[i]].map(f64::from)))
                        .collect();
                    adamw(isa, c, rate, step, &mut p, &g, &mut m, &mut v);
                    for (k, found) in [&p, &m, &v].into_iter().enumerate() {
                        let truth: Vec<f64> = truth.iter().map(|t| t[k]).collect();
                        assert_near(found, &truth, 1e-6, &format!("{isa} {count} {decoupled} result {k}"));
                    }
                }
            }
        }
    }

    /// A first step moves every parameter by the learning rate, however small its gradient.
    #[test]
    fn the_first_step_goes_by_the_sign() {
        let c = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 0.0, weight_decay: 0.0, decoupled: true };
        for isa in Isa::available() {
            let [mut p, mut m, mut v] = [[0.0; 3]; 3];
            adamw(isa, c, 0.1, 1.0, &mut p, &[1e-6, -3.0, 1e4], &mut m, &mut v);
            for (p, t) in p.iter().zip([-0.1, 0.1, -0.1f32]) {
                assert!((p - t).abs() < 1e-7, "{isa}: {p} for {t}");
            }
        }
    }
}
