//! timm's SwinTransformer, reduced: three stages of two blocks, shifted windows, 7 x 7 tokens in the last.

use crate::{
    DOUBLE, PARAMETERS, SINGLE, VALUES,
    traced::{Near, Tensors, Trace, golden},
};

const EXPERIMENT: &str = r#"
    images: (size: 112, channels: 3),
    model: (backbone: (plugin: "swin", embed_dim: 16, depths: [2, 2, 2], num_heads: [1, 2, 4])),
    loss: (plugin: "cross-entropy")"#;

fn answers(theirs: &Tensors, options: &str) -> Tensors {
    let inputs = [("images", &theirs["input"]), ("labels", &theirs["labels"])];
    Trace { experiment: EXPERIMENT, weights: Some("small_swin"), inputs: &inputs, options }.answers()
}

#[test]
fn f64_logits_loss_and_gradients_are_timms() {
    let theirs = golden("small_swin.io");
    let ours = answers(&theirs, "--grad --mode eval");
    let mut near = Near::default();
    near.check("logits", &ours["logits"], &theirs["logits"], VALUES);
    near.check("loss", &ours["loss"], &theirs["loss"], VALUES);
    near.check("logits in float64", &ours["logits"], &theirs["f64.logits"], DOUBLE);
    near.check("loss in float64", &ours["loss"], &theirs["f64.loss"], DOUBLE);
    near.gradients(&ours, &theirs, "grad.", VALUES, PARAMETERS);
    near.done(13);
}

/// Whole gradients of every parameter would fill megabytes: their norms and a signed sum, from float64, hold every entry too.
#[test]
fn every_parameters_gradient_is_timms_in_norm_and_signed_sum() {
    let theirs = golden("small_swin.io");
    let ours = answers(&theirs, "--grad --mode eval");
    let mut near = Near::default();
    for (name, stat) in &theirs {
        let Some(name) = name.strip_prefix("gradstat.") else { continue };
        let gradient = ours[&format!("grad/{name}")].to_f64();
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let signed: f64 = gradient.iter().enumerate().map(|(i, g)| g * (i as f64).cos()).sum();
        let stat = stat.to_f64();
        near.bound(&format!("{name}: norm"), (norm - stat[0]).abs() / stat[0], DOUBLE);
        // The sum may cancel; it is of the norm's size.
        near.bound(&format!("{name}: signed sum"), (signed - stat[1]).abs() / stat[0], DOUBLE);
    }
    near.done(2 * 79);
}

#[test]
fn f32_stays_near() {
    let theirs = golden("small_swin.io");
    let ours = answers(&theirs, "--grad --mode eval --precision f32");
    let mut near = Near::default();
    near.check("logits", &ours["logits"], &theirs["logits"], SINGLE);
    near.check("loss", &ours["loss"], &theirs["loss"], SINGLE);
    near.gradients(&ours, &theirs, "grad.", SINGLE, SINGLE);
    near.done(11);
}
