//! The learned resizer, 96 to 56 pixels, in evaluation and in training (batch statistics and running ones).

use crate::{
    IN_F32, PARAMETERS, SINGLE, VALUES,
    traced::{Near, Tensors, Trace, golden, largest},
};

/// Biases that a batch norm with batch statistics takes away again: their true gradient is 0, what is computed is rounding.
const WITHOUT_EFFECT: [&str; 3] = ["resblock.0.conv1.bias", "resblock.0.conv2.bias", "conv3.bias"];

fn answers(theirs: &Tensors, target: &str, options: &str) -> Tensors {
    let experiment = format!(
        r#"images: (size: 96, channels: 3),
        model: (
            resizers: [(plugin: "ltr", {target})],
            backbone: (plugin: "swin", embed_dim: 8, depths: [1], num_heads: [1]),
        ),
        loss: (plugin: "cross-entropy")"#
    );
    let inputs = [("images", &theirs["input"]), ("cotangent/resizers.0", &theirs["grad_output"])];
    Trace { experiment: &experiment, weights: Some("ltr"), inputs: &inputs, options }.answers()
}

#[test]
fn evaluation_is_pytorchs() {
    let theirs = golden("ltr.io");
    let ours = answers(&theirs, "scale: 0.584", "--grad --mode eval");
    let mut near = Near::default();
    near.check("output", &ours["resizers.0"], &theirs["eval.output"], VALUES);
    near.gradients(&ours, &theirs, "eval.grad.", VALUES, PARAMETERS);
    near.done(20);
}

#[test]
fn training_is_pytorchs_with_its_running_statistics() {
    let mut theirs = golden("ltr.io");
    let ours = answers(&theirs, "scale: 0.584", "--grad --mode train");
    let mut near = Near::default();
    for name in WITHOUT_EFFECT {
        let weight = name.replace("bias", "weight");
        let scale = largest(&theirs[&format!("train.grad.{weight}")].to_f64());
        near.bound(&format!("{name}: ours"), largest(&ours[&format!("grad/{name}")].to_f64()) / scale, 1e-11);
        let noise = theirs.remove(&format!("train.grad.{name}")).unwrap();
        near.bound(&format!("{name}: PyTorch's"), largest(&noise.to_f64()) / scale, VALUES);
    }
    near.check("output", &ours["resizers.0"], &theirs["train.output"], VALUES);
    near.gradients(&ours, &theirs, "train.grad.", VALUES, PARAMETERS);
    for (name, value) in &theirs {
        if let Some(name) = name.strip_prefix("train.after.") {
            near.check(&format!("state/{name}"), &ours[&format!("state/{name}")], value, VALUES);
        }
    }
    near.done(6 + 17 + 8);
}

/// `size: 56` samples at steps of 96 / 56, PyTorch's recompute_scale_factor; `scale: 0.584` at steps of 1 / 0.584.
#[test]
fn a_size_samples_as_a_recomputed_scale() {
    let theirs = golden("ltr.io");
    let ours = answers(&theirs, "size: 56", "--mode eval");
    let mut near = Near::default();
    near.check("output", &ours["resizers.0"], &theirs["eval.recompute_scale.output"], VALUES);
    near.done(1);
}

#[test]
fn f32_stays_near() {
    let theirs = golden("ltr.io");
    for engine in IN_F32 {
        let ours = answers(&theirs, "scale: 0.584", &format!("--grad --mode eval --precision f32 {engine}"));
        let mut near = Near::default();
        near.check("output", &ours["resizers.0"], &theirs["eval.output"], SINGLE);
        near.gradients(&ours, &theirs, "eval.grad.", SINGLE, SINGLE);
        near.done(20);
    }
}
