//! Every way of cutting an axis against plain loops.

use super::*;
use crate::vectors::testing::{assert_threads_change_no_bit, halves, numbers};

const SHAPES: [[usize; 3]; 20] = [
    [1, 1, 1],
    [3, 7, 1],
    [5, 16, 1],
    [100, 49, 1],
    [2, 4097, 1],
    [1, 100_003, 1],
    [40_000, 2, 1],
    [3, 5, 7],
    [1, 1000, 3],
    [1, 1000, 96],
    [4, 300, 96],
    [2, 33, 1030],
    [1, 65, 5000],
    [20_000, 2, 2],
    [0, 3, 4],
    [2, 0, 4],
    [2, 0, 1],
    [2, 3, 0],
    [1, 9000, 17],
    [1, 257, 128],
];

fn each<'a>(
    isa: Isa,
    shape: [usize; 3],
    x: impl Into<Numbers<'a>>,
    run: impl Fn(Isa, [usize; 3], Numbers<'a>, &mut [f32]),
) -> Vec<f32> {
    let mut y = vec![7.0; shape[0] * shape[2]];
    run(isa, shape, x.into(), &mut y);
    y
}

/// A fold of every column, with what it starts from.
fn truth([outer, reduced, inner]: [usize; 3], x: &[f32], start: f64, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let one = |i: usize| {
        (0..reduced).fold(start, |sum, r| f(sum, f64::from(x[(i / inner * reduced + r) * inner + i % inner])))
    };
    (0..outer * inner).map(one).collect()
}

fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

#[test]
fn sums_and_greatest_of_any_shape() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let x = numbers(shape.iter().product(), seed as u64);
        let sums = truth(shape, &x, 0.0, |a, b| a + b);
        let sizes = truth(shape, &x, 0.0, |a, b| a + b.abs());
        let greatest = truth(shape, &x, f64::NEG_INFINITY, greater);
        for isa in Isa::available() {
            for ((found, sum), size) in each(isa, shape, &x[..], sum).iter().zip(&sums).zip(&sizes) {
                assert!((f64::from(*found) - sum).abs() <= 2e-7 * size, "{isa} {shape:?}: {found} for {sum}");
            }
            let found: Vec<f64> = each(isa, shape, &x[..], max).into_iter().map(f64::from).collect();
            assert_eq!(found, greatest, "{isa} {shape:?}");
        }
    }
}

/// What is read from bfloat16 is what it stands for.
#[test]
fn bfloat16_is_a_matter_of_memory_alone() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let x = numbers(shape.iter().product(), seed as u64);
        let (halves, widened) = halves(&x);
        for isa in Isa::available() {
            let [found, expected] = [each(isa, shape, &halves[..], sum), each(isa, shape, &widened[..], sum)];
            assert_eq!(found, expected, "{isa} {shape:?}");
            let [found, expected] = [each(isa, shape, &halves[..], max), each(isa, shape, &widened[..], max)];
            assert_eq!(found, expected, "{isa} {shape:?}");
        }
    }
}

#[test]
fn long_sums_are_accurate() {
    for shape in [[1, 6_000_001, 1], [1, 1_500_001, 4]] {
        // All of one sign, where errors do not cancel.
        let x: Vec<f32> = numbers(shape.iter().product(), 1).iter().map(|x| 1.0 + x).collect();
        let sums = truth(shape, &x, 0.0, |a, b| a + b);
        let squares: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        for isa in Isa::available() {
            for (found, sum) in each(isa, shape, &x[..], sum).iter().zip(&sums) {
                assert!((f64::from(*found) / sum - 1.0).abs() <= 5e-7, "{isa} {shape:?}: {found} for {sum}");
            }
            let found = sum_of_squares(isa, &x);
            assert!((f64::from(found) / squares - 1.0).abs() <= 5e-7, "{isa}: {found} for {squares}");
        }
    }
}

#[test]
fn nan_and_infinity_win() {
    for shape in [[3, 37, 1], [2, 9000, 1], [2, 37, 19], [1, 600, 33]] {
        let clean = numbers(shape.iter().product(), 3);
        for at in [0, clean.len() / 2, clean.len() - 1] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = clean.clone();
                x[at] = value;
                let [sums, greatest] =
                    [truth(shape, &x, 0.0, |a, b| a + b), truth(shape, &x, f64::NEG_INFINITY, greater)];
                for isa in Isa::available() {
                    for (found, truth) in each(isa, shape, &x[..], max).into_iter().zip(&greatest) {
                        assert!(f64::from(found) == *truth || found.is_nan() && truth.is_nan(), "{isa} {shape:?}");
                    }
                    for (found, truth) in each(isa, shape, &x[..], sum).into_iter().zip(&sums) {
                        assert_eq!(found.is_nan(), truth.is_nan(), "{isa} {shape:?}");
                        assert_eq!(found.is_infinite(), truth.is_infinite(), "{isa} {shape:?}");
                    }
                }
            }
        }
    }
    // A row of nothing but -infinity, and NaN of either sign.
    for isa in Isa::available() {
        assert_eq!(each(isa, [1, 20, 1], &[f32::NEG_INFINITY; 20][..], max), [f32::NEG_INFINITY]);
        assert!(each(isa, [1, 20, 1], &[-f32::NAN; 20][..], max)[0].is_nan());
        assert_eq!(sum_of_squares(isa, &[]), 0.0);
    }
}

#[test]
fn columns_through_row_starts() {
    for (rows, width, stride) in [(1000, 96, 100), (300, 1, 5), (70, 1500, 1500), (5, 33, 40)] {
        let x = numbers(rows * stride, 4);
        let starts: Vec<u32> = (0..rows).map(|i| ((i * 7 + 3) % rows * stride) as u32).collect();
        for isa in Isa::available() {
            for x_rows in [Rows::Every(stride), Rows::At(&starts)] {
                let mut y = vec![7.0; width];
                column_sums(isa, (rows, width), &x[..], x_rows, &mut y);
                for (j, y) in y.into_iter().enumerate() {
                    let column = || (0..rows).map(|i| f64::from(x[x_rows.start(i) + j]));
                    let (sum, size): (f64, f64) = (column().sum(), column().map(f64::abs).sum());
                    assert!((f64::from(y) - sum).abs() <= 2e-7 * size, "{isa} {rows} {width}: {y} for {sum}");
                }
                // In bfloat16 they are summed as what they stand for.
                let (halves, widened) = halves(&x);
                let (mut found, mut expected) = (vec![7.0; width], vec![8.0; width]);
                column_sums(isa, (rows, width), &halves[..], x_rows, &mut found);
                column_sums(isa, (rows, width), &widened[..], x_rows, &mut expected);
                assert_eq!(found, expected, "{isa} {rows} {width}");
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for shape in SHAPES {
        let x = numbers(shape.iter().product(), 5);
        let halves = halves(&x).0;
        for isa in Isa::available() {
            assert_threads_change_no_bit(&format!("{isa} {shape:?}"), || {
                let mut all = each(isa, shape, &x[..], sum);
                all.extend(each(isa, shape, &halves[..], sum));
                all.extend(each(isa, shape, &halves[..], max));
                all.push(sum_of_squares(isa, &x));
                all
            });
        }
    }
}

#[test]
#[should_panic(expected = "x: 3 rows of 4 do not lie within 11 elements")]
fn rows_that_are_not_all_there_are_refused() {
    column_sums(Isa::Portable, (3, 4), &[0.0; 11][..], Rows::Every(4), &mut [0.0; 4]);
}
