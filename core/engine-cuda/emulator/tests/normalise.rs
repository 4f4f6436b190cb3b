//! Normalisations and their adjoints on shapes like those of models, with remainders at every cut, against the decomposition in f64.

mod truth;

use fer_graph::{Builder, Result, Value};
use truth::{BF16, Case, F32, Inputs};

/// A layer norm of an input, as rows that `rows` makes of it.
fn layer_norm(
    b: &Builder,
    c: &mut Inputs,
    shape: &[usize],
    offset: f64,
    rows: impl Fn(Value) -> Result<Value>,
) -> Result<Value> {
    let x = rows(c.input_about(b, "x", shape, 1.0, offset)?)?;
    let width = *b.shape(x).last().unwrap();
    let (weight, bias) = (c.input(b, "weight", &[width])?, c.input(b, "bias", &[width])?);
    b.layer_norm(x, weight, bias, 1e-5)
}

#[test]
fn layer_norms_of_many_widths() {
    // Teams of eight to 256 threads, with and without vectors, rows that are kept and one that is not; rows that do not fill a block;
    // one row, and one without other axes.
    let shapes: [&[usize]; 11] = [
        &[37, 96],
        &[9, 100],
        &[70, 97],
        &[5, 384],
        &[6, 768],
        &[3, 770],
        &[3, 1028],
        &[2, 2048],
        &[2, 8200],
        &[1, 24],
        &[5],
    ];
    Case::of(&shapes, |b, c, shape| layer_norm(b, c, shape, 0.5, Ok)).check("widths", F32, 4e-6);
}

#[test]
fn layer_norms_of_many_rows() {
    // More rows than a block takes at once: it sums over several rounds, the last block over fewer.
    let case = Case::new(|b, c| layer_norm(b, c, &[8, 4133], 0.0, |x| b.reshape(b.transpose(x, &[1, 0])?, &[4133, 8])));
    case.check("rows", F32, 4e-6);
}

#[test]
fn a_large_mean_does_not_cancel() {
    // Numbers of 1000 have 6e-5 of a unit in their last place, so the inputs themselves keep four digits of what is centred: they are
    // the same for both sides, and the mean is off by a unit in its last place.
    Case::new(|b, c| layer_norm(b, c, &[11, 192], 1000.0, Ok)).check("layer norm", F32, 3e-4);
    // A part's pivot takes the mean off before anything is squared; y and its gradient are off by the mean's own rounding, 2^-13 of a
    // deviation.
    let case = Case::new(|b, c| {
        let x = c.input_about(b, "x", &[2, 3, 40, 40], 1.0, 4000.0)?;
        batch_norm(b, c, x, "")
    });
    case.check("batch norm", F32, 3e-4);
}

/// Swin's shifted windows of three images of 8 x 8 tokens: rolled by two, cut into windows of four by four.
fn windows(b: &Builder, x: Value) -> Result<Value> {
    let halves = |x: Value, axis: usize| -> Result<Value> {
        b.concatenate(&[b.slice_axis(x, axis, 2, 8)?, b.slice_axis(x, axis, 0, 2)?], axis)
    };
    let rolled = halves(halves(b.reshape(x, &[3, 8, 8, 24])?, 1)?, 2)?;
    let cut = b.reshape(rolled, &[3, 2, 4, 2, 4, 24])?;
    b.reshape(b.transpose(cut, &[0, 1, 3, 2, 4, 5])?, &[12, 16, 24])
}

