//! The softmax of a row of scores and its gradient, in place.

use crate::simd::Simd;

/// The numbers of lanes.
static LANES: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// The lanes of the last vector of a row of `keys` that belong to it.
#[inline(always)]
fn rest<S: Simd>(s: S, keys: usize) -> S::M {
    // SAFETY: no vector has more lanes.
    let lanes = unsafe { s.load(LANES.as_ptr()) };
    s.lt(lanes, s.splat((keys % S::LANES) as f32))
}

/// 2^x for x that is at most 0 or NaN: within 2 units of the last place, and 2^-126 less, so that it is 0 from there on. Sums of
/// such numbers do not notice, and processors are slow with subnormal ones.
#[inline(always)]
fn exp2<S: Simd>(s: S, x: S::F) -> S::F {
    // The order of operands lets a NaN through.
    let x = s.max(s.splat(-126.0), x);
    let n = s.floor(x);
    let f = s.sub(x, n);
    // 2^f = 1 + f p(f) on [0, 1], the relative error at most 9.4e-8: Lawson's algorithm.
    let mut p = s.splat(1.867_133_3e-3);
    for c in [9.017_023e-3, 5.579_991_6e-2, 2.401_644_4e-1, 6.931_513e-1, 1.0] {
        p = s.fma(p, f, s.splat(c));
    }
    s.sub(s.scale(p, n), s.splat(f32::MIN_POSITIVE))
}

/// Scores of a row plus their bias to `e^(x - top)`, where `top` is the greatest; zeros behind the last key. Returns their sum.
///
/// # Safety
/// `row` is valid for `keys` floats, rounded up to whole vectors; `bias` for `keys`, or it is null.
#[inline(always)]
pub unsafe fn exponentials<S: Simd>(s: S, row: *mut f32, keys: usize, bias: *const f32) -> f32 {
    // SAFETY: the caller's promises.
    unsafe {
        match keys.div_ceil(S::LANES) {
            1 => short::<S, 1>(s, row, keys, bias),
            2 => short::<S, 2>(s, row, keys, bias),
            3 => short::<S, 3>(s, row, keys, bias),
            4 => short::<S, 4>(s, row, keys, bias),
            _ => long(s, row, keys, bias),
        }
    }
}

/// A row of so many vectors, which stays in registers.
///
/// # Safety
/// As for [`exponentials`].
#[inline(always)]
unsafe fn short<S: Simd, const VECTORS: usize>(s: S, row: *mut f32, keys: usize, bias: *const f32) -> f32 {
    // SAFETY: the caller's promises.
    unsafe {
        let (x, sum) = powers::<S, VECTORS>(s, row, keys, bias);
        for (v, &x) in x.iter().enumerate() {
            s.store(row.add(v * S::LANES), x);
        }
        sum
    }
}

/// What [`exponentials`] makes of a row of so many vectors, and their sum.
///
/// # Safety
/// As for [`exponentials`].
#[inline(always)]
unsafe fn powers<S: Simd, const VECTORS: usize>(
    s: S,
    row: *const f32,
    keys: usize,
    bias: *const f32,
) -> ([S::F; VECTORS], f32) {
    let mut x = [s.splat(f32::NEG_INFINITY); VECTORS];
    let last = VECTORS - 1;
    // SAFETY: the caller's promises.
    unsafe {
        for (v, x) in x.iter_mut().enumerate() {
            *x = s.load(row.add(v * S::LANES));
        }
        if !bias.is_null() {
            for (v, x) in x[..last].iter_mut().enumerate() {
                *x = s.add(*x, s.load(bias.add(v * S::LANES)));
            }
            x[last] = s.add(x[last], s.load_first(bias.add(last * S::LANES), keys - last * S::LANES));
        }
    }
    if !keys.is_multiple_of(S::LANES) {
        x[last] = s.select(rest(s, keys), x[last], s.splat(f32::NEG_INFINITY));
    }
    let mut top = s.splat(f32::NEG_INFINITY);
    for &x in &x {
        top = s.max(x, top);
    }
    let top = s.splat(s.greatest_number(top));
    let mut sum = s.splat(0.0);
    for x in &mut x {
        *x = exp2(s, s.mul(s.sub(*x, top), s.splat(std::f32::consts::LOG2_E)));
        sum = s.add(sum, *x);
    }
    (x, s.sum(sum))
}

/// A row of any length.
///
/// # Safety
/// As for [`exponentials`].
#[inline(always)]
unsafe fn long<S: Simd>(s: S, row: *mut f32, keys: usize, bias: *const f32) -> f32 {
    let whole = keys / S::LANES * S::LANES;
    let lowest = s.splat(f32::NEG_INFINITY);
    let mut top = lowest;
    // SAFETY: the caller's promises.
    unsafe {
        if bias.is_null() {
            for j in (0..whole).step_by(S::LANES) {
                top = s.max(s.load(row.add(j)), top);
            }
        } else {
            for j in (0..whole).step_by(S::LANES) {
                let x = s.add(s.load(row.add(j)), s.load(bias.add(j)));
                s.store(row.add(j), x);
                top = s.max(x, top);
            }
        }
        if whole < keys {
            let mut x = s.load(row.add(whole));
            if !bias.is_null() {
                x = s.add(x, s.load_first(bias.add(whole), keys - whole));
            }
            let x = s.select(rest(s, keys), x, lowest);
            s.store(row.add(whole), x);
            top = s.max(x, top);
        }
        let (top, log2e) = (s.splat(s.greatest_number(top)), s.splat(std::f32::consts::LOG2_E));
        let mut sum = s.splat(0.0);
        for j in (0..keys).step_by(S::LANES) {
            let e = exp2(s, s.mul(s.sub(s.load(row.add(j)), top), log2e));
            s.store(row.add(j), e);
            sum = s.add(sum, e);
        }
        s.sum(sum)
    }
}

