//! Losses: what holds for all ([`PROPERTIES`]), laws that most obey, and relations between them.

use fer_engine::{Precision, Tensor};

use crate::{Case, Model, Outcome, Property, Subject, Trouble, close, ensure, values::numbers};

/// What every loss must do, since the host builds on it.
pub const PROPERTIES: &[Property<'static>] = &[
    Property { name: "value and gradient are finite for logits within 1e4", cases: 24, wide: false, check: &extremes },
    Property { name: "the loss is linear in the sample weights", cases: 12, wide: false, check: &linear_in_weights },
];

/// With distributions as truth and weights above zero, no loss is below zero.
pub const NON_NEGATIVE: Property<'static> =
    Property { name: "the loss is not negative", cases: 24, wide: false, check: &non_negative };

/// A number added to all logits of a sample changes nothing; equally, the gradient over its logits sums to zero.
pub const SHIFT_INVARIANT: Property<'static> =
    Property { name: "the loss sees logits through softmax alone", cases: 12, wide: false, check: &shift_invariant };

/// No class is special: permuting them in logits, targets and prior together changes nothing.
pub const CLASS_SYMMETRIC: Property<'static> =
    Property { name: "no class is special", cases: 12, wide: false, check: &class_symmetric };

/// The loss is least where softmax gives the targets, and is their entropy there. For a loss whose target is the truth, with its
/// default options.
pub const LEAST_AT_TRUTH: Property<'static> = Property {
    name: "the loss is least at the truth",
    cases: 12,
    wide: false,
    check: &|subject, case| least_at_the_truth(subject, &Case { options: subject.required(case), ..case.clone() }),
};