/// A norm whose result is read by a product alone computes its rows in the order in which that reads them.
#[test]
fn layer_norms_give_windows() {
    let product = |b: &Builder, c: &mut Inputs, x: Value, name: &str| {
        let weight = c.input(b, name, &[8, 24])?;
        b.linear(windows(b, x)?, weight, None)
    };
    let case = Case::new(|b, c| {
        let y = layer_norm(b, c, &[3, 8, 8, 24], 0.0, Ok)?;
        product(b, c, y, "of windows")
    });
    case.check("given windows", F32, 4e-6);
    case.check("given windows", BF16, 2e-2);
    let forward: Vec<String> = case.calls().into_iter().take_while(|op| op != "multiply").collect();
    assert_eq!(forward, ["layer_norm", "linear"]);
    // Of rows that are in another order already.
    let case = Case::new(|b, c| {
        let y = layer_norm(b, c, &[3, 8, 8, 24], 0.0, |x| windows(b, x))?;
        product(b, c, y, "of windows")
    });
    case.check("windows of windows", F32, 4e-6);
    // Where the rows are read in two orders, they stand in their own.
    let case = Case::new(|b, c| {
        let y = layer_norm(b, c, &[3, 8, 8, 24], 0.0, Ok)?;
        let again = product(b, c, windows(b, y)?, "of windows of windows")?;
        b.add(product(b, c, y, "of windows")?, again)
    });
    case.check("two orders", F32, 4e-6);
}

#[test]
fn layer_norms_follow_windows() {
    // Read where they stand, forward and backward.
    let case = Case::new(|b, c| layer_norm(b, c, &[3, 8, 8, 24], 0.0, |x| windows(b, x)));
    case.check("windows", F32, 2e-6);
    // The copy is the gradient of x, as it leaves.
    assert_eq!(case.calls(), ["layer_norm", "multiply", "layer_norm_vjp", "layer_norm_vjp", "copy"]);
    // Rows that do not begin at a multiple of four.
    let case = Case::new(|b, c| layer_norm(b, c, &[50, 25], 0.0, |x| b.slice_axis(x, 1, 1, 25)));
    case.check("unaligned", F32, 2e-6);
}

#[test]
fn norms_of_bfloat16() {
    // The second norm reads what the first one rounded; everything that is stored is off by 2^-9 of itself, twice in a row.
    let case = Case::new(|b, c| {
        let x = c.input(b, "x", &[45, 96])?;
        let mut y = x;
        for i in 0..2 {
            let weight = c.input(b, &format!("weight{i}"), &[96])?;
            let bias = c.input(b, &format!("bias{i}"), &[96])?;
            y = b.layer_norm(y, weight, bias, 1e-5)?;
        }
        b.l2_normalize(b.softmax(y, -1)?, -1, 1e-6)
    });
    case.check("chain", BF16, 2e-2);
    let case = Case::new(|b, c| {
        let x = c.input(b, "x", &[3, 8, 10, 10])?;
        let mut y = x;
        for i in 0..2 {
            y = batch_norm(b, c, y, &format!("{i}"))?;
        }
        b.l2_normalize(y, 1, 1e-6)
    });
    // What is behind a norm does not see the weight of the norm before: its gradient is a sum of 300 numbers that cancel, each of which was
    // rounded on its own.
    case.check("images", BF16, 6e-2);
}

#[test]
fn softmax_of_many_widths() {
    let shapes = [[300, 2], [50, 3], [70, 7], [33, 8], [9, 48], [11, 197], [2, 1000], [2, 1027], [1, 2051], [1, 9001]];
    for logarithm in [false, true] {
        let case = Case::of(&shapes, |b, c, shape| {
            let x = c.input_about(b, "x", shape, 5.0, 300.0)?;
            if logarithm { b.log_softmax(x, -1) } else { b.softmax(x, -1) }
        });
        // Inputs of 300 keep 3e-5 of a unit, the same for both sides; the logarithm's gradient has sums of the cotangents of a long row.
        case.check(&format!("logarithm {logarithm}"), F32, 4e-6);
    }
}

#[test]
fn softmax_goes_where_the_formula_takes_it() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = [[1.0, nan, 2.0], [1.0, inf, 2.0], [-inf, 1.0, 2.0], [-inf, -inf, -inf], [f32::MIN, f32::MAX, 0.0]];
    let case = Case::new(|b, c| b.softmax(c.given(b, "x", &[5, 3], rows.concat())?, -1));
    case.check("ends of the range", F32, 1e-6);
}

