//! Elementary functions on vectors. Each is a polynomial of minimal greatest error (fitted with Lawson's algorithm), its own error
//! below that of rounding; what it is measured to keep to is said and tested.

use super::Simd;

/// Horner's rule, the highest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, coefficients: [f32; N]) -> S::F {
    let mut sum = s.splat(coefficients[0]);
    for &c in &coefficients[1..] {
        sum = s.fma(sum, x, s.splat(c));
    }
    sum
}

/// e^x. At most 2 units in the last place; 0 and infinity where the result is out of range; NaN stays NaN.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these the result is out of range anyway. The order of operands lets a NaN through.
    let bounded = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let n = s.floor(s.fma(bounded, s.splat(std::f32::consts::LOG2_E), s.splat(0.5)));
    let r = s.fma(n, s.splat(-LN2_HIGH), bounded);
    let r = s.fma(n, s.splat(-LN2_LOW), r);
    // e^r = 1 + r + r^2 p(r) for |r| at most ln(2)/2.
    let p = polynomial(s, r, [1.991_837e-4, 1.394_606_2e-3, 8.333_264e-3, 4.166_627e-2, 1.666_666_7e-1, 0.5]);
    let e = s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0));
    s.scale(e, n)
}

/// ln(x). At most 2 units in the last place; -infinity at 0, NaN below.
#[inline(always)]
pub fn log<S: Simd>(s: S, x: S::F) -> S::F {
    let (m, n) = s.split(x);
    // m in [sqrt(1/2), sqrt(2)).
    let small = s.lt(m, s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let m = s.select(small, s.add(m, m), m);
    let n = s.select(small, s.sub(n, s.splat(1.0)), n);
    let f = s.sub(m, s.splat(1.0));
    let p = polynomial(
        s,
        f,
        [
            6.915_427e-2,
            -1.178_982_5e-1,
            1.187_295_3e-1,
            -1.238_434_5e-1,
            1.421_866e-1,
            -1.666_925_1e-1,
            2.000_222_7e-1,
            -2.499_998_7e-1,
            3.333_331e-1,
        ],
    );
    let square = s.mul(f, f);
    let tail = s.mul(s.mul(square, f), p);
    let tail = s.fma(n, s.splat(-2.121_944_4e-4), tail);
    let tail = s.fma(square, s.splat(-0.5), tail);
    let result = s.fma(n, s.splat(0.693_359_4), s.add(f, tail));
    let infinity = s.splat(f32::INFINITY);
    let result = s.select(s.lt(x, infinity), result, x);
    let result = s.select(s.eq(x, s.splat(0.0)), s.splat(f32::NEG_INFINITY), result);
    let result = s.select(s.lt(x, s.splat(0.0)), s.splat(f32::NAN), result);
    s.select(s.eq(x, x), result, x)
}

/// The error function. At most 2 units in the last place.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    // From 4.05 on, 1 - erf is below half of the last place of 1. The order of operands lets a NaN through.
    let a = s.min(s.splat(4.05), s.abs(x));
    // erf(x) = x + x p(x^2) near 0.
    let near = [-5.976_896e-4, 4.990_981e-3, -2.676_556_7e-2, 1.128_180_3e-1, -3.761_249_4e-1, 1.283_791_5e-1];
    let near = s.fma(polynomial(s, s.mul(a, a), near), a, a);
    // 1 - erf(a) = e^-(a + a q(a)) from 0.92 on.
    let far =
        [1.152_227_8e-5, -3.256_526e-4, 3.653_763_6e-3, -2.378_534_6e-2, 1.062_631_4e-1, 6.351_359e-1, 1.286_521_6e-1];
    let far = s.fma(polynomial(s, a, far), a, a);
    let far = s.sub(s.splat(1.0), exp(s, s.neg(far)));
    s.copysign(s.select(s.lt(a, s.splat(0.93)), near, far), x)
}