/// Turns scores into probabilities p as [`exponentials`] begins it, and their gradients g into those of the scores,
/// `p * (g - sum(p * g))`. Adds the latter to `sums`, or writes them there first.
///
/// # Safety
/// As for [`exponentials`]; `grad` is valid for `keys` floats, rounded up to whole vectors, and so is `sums` unless it is null.
#[inline(always)]
pub unsafe fn with_gradient<S: Simd>(
    s: S,
    row: *mut f32,
    grad: *mut f32,
    keys: usize,
    bias: *const f32,
    sums: *mut f32,
    add: bool,
) {
    // SAFETY: the caller's promises.
    unsafe {
        match keys.div_ceil(S::LANES) {
            1 => short_gradient::<S, 1>(s, row, grad, keys, bias, sums, add),
            2 => short_gradient::<S, 2>(s, row, grad, keys, bias, sums, add),
            3 => short_gradient::<S, 3>(s, row, grad, keys, bias, sums, add),
            4 => short_gradient::<S, 4>(s, row, grad, keys, bias, sums, add),
            _ => {
                let sum = long(s, row, keys, bias);
                gradient(s, row, grad, keys, sum, sums, add);
            }
        }
    }
}

/// A row of so many vectors, which stays in registers.
///
/// # Safety
/// As for [`with_gradient`].
#[inline(always)]
unsafe fn short_gradient<S: Simd, const VECTORS: usize>(
    s: S,
    row: *mut f32,
    grad: *mut f32,
    keys: usize,
    bias: *const f32,
    sums: *mut f32,
    add: bool,
) {
    let last = VECTORS - 1;
    // SAFETY: the caller's promises.
    unsafe {
        let (mut p, sum) = powers::<S, VECTORS>(s, row, keys, bias);
        let factor = s.splat(1.0 / sum);
        let mut g = [s.splat(0.0); VECTORS];
        for (v, g) in g.iter_mut().enumerate() {
            *g = s.load(grad.add(v * S::LANES));
        }
        if !keys.is_multiple_of(S::LANES) {
            // Behind the last key the gradient may be NaN: infinity times the zeros there.
            g[last] = s.select(rest(s, keys), g[last], s.splat(0.0));
        }
        let mut dot = s.splat(0.0);
        for (v, p) in p.iter_mut().enumerate() {
            *p = s.mul(*p, factor);
            s.store(row.add(v * S::LANES), *p);
            dot = s.fma(*p, g[v], dot);
        }
        let dot = s.splat(s.sum(dot));
        for (v, &p) in p.iter().enumerate() {
            let d = s.mul(p, s.sub(g[v], dot));
            s.store(grad.add(v * S::LANES), d);
            if !sums.is_null() {
                let sums = sums.add(v * S::LANES);
                s.store(sums, if add { s.add(d, s.load(sums)) } else { d });
            }
        }
    }
}

/// [`with_gradient`] of what [`exponentials`] made of a row, of any length.
///
/// # Safety
/// As for [`with_gradient`].
#[inline(always)]
unsafe fn gradient<S: Simd>(s: S, row: *mut f32, grad: *mut f32, keys: usize, sum: f32, sums: *mut f32, add: bool) {
    let whole = keys / S::LANES * S::LANES;
    let factor = s.splat(1.0 / sum);
    let mut dot = s.splat(0.0);
    // SAFETY: the caller's promises.
    unsafe {
        for j in (0..whole).step_by(S::LANES) {
            let p = s.mul(s.load(row.add(j)), factor);
            s.store(row.add(j), p);
            dot = s.fma(p, s.load(grad.add(j)), dot);
        }
        if whole < keys {
            let p = s.mul(s.load(row.add(whole)), factor);
            s.store(row.add(whole), p);
            // Behind the last key the gradient may be NaN: infinity times the zeros there.
            let g = s.select(rest(s, keys), s.load(grad.add(whole)), s.splat(0.0));
            s.store(grad.add(whole), g);
            dot = s.fma(p, g, dot);
        }
        let dot = s.splat(s.sum(dot));
        for j in (0..keys).step_by(S::LANES) {
            let d = s.mul(s.load(row.add(j)), s.sub(s.load(grad.add(j)), dot));
            s.store(grad.add(j), d);
            if !sums.is_null() {
                let sums = sums.add(j);
                s.store(sums, if add { s.add(d, s.load(sums)) } else { d });
            }
        }
    }
}