#[test]
fn lengths_along_any_axis() {
    let shapes =
        [([40, 1, 196], 2), ([3, 7, 197], 2), ([2, 48, 196], 1), ([3, 33, 5], 1), ([64, 3, 7], 0), ([1, 2, 1500], 1)];
    let case = Case::of(&shapes, |b, c, (shape, axis)| b.l2_normalize(c.input(b, "x", shape)?, *axis, 1e-6));
    case.check("lengths", F32, 2e-6);
    // Nothing, less than epsilon, epsilon itself, more: as columns and as rows.
    let case = Case::of(&[0, 1], |b, c, &axis| {
        let columns = [[0.0, 0.25, 0.5, 2.0], [0.0; 4]].concat();
        let rows = (0..8).map(|i| columns[i % 2 * 4 + i / 2]).collect();
        match axis {
            0 => b.l2_normalize(c.given(b, "x", &[2, 4], columns)?, 0, 0.5),
            _ => b.l2_normalize(c.given(b, "x", &[4, 2], rows)?, 1, 0.5),
        }
    });
    case.check("short vectors", F32, 1e-6);
}

fn batch_norm(b: &Builder, c: &mut Inputs, x: Value, name: &str) -> Result<Value> {
    let channels = b.shape(x)[1];
    // Weights keep away from 0: what follows such a channel magnifies its errors.
    let operands = [
        x,
        c.input_about(b, &format!("weight{name}"), &[channels], 0.5, 1.0)?,
        c.input(b, &format!("bias{name}"), &[channels])?,
        c.held(b, &format!("running_mean{name}"), &[channels], 1.0, 0.0)?,
        c.held(b, &format!("running_var{name}"), &[channels], 0.5, 1.0)?,
    ];
    let [y, mean, variance] = b.batch_norm_training(operands, 1e-5, 0.1)?;
    b.output(&c.name(&format!("mean{name}")), mean);
    b.output(&c.name(&format!("variance{name}")), variance);
    Ok(y)
}

#[test]
fn batch_norms_of_images() {
    // Planes that are vectors and that are not, smaller than a block and larger than a part; one place only.
    let shapes: [&[usize]; 8] = [
        &[2, 3, 96, 96],
        &[3, 2, 61, 59],
        &[4, 16, 7, 7],
        &[5, 3, 2, 2],
        &[300, 6],
        &[2, 70, 4, 3],
        &[1, 1, 5, 2],
        &[2, 5, 1, 40],
    ];
    let case = Case::of(&shapes, |b, c, shape| {
        let x = c.input_about(b, "x", shape, 2.0, 1.0)?;
        batch_norm(b, c, x, "")
    });
    case.check("images", F32, 5e-6);
}

#[test]
fn residuals_and_rectifiers_are_gone_through_on_the_way() {
    // The gradient that comes around the norm is added to what comes through it, from rows that stand elsewhere as well.
    let case = Case::new(|b, c| {
        let (x, z) = (c.input(b, "x", &[50, 48])?, c.input(b, "z", &[50, 48])?);
        let (weight, bias) = (c.input(b, "weight", &[48])?, c.input(b, "bias", &[48])?);
        let x = b.multiply(x, z)?;
        let inner = b.tanh(b.layer_norm(x, weight, bias, 1e-5)?)?;
        b.concatenate(&[b.add(x, inner)?, z], 1)
    });
    case.check("residual", F32, 5e-6);
    assert_eq!(case.calls().iter().filter(|call| *call == "add").count(), 0);
    // Rectifiers behind a norm and before it: of both the norm's adjoint is the only reader, or is not.
    for slope in [0.0, 0.25] {
        for twice in [false, true] {
            let case = Case::new(|b, c| {
                let x = c.input(b, "x", &[3, 5, 20, 20])?;
                let y = b.leaky_relu(batch_norm(b, c, x, "0")?, slope)?;
                let y = b.leaky_relu(batch_norm(b, c, y, "1")?, slope)?;
                let z = b.leaky_relu(batch_norm(b, c, b.leaky_relu(y, 0.5)?, "2")?, slope)?;
                if twice { b.add(y, z) } else { Ok(z) }
            });
            case.check(&format!("rectifiers of slope {slope}, {twice}"), F32, 2e-5);
            // The one that stands behind no norm.
            assert_eq!(case.calls().iter().filter(|call| call.starts_with("leaky_relu")).count(), 1);
        }
    }
}
