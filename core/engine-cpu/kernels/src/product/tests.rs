//! Products of every layout and awkward size against plain sums.

use std::ops::Range;

use super::*;
use crate::bf16;

const FACTORS: [Factors; 2] = [Factors::F32, Factors::Bf16];

/// Every instruction set with all kinds of factors.
fn each() -> impl Iterator<Item = (Isa, Factors)> {
    Isa::available().flat_map(|isa| FACTORS.map(|factors| (isa, factors)))
}

/// Numbers in -1..1 that do not repeat.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A side of `rows` rows of `columns`, a little apart; every other time in an order of its own.
struct Given {
    data: Vec<f32>,
    offsets: Option<Vec<u32>>,
    stride: usize,
    along: Along,
}

impl Given {
    fn new(kept: usize, contracted: usize, along: Along, gap: usize, shuffled: bool, seed: u64) -> Given {
        let (rows, columns) = if along == Along::Kept { (kept, contracted) } else { (contracted, kept) };
        let stride = columns + gap;
        let offsets = shuffled.then(|| (0..rows).map(|i| ((i * 7 + 3) % rows.max(1) * stride) as u32).collect());
        let offsets = offsets.filter(|_| rows % 7 != 0);
        Given { data: numbers(rows * stride, seed), offsets, stride, along }
    }

    fn side(&self) -> Side<'_> {
        let rows = self.offsets.as_deref().map_or(Rows::Every(self.stride), Rows::At);
        Side { data: self.data[..].into(), rows, along: self.along }
    }

    fn at(&self, factors: Factors, kept: usize, contracted: usize) -> f64 {
        let (row, column) = if self.along == Along::Kept { (kept, contracted) } else { (contracted, kept) };
        let x = self.data[self.side().rows.start(row) + column];
        f64::from(if factors == Factors::Bf16 { bf16::widen(bf16::round(x)) } else { x })
    }
}

fn truth(factors: Factors, size: Size, a: &Given, b: &Given) -> Vec<f64> {
    let table = |given: &Given, kept: usize| -> Vec<f64> {
        (0..kept).flat_map(|i| (0..size.k).map(move |k| (i, k))).map(|(i, k)| given.at(factors, i, k)).collect()
    };
    let (a, b) = (table(a, size.m), table(b, size.n));
    let row = |side: &[f64], i: usize| side[i * size.k..(i + 1) * size.k].to_vec();
    let columns: Vec<Vec<f64>> = (0..size.n).map(|j| row(&b, j)).collect();
    (0..size.m)
        .flat_map(|i| {
            let left = row(&a, i);
            columns.iter().map(|right| left.iter().zip(right).map(|(l, r)| l * r).sum()).collect::<Vec<f64>>()
        })
        .collect()
}

/// Sums of k products of numbers below 1 in f32: rounding grows with the root of k, and 2e-7 of it leaves a factor of ten.
fn assert_near(found: &[f32], expected: &[f64], k: usize, what: &str) {
    let tolerance = 2e-6 * (k.max(1) as f64).sqrt();
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(f) - e).abs() <= tolerance, "{what}: {f} for {e} at {i}");
    }
}

const SIZES: [(usize, usize, usize); 14] = [
    (1, 1, 1),
    (1, 40, 7),
    (3, 5, 0),
    (14, 32, 256),
    (15, 33, 257),
    (49, 96, 31),
    (6, 16, 513),
    (29, 65, 300),
    (230, 31, 64),
    (500, 96, 512),
    (17, 19, 1100),
    (64, 48, 2500),
    (520, 520, 1100),
    (7, 700, 30),
];

fn check_layout(isa: Isa, factors: Factors, n: usize, layout: usize) {
    let (m, columns, k) = SIZES[n];
    let size = Size { m, n: columns, k };
    let along = |bit: usize| if layout & bit == 0 { Along::Kept } else { Along::Contracted };
    let shuffled = layout & 4 != 0;
    let a = Given::new(m, k, along(1), layout % 3, shuffled, 2 * n as u64 + 1);
    let b = Given::new(columns, k, along(2), (layout + n) % 2, shuffled, 2 * n as u64 + 2);
    let what = format!("{isa} {factors:?} {size:?} {layout}");
    let mut c = vec![f32::NAN; m * columns];
    multiply(isa, factors, size, a.side(), b.side(), None, false, &mut c);
    let products = truth(factors, size, &a, &b);
    assert_near(&c, &products, k, &what);

    let (bias, before) = (numbers(columns, 5), numbers(m * columns, 6));
    for bias in [None, Some(&bias[..])] {
        let mut c = before.clone();
        multiply(isa, factors, size, a.side(), b.side(), bias, true, &mut c);
        let added = |i: usize| f64::from(before[i]) + bias.map_or(0.0, |b| f64::from(b[i % columns]));
        let expected: Vec<f64> = products.iter().enumerate().map(|(i, p)| p + added(i)).collect();
        assert_near(&c, &expected, k, &what);
    }
}