/// The hyperbolic tangent. At most 3 units in the last place.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.min(s.splat(10.0), s.abs(x));
    let square = s.mul(a, a);
    // tanh(x) = x + x^3 p(x^2) near 0.
    let near = [-5.905_872_7e-3, 2.080_538_8e-2, -5.378_668_5e-2, 1.333_195_8e-1, -3.333_33e-1];
    let near = s.fma(s.mul(polynomial(s, square, near), square), a, a);
    let e = exp(s, s.add(a, a));
    let one = s.splat(1.0);
    let far = s.sub(one, s.div(s.splat(2.0), s.add(e, one)));
    s.copysign(s.select(s.lt(a, s.splat(0.6)), near, far), x)
}

/// `|x|` (at most 14, where all that follows is 0 in f32), `e^(-x^2/2)`, and what this is to be multiplied with for the normal
/// distribution below `-|x|`: Mills' ratio over the root of two pi, which falls so slowly that a polynomial in `3 / (3 + |x|)` follows it.
#[inline(always)]
fn normal_tail<S: Simd>(s: S, x: S::F) -> (S::F, S::F, S::F) {
    // The order of operands lets a NaN through.
    let a = s.min(s.splat(14.0), s.abs(x));
    let y = s.mul(s.mul(a, s.splat(-0.5 * std::f32::consts::LOG2_E)), a);
    let n = s.floor(y);
    // 2^f for f within 0 and 1.
    let power = [1.877_57e-3, 8.989_36e-3, 5.582_63e-2, 0.240_153_62, 0.693_153_1, 0.999_999_94];
    let e = s.scale(polynomial(s, s.sub(y, n), power), n);
    let t = s.div(s.splat(3.0), s.add(a, s.splat(3.0)));
    let ratio = [
        4.005_059_5e-2,
        -0.185_561_52,
        0.243_771_2,
        1.169_541_4e-2,
        0.112_903,
        0.148_982_22,
        0.127_531_78,
        6.273_102e-4,
    ];
    (a, e, polynomial(s, t, ratio))
}

/// GELU in its erf form, `x Phi(x)`.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let (_, e, ratio) = normal_tail(s, x);
    let tail = s.mul(e, ratio);
    let below = s.select(s.lt(x, s.splat(0.0)), tail, s.sub(s.splat(1.0), tail));
    s.mul(x, below)
}

