//! Sums and maxima over axes that take several blocks and several stages, with remainders, against f64 loops.

mod truth;

use truth::{BF16, Case, F32};

#[test]
fn sums_over_any_axes() {
    let shapes: [(&[usize], &[usize]); 16] = [
        // Whole, in one stage and in two, with a last group that is cut.
        (&[3000], &[0]),
        (&[300, 1001], &[0, 1]),
        (&[3], &[0]),
        // Rows: teams of a warp or less, and blocks.
        (&[700, 3], &[1]),
        (&[40, 8], &[1]),
        (&[33, 130], &[1]),
        (&[33, 131], &[1]),
        (&[3, 5003], &[1]),
        (&[2, 40_000], &[1]),
        // Columns: fewer than a warp, several tiles, few rows and many.
        (&[5000, 7], &[0]),
        (&[3001, 96], &[0]),
        (&[3, 2500], &[0]),
        (&[2, 500, 3], &[1]),
        (&[70, 260], &[0]),
        // Groups of axes.
        (&[9, 16, 7, 7], &[0, 2, 3]),
        (&[3, 4, 5, 6], &[0, 2]),
    ];
    let sums = Case::of(&shapes, |b, c, (shape, axes)| b.reduce_sum(c.input(b, "x", shape)?, axes));
    // Sums of up to 300000 numbers between -1 and 1: some units in the last place of the sum of magnitudes would be a hundred times as
    // much.
    sums.check("sums", F32, 1e-6);
    Case::of(&shapes, |b, c, (shape, axes)| b.reduce_max(c.input(b, "x", shape)?, axes)).check("greatest", F32, 1e-6);
}

#[test]
fn a_long_sum_keeps_its_digits() {
    // One after the other, a million tenths come to 100958 in f32.
    let case = Case::new(|b, c| {
        let x = c.given(b, "x", &[1_000_000], vec![0.1; 1_000_000])?;
        b.reduce_sum(x, &[0])
    });
    case.check("tenths", F32, 2e-7);
}

#[test]
fn squares_are_summed() {
    let case = Case::of(&[5, 70_001], |b, c, &count| {
        let x = c.input(b, "x", &[count])?;
        b.reduce_sum(b.multiply(x, x)?, &[0])
    });
    case.check("squares", F32, 1e-6);
}

#[test]
fn norms_of_many_gradients_are_taken_together() {
    // 131 arrays, some of several pieces, most with a last group that is cut; one is read elsewhere, and one is an input itself.
    let case = Case::new(|b, c| {
        let mut total = b.full(&[], 0.0)?;
        let mut first = None;
        for i in 0..131 {
            let count = if i % 40 == 7 { 20_001 + i } else { 1 + 7 * i };
            let x = c.input(b, &format!("x{i}"), &[count])?;
            let y = if i == 50 { x } else { b.scale(x, 0.5)? };
            let sum = b.reduce_sum(b.multiply(y, y)?, &[0])?;
            first = first.or(Some(sum));
            total = b.add(total, sum)?;
        }
        b.output("first", first.unwrap());
        b.sqrt(total)
    });
    case.check("norms", F32, 1e-6);

    let sums = case.calls().iter().filter(|call| *call == "reduce_sum").count();
    assert!(sums <= 2 * 4 + 2 + 2, "{sums} launches");
}

#[test]
fn nan_and_infinity_win() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows =
        [[1.0, nan, inf, 0.0, 0.0], [-inf; 5], [nan, -inf, inf, -nan, 1.0], [-1.0, -2.0, -inf, -3.0, -0.5]].concat();
    let axes = [&[0][..], &[1], &[0, 1]];
    let case = Case::of(&axes, |b, c, axes| b.reduce_max(c.given(b, "x", &[4, 5], rows.clone())?, axes));
    case.check("greatest", F32, 1e-6);
    let case = Case::of(&axes, |b, c, axes| b.reduce_sum(c.given(b, "x", &[4, 5], rows.clone())?, axes));
    case.check("sums", F32, 1e-6);
}

#[test]
fn what_is_bfloat16_is_summed_in_f32() {
    // Off by 2^-9 of what is stored. Rounded numbers tie where others do not, so no gradient goes through the greatest.
    let case = Case::new(|b, c| {
        let x = c.input(b, "x", &[6, 50, 20])?;
        let (weight, bias) = (c.input(b, "weight", &[20])?, c.input(b, "bias", &[20])?);
        let y = b.layer_norm(x, weight, bias, 1e-5)?;
        b.add(b.reduce_sum(y, &[1])?, b.stop_gradient(b.reduce_max(y, &[1])?)?)
    });
    case.check("activations", BF16, 1e-2);
}
