//! Batches: in evaluation a sample's result depends on no other sample.

use fer_engine::Tensor;

use crate::{Case, Model, Outcome, Property, Subject, close, ensure, values::rows};

pub const PROPERTIES: &[Property<'static>] = &[
    Property { name: "a batch gives what its samples give alone", cases: 8, wide: false, check: &alone },
    Property { name: "permuting the batch permutes the result", cases: 8, wide: false, check: &permuted },
];

/// Batches of another size take other blocks in a matrix product, so sums may be added in another order: some thousand roundings
/// of 1e-16 at worst.
const TOLERANCE: f64 = 1e-12;

/// The case in evaluation, with at least two samples.
fn evaluation(case: &Case) -> Case {
    case.with_batch(case.batch().max(2)).in_mode(false)
}

/// What has one row a sample.
fn is_per_sample(name: &str) -> bool {
    matches!(name, "images" | "logits" | "targets" | "weights")
}

fn with_rows(model: &Model, of: &Model, order: &[usize]) -> Model {
    let mut model = model.clone();
    for (name, value) in &of.values {
        let value: Tensor = if is_per_sample(name) { rows(value, order) } else { value.clone() };
        model.values.insert(name.clone(), value);
    }
    model
}

fn alone(subject: &Subject, case: &Case) -> Outcome {
    let case = evaluation(case);
    let (batch, single) = (Model::moved(subject, &case)?, Model::moved(subject, &case.with_batch(1))?);
    let together = batch.run()?;
    let n = case.batch();
    let mut apart = Vec::with_capacity(together.len());
    for i in 0..n {
        apart.extend(with_rows(&single, &batch, &[i]).run()?);
    }
    if batch.ty().rank() == 0 {
        apart = vec![apart.iter().sum::<f64>() / n as f64];
    }
    ensure(apart.len() == together.len(), || {
        format!("a batch gives {} numbers, its samples {}", together.len(), apart.len())
    })?;
    close(&together, &apart, TOLERANCE).or_else(|d| ensure(false, || format!("batch and samples differ at {d}")))
}

fn permuted(subject: &Subject, case: &Case) -> Outcome {
    let case = evaluation(case);
    let model = Model::moved(subject, &case)?;
    let n = case.batch();
    let by = 1 + (case.seed % (n as u64 - 1).max(1)) as usize;
    let order: Vec<usize> = (0..n).map(|i| (i + by) % n).collect();
    let (straight, turned) = (model.run()?, with_rows(&model, &model, &order).run()?);
    let expected = match model.ty().shape.as_slice() {
        [] => straight,
        shape => rows(&Tensor::f64(shape.to_vec(), straight), &order).to_f64(),
    };
    close(&turned, &expected, TOLERANCE).or_else(|d| ensure(false, || format!("the permuted batch differs at {d}")))
}