/// The derivative of GELU, `Phi(x) + x phi(x)`.
#[inline(always)]
pub fn gelu_slope<S: Simd>(s: S, x: S::F) -> S::F {
    let (a, e, ratio) = normal_tail(s, x);
    // The density at x is e over the root of two pi.
    let tail = s.mul(e, s.fma(a, s.splat(-0.398_942_3), ratio));
    s.select(s.lt(x, s.splat(0.0)), tail, s.sub(s.splat(1.0), tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel};

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Log,
        Erf,
        Tanh,
        Gelu,
        GeluSlope,
    }

    struct Apply<'a>(Function, &'a [f32], &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Apply(function, from, to) = self;
            for at in (0..from.len()).step_by(S::LANES) {
                let count = S::LANES.min(from.len() - at);
                // SAFETY: `count` elements are left in both.
                unsafe {
                    let x = s.load_first(from.as_ptr().add(at), count);
                    let y = match function {
                        Function::Exp => exp(s, x),
                        Function::Log => log(s, x),
                        Function::Erf => erf(s, x),
                        Function::Tanh => tanh(s, x),
                        Function::Gelu => gelu(s, x),
                        Function::GeluSlope => gelu_slope(s, x),
                    };
                    s.store_first(to.as_mut_ptr().add(at), y, count);
                }
            }
        }
    }

    fn apply(isa: Isa, function: Function, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        isa.run(Apply(function, x, &mut y));
        y
    }

    /// The greatest error over a range, in units of the result's last place, but of no smaller place than 2^-126's.
    fn worst(isa: Isa, function: Function, range: (f32, f32), truth: impl Fn(f64) -> f64) -> f64 {
        let n = 200_001;
        let x: Vec<f32> = (0..n).map(|i| range.0 + (range.1 - range.0) * (i as f32 / (n - 1) as f32)).collect();
        let y = apply(isa, function, &x);
        let errors = x.iter().zip(&y).map(|(&x, &y)| {
            let exact = truth(f64::from(x));
            let rounded = (exact as f32).abs().max(f32::MIN_POSITIVE);
            let place = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
            (f64::from(y) - exact).abs() / place
        });
        errors.fold(0.0, f64::max)
    }

    /// The error function in f64, from its series and its continued fraction.
    fn erf64(x: f64) -> f64 {
        let a = x.abs();
        if a < 3.0 {
            let (mut term, mut sum, mut n) = (x, x, 0.0);
            while term.abs() > 1e-18 * sum.abs() {
                n += 1.0;
                term *= -x * x / n;
                sum += term / (2.0 * n + 1.0);
            }
            return sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let fraction = (1..60).rev().fold(0.0, |f, k| f64::from(k) / 2.0 / (a + f));
        (1.0 - (-a * a).exp() / ((a + fraction) * std::f64::consts::PI.sqrt())).copysign(x)
    }

    #[test]
    fn functions_keep_to_their_last_places() {
        for isa in Isa::available() {
            let check = |function, range, places, truth: &dyn Fn(f64) -> f64, name| {
                let worst = worst(isa, function, range, truth);
                assert!(worst <= places, "{isa}: {name} on {range:?} is off by {worst:.2} places");
            };
            check(Function::Exp, (-87.0, 88.7), 2.0, &f64::exp, "exp");
            check(Function::Exp, (-1.0, 1.0), 2.0, &f64::exp, "exp");
            check(Function::Log, (1e-30, 1e-3), 2.0, &f64::ln, "log");
            check(Function::Log, (0.4, 2.5), 2.0, &f64::ln, "log");
            check(Function::Log, (1.0, 1e9), 2.0, &f64::ln, "log");
            check(Function::Erf, (-5.0, 5.0), 2.0, &erf64, "erf");
            check(Function::Erf, (-0.01, 0.01), 2.0, &erf64, "erf");
            check(Function::Tanh, (-12.0, 12.0), 3.0, &f64::tanh, "tanh");
            check(Function::Tanh, (-0.01, 0.01), 3.0, &f64::tanh, "tanh");
        }
    }

    /// To two of the last place of x, or of one where x is smaller.
    #[test]
    fn gelu_keeps_to_the_last_place_of_one() {
        let phi = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let below = |x: f64| 0.5 * (1.0 + erf64(x / std::f64::consts::SQRT_2));
        for isa in Isa::available() {
            let x: Vec<f32> = (-8000..8000).map(|i| i as f32 * 1e-3).collect();
            for (function, truth) in [
                (Function::Gelu, &(|x: f64| x * below(x)) as &dyn Fn(f64) -> f64),
                (Function::GeluSlope, &|x: f64| below(x) + x * phi(x)),
            ] {
                for (&x, y) in x.iter().zip(apply(isa, function, &x)) {
                    let exact = truth(f64::from(x));
                    let error = (f64::from(y) - exact).abs();
                    assert!(error <= 2.4e-7 * (f64::from(x).abs().max(1.0)), "{isa}: {y} for {exact} at {x}");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_are_what_they_are_in_rust() {
        let x =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-42, -1e-42, 89.5, -103.0, -104.5, 3e38, -3e38];
        for isa in Isa::available() {
            let same = |function, truth: &dyn Fn(f32) -> f32, name| {
                for (&x, y) in x.iter().zip(apply(isa, function, &x)) {
                    let t = truth(x);
                    let near = (y - t).abs() <= t.abs() * 3e-7 || (y - t).abs() <= 3e-45;
                    assert!(
                        y.to_bits() == t.to_bits() || y.is_nan() && t.is_nan() || near,
                        "{isa}: {name}({x:e}) is {y:e}, not {t:e}"
                    );
                }
            };
            same(Function::Exp, &f32::exp, "exp");
            same(Function::Log, &f32::ln, "log");
            same(Function::Tanh, &f32::tanh, "tanh");
            same(Function::Erf, &|x| erf64(f64::from(x).clamp(-30.0, 30.0)) as f32, "erf");
        }
    }
}