#[test]
fn every_layout_gives_the_sums() {
    for isa in Isa::available() {
        for (n, &(m, columns, k)) in SIZES.iter().enumerate() {
            // The long ones in three of the eight layouts.
            for layout in (0..8).filter(|l| m * columns * k < 1_000_000 || [0, 3, 5].contains(l)) {
                FACTORS.into_iter().for_each(|factors| check_layout(isa, factors, n, layout));
            }
        }
    }
}

/// Sides of bfloat16 are what `f32` is rounded to: the same bits come of both, whatever the layout, and wherever rows begin.
#[test]
fn sides_of_bfloat16_are_rounded_already() {
    for isa in Isa::available() {
        for (n, &(m, columns, k)) in SIZES.iter().enumerate() {
            for layout in 0..8 {
                let size = Size { m, n: columns, k };
                let along = |bit: usize| if layout & bit == 0 { Along::Kept } else { Along::Contracted };
                let a = Given::new(m, k, along(1), layout % 3, layout & 4 != 0, 2 * n as u64 + 1);
                let b = Given::new(columns, k, along(2), (layout + n) % 2, layout & 4 != 0, 2 * n as u64 + 2);
                let halves = |given: &Given, skip: usize| -> Vec<u16> {
                    std::iter::repeat_n(0, skip).chain(given.data.iter().map(|&x| bf16::round(x))).collect()
                };
                let mut plain = vec![f32::NAN; m * columns];
                multiply(isa, Factors::Bf16, size, a.side(), b.side(), None, false, &mut plain);
                for skip in [0, 1] {
                    let (left, right) = (halves(&a, skip), halves(&b, skip));
                    let mut c = vec![f32::NAN; m * columns];
                    let left = Side { data: left[skip..].into(), ..a.side() };
                    let right = Side { data: right[skip..].into(), ..b.side() };
                    multiply(isa, Factors::Bf16, size, left, right, None, false, &mut c);
                    assert!(c == plain, "{isa} {size:?} {layout} {skip}");
                }
                // Factors that stay as they are may be bfloat16 too.
                if m * columns * k < 100_000 {
                    let (left, right) = (halves(&a, 0), halves(&b, 0));
                    let mut c = vec![f32::NAN; m * columns];
                    let left = Side { data: left[..].into(), ..a.side() };
                    multiply(
                        isa,
                        Factors::F32,
                        size,
                        left,
                        Side { data: right[..].into(), ..b.side() },
                        None,
                        false,
                        &mut c,
                    );
                    assert_near(&c, &truth(Factors::Bf16, size, &a, &b), k, &format!("{isa} {size:?} {layout}"));
                }
            }
        }
    }
}