/// The first three.
pub const LAWS: [Property<'static>; 3] = [NON_NEGATIVE, SHIFT_INVARIANT, CLASS_SYMMETRIC];

/// A handful of sums of some ten terms each: a hundred roundings, and a factor of a hundred for what cancels.
const TOLERANCE: f64 = 1e-12;

fn malformed() -> Outcome {
    Err(Trouble::Idle("there are no logits [n, k]".into()))
}

fn set(model: &Model, name: &str, value: Vec<f64>) -> Model {
    let mut model = model.clone();
    let shape = model.values[name].shape.clone();
    model.values.insert(name.to_owned(), Tensor::f64(shape, value));
    model
}

fn numbers_of(model: &Model, name: &str) -> Vec<f64> {
    model.values[name].to_f64()
}

/// f32 is what trains, and where 1e4 under- and overflows first.
fn extremes(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::moved(subject, case)?;
    let logits = numbers(case.seed, "extremes", numbers_of(&model, "logits").len());
    let logits: Vec<f64> = logits
        .into_iter()
        .map(|u| match (u * 4.0) as usize {
            0 => -1e4,
            1 => 1e4,
            2 => 0.0,
            // Near ties of huge logits.
            _ => 1e4 - 8.0 * (u * 4.0).fract(),
        })
        .collect();
    for precision in [Precision::F32, Precision::F64] {
        let (loss, gradients) = set(&model, "logits", logits.clone()).run_with_gradients(&["logits"], precision)?;
        let odd = |v: &[f64]| v.iter().any(|v| !v.is_finite());
        ensure(!odd(&loss) && !odd(&gradients[0]), || {
            format!("in {}, logits {logits:?} give {loss:?} and the gradient {:?}", precision.name(), gradients[0])
        })?;
    }
    Ok(())
}

fn linear_in_weights(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::moved(subject, case)?;
    let one = numbers_of(&model, "weights");
    let two = numbers(case.seed, "other weights", one.len());
    let both = one.iter().zip(&two).map(|(a, b)| 3.0 * a + 0.5 * b).collect();
    let parts = [set(&model, "weights", one).run()?[0], set(&model, "weights", two).run()?[0]];
    let together = set(&model, "weights", both).run()?[0];
    close(&[together], &[3.0 * parts[0] + 0.5 * parts[1]], TOLERANCE)
        .or_else(|d| ensure(false, || format!("3 w + v / 2 is not weighted so: {d}")))
}

fn non_negative(subject: &Subject, case: &Case) -> Outcome {
    let loss = Model::moved(subject, case)?.run()?[0];
    // A certain truth's loss is a rounded zero.
    ensure(loss >= -1e-15, || format!("the loss is {loss:e}"))
}

fn shift_invariant(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::moved(subject, case)?;
    let [n, classes] = *case.shape("logits") else { return malformed() };
    let shifts = numbers(case.seed, "shift", n);
    let logits = numbers_of(&model, "logits");
    let shifted = logits.iter().enumerate().map(|(i, v)| v + 20.0 * (shifts[i / classes] - 0.5)).collect();
    let (loss, gradients) = model.run_with_gradients(&["logits"], Precision::F64)?;
    let moved = set(&model, "logits", shifted).run()?;
    close(&loss, &moved, TOLERANCE).or_else(|d| ensure(false, || format!("shifted logits change the loss: {d}")))?;
    let size: f64 = gradients[0].iter().map(|g| g.abs()).sum::<f64>() + loss[0].abs();
    for (sample, row) in gradients[0].chunks(classes).enumerate() {
        let sum: f64 = row.iter().sum();
        ensure(sum.abs() <= TOLERANCE * size, || format!("the gradient of sample {sample} sums to {sum:e}: {row:?}"))?;
    }
    Ok(())
}

fn class_symmetric(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::moved(subject, case)?;
    let [_, classes] = *case.shape("logits") else { return malformed() };
    let by = 1 + (case.seed % (classes as u64 - 1).max(1)) as usize;
    let turn = |row: &[f64]| -> Vec<f64> { (0..classes).map(|c| row[(c + by) % classes]).collect() };
    let columns = |name: &str| numbers_of(&model, name).chunks(classes).flat_map(turn).collect::<Vec<f64>>();
    let prior: Vec<f64> = columns("prior");
    let prior: Vec<f64> =
        (0..classes).flat_map(|r| prior[(r + by) % classes * classes..][..classes].to_vec()).collect();
    let turned = set(&set(&model, "logits", columns("logits")), "targets", columns("targets"));
    let (straight, turned) = (model.run()?, set(&turned, "prior", prior).run()?);
    close(&straight, &turned, TOLERANCE).or_else(|d| ensure(false, || format!("permuted classes change the loss: {d}")))
}

/// The loss is least where softmax gives the targets, and is their entropy there (Gibbs). For a loss whose target is the truth.
///
/// # Errors
/// When it is not, or the component refuses.
pub fn least_at_the_truth(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::moved(subject, case)?;
    let [n, classes] = *case.shape("logits") else { return malformed() };
    // Away from zero, so that the logarithm is ordinary.
    let truth: Vec<f64> = numbers(case.seed, "truth", n * classes)
        .chunks(classes)
        .flat_map(|row| {
            let sum: f64 = row.iter().map(|v| v + 0.1).sum();
            row.iter().map(|v| (v + 0.1) / sum).collect::<Vec<f64>>()
        })
        .collect();
    let model = set(&set(&model, "weights", vec![1.0; n]), "targets", truth.clone());
    let at = |logits: Vec<f64>| -> Outcome<f64> { Ok(set(&model, "logits", logits).run()?[0]) };
    let best: Vec<f64> = truth.iter().map(|t| t.ln()).collect();
    let least = at(best.clone())?;
    let entropy = -truth.iter().map(|t| t * t.ln()).sum::<f64>() / n as f64;
    close(&[least], &[entropy], TOLERANCE).or_else(|d| ensure(false, || format!("loss and entropy: {d}")))?;
    for scale in [1e-4, 0.1, 3.0] {
        let steps = numbers(case.seed, &format!("away {scale}"), best.len());
        let away = at(best.iter().zip(steps).map(|(v, u)| v + scale * (2.0 * u - 1.0)).collect())?;
        ensure(away >= least - 1e-14, || format!("the loss is {away:e} beside the truth and {least:e} there"))?;
    }
    Ok(())
}

/// Two losses, each with options of its own, are the same function of the same case: values, and gradients over the logits.
///
/// # Errors
/// When they are not, or one refuses.
pub fn agree(left: (&Subject, &Case), right: (&Subject, &Case)) -> Outcome {
    let run = |(subject, case): (&Subject, &Case)| {
        Model::moved(subject, case)?.run_with_gradients(&["logits"], Precision::F64)
    };
    let ((l, dl), (r, dr)) = (run(left)?, run(right)?);
    let who = || format!("{} and {}", left.0.id(), right.0.id());
    close(&l, &r, TOLERANCE).or_else(|d| ensure(false, || format!("{}: {d}", who())))?;
    close(&dl[0], &dr[0], TOLERANCE).or_else(|d| ensure(false, || format!("{}, gradient: {d}", who())))
}