/// Of every exponent numbers above, below and at ties; times one, they are their own sums.
#[test]
fn factors_are_rounded_to_the_nearest_ties_to_even() {
    let low = [0x0000, 0x0001, 0x7fff, 0x8000, 0x8001, 0xffff];
    let upper = (0x0080..0x7f80).step_by(37).chain([0x7f7f, 0x7f80]).flat_map(|high| [high, high | 0x8000]);
    let mut x: Vec<f32> = upper.flat_map(|high| low.map(|low| f32::from_bits(high << 16 | low))).collect();
    x.extend([0.0, -0.0, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    let size = Size { m: x.len(), n: 1, k: 1 };
    for isa in Isa::available() {
        for (a, along) in [(Rows::Every(1), Along::Kept), (Rows::Every(x.len()), Along::Contracted)] {
            let a = Side { data: x[..].into(), rows: a, along };
            let b = Side { data: [1.0][..].into(), rows: Rows::Every(1), along };
            let mut c = vec![0.0; x.len()];
            multiply(isa, Factors::Bf16, size, a, b, None, false, &mut c);
            for (&x, &c) in x.iter().zip(&c) {
                let expected = bf16::widen(bf16::round(x));
                assert!(c == expected || c.is_nan() && x.is_nan(), "{isa}: {c} for {x}, which rounds to {expected}");
            }
        }
    }
}

/// In odd and even steps, and in the last of an odd number; their rows have them, and no others.
#[test]
fn nan_and_infinity_pass_through() {
    let size = Size { m: 40, n: 35, k: 77 };
    for isa in Isa::available() {
        for (factors, along) in FACTORS.into_iter().flat_map(|f| [(f, Along::Kept), (f, Along::Contracted)]) {
            let mut a = Given::new(size.m, size.k, along, 0, false, 1);
            let mut b = Given::new(size.n, size.k, along, 0, false, 2);
            b.data.iter_mut().for_each(|x| *x = x.abs() + 0.1);
            for (row, step, x) in
                [(0, 0, f32::NAN), (3, 11, f32::INFINITY), (17, 76, f32::NAN), (39, 76, f32::NEG_INFINITY)]
            {
                let at = if along == Along::Kept { row * size.k + step } else { step * size.m + row };
                a.data[at] = x;
            }
            let mut c = vec![0.0; size.m * size.n];
            multiply(isa, factors, size, a.side(), b.side(), None, false, &mut c);
            for (row, c) in c.chunks(size.n).enumerate() {
                let right = match row {
                    0 | 17 => c.iter().all(|x| x.is_nan()),
                    3 => c.iter().all(|&x| x == f32::INFINITY),
                    39 => c.iter().all(|&x| x == f32::NEG_INFINITY),
                    _ => c.iter().all(|x| x.is_finite()),
                };
                assert!(right, "{isa} {factors:?} {along:?}: row {row} is {c:?}");
            }
        }
    }
}

/// Rows 4 KiB apart are staged; they are the same rows.
#[test]
fn strides_that_share_a_line_change_nothing() {
    let size = Size { m: 40, n: 33, k: 300 };
    let b = Given::new(33, 300, Along::Kept, 0, false, 1);
    let near = numbers(40 * 300, 2);
    let mut far = vec![0.0; 40 * 1024];
    near.chunks(300).zip(far.chunks_mut(1024)).for_each(|(n, f)| f[..300].copy_from_slice(n));
    for (isa, factors) in each() {
        let with = |data: &[f32], stride| {
            let mut c = vec![0.0; 40 * 33];
            let a = Side { data: data.into(), rows: Rows::Every(stride), along: Along::Kept };
            multiply(isa, factors, size, a, b.side(), None, false, &mut c);
            c
        };
        assert_eq!(with(&near, 300), with(&far, 1024));
    }
}

#[test]
fn finished_rows_are_whole_and_come_once() {
    for (m, (isa, factors)) in [301, 100].into_iter().flat_map(|m| each().map(move |kind| (m, kind))) {
        let size = Size { m, n: 50, k: 70 };
        let (a, b) = (Given::new(m, 70, Along::Kept, 1, false, 1), Given::new(50, 70, Along::Kept, 0, false, 2));
        let mut plain = vec![0.0; m * 50];
        multiply(isa, factors, size, a.side(), b.side(), None, false, &mut plain);
        for kept in [true, false] {
            let (mut c, mut doubled) = (vec![0.0; m * 50], vec![0.0; m * 50]);
            let out = SharedMut::new(&mut doubled);
            let finish = |range: Range<usize>, rows: &mut [f32]| {
                // SAFETY: each row is finished once.
                let out = unsafe { out.part(range.start * 50, range.len() * 50) };
                out.iter_mut().zip(rows).for_each(|(o, r)| *o += 2.0 * *r);
            };
            multiply_then(isa, factors, size, a.side(), b.side(), None, kept.then(|| SharedMut::new(&mut c)), &finish);
            assert!(doubled.iter().zip(&plain).all(|(d, p)| *d == 2.0 * p), "{isa} {m}");
            assert!(!kept || c == plain);
        }
    }
}

#[test]
fn many_small_products_are_each_their_own() {
    let size = Size { m: 19, n: 21, k: 23 };
    let (a, b) = (numbers(5 * 19 * 23, 1), numbers(5 * 21 * 23, 2));
    for (isa, factors) in each() {
        fn side(data: &[f32], rows: usize, along: Along) -> Side<'_> {
            Side { data: data.into(), rows: Rows::Every(rows), along }
        }
        let sides = |i: usize| {
            (
                side(&a[i * 19 * 23..][..19 * 23], 23, Along::Kept),
                side(&b[i * 21 * 23..][..21 * 23], 21, Along::Contracted),
            )
        };
        let mut all = vec![0.0; 5 * 19 * 21];
        multiply_many(isa, factors, size, 5, sides, &mut all);
        for (i, c) in all.chunks(19 * 21).enumerate() {
            let mut alone = vec![0.0; 19 * 21];
            multiply(isa, factors, size, sides(i).0, sides(i).1, None, false, &mut alone);
            assert_eq!(c, alone, "{isa}");
        }
    }
}

/// How many threads there are changes no bit.
#[test]
fn threads_change_no_bit() {
    for (m, n, k) in [(700, 96, 300), (200, 700, 300), (96, 64, 5000), (600, 500, 1300)] {
        let size = Size { m, n, k };
        let a = Given::new(m, k, Along::Contracted, 0, false, 1);
        let b = Given::new(n, k, Along::Contracted, 0, false, 2);
        for (isa, factors) in each() {
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut c = vec![0.0; m * n];
                pool.install(|| multiply(isa, factors, size, a.side(), b.side(), None, false, &mut c));
                c
            };
            let one = with(1);
            assert!(with(2) == one && with(3) == one, "{isa} {size:?}");
        }
    }
}

#[test]
#[should_panic(expected = "the left side: 3 rows of 4 do not lie within 11 elements")]
fn a_side_that_is_too_short_is_refused() {
    let (a, b) = ([0.0; 11], [0.0; 8]);
    fn side(data: &[f32]) -> Side<'_> {
        Side { data: data.into(), rows: Rows::Every(4), along: Along::Kept }
    }
    multiply(Isa::Portable, Factors::F32, Size { m: 3, n: 2, k: 4 }, side(&a), side(&b), None, false, &mut [0.0; 6]);
}
