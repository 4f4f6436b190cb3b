//! The three losses on sixteen rows of eight logits, small ones and ones at which a naive softmax overflows.

use crate::{
    IN_F32, SINGLE, VALUES,
    traced::{Near, Trace, golden},
};

/// `(name in the fixture, the plugin)`.
const LOSSES: [(&str, &str); 5] = [
    ("ce", r#"(plugin: "cross-entropy")"#),
    ("pdls", r#"(plugin: "pdls", alpha: 0.8)"#),
    ("fpdls", r#"(plugin: "f-pdls", alpha: 0.8, gamma: 2.0)"#),
    ("fpdls_g0", r#"(plugin: "f-pdls", alpha: 0.8, gamma: 0.0)"#),
    ("fpdls_g1_a5", r#"(plugin: "f-pdls", alpha: 0.5, gamma: 1.0)"#),
];

fn compare(prefix: &str, precision: &str, bound: f64) {
    let theirs = golden("losses.io");
    let mut near = Near::default();
    for (name, plugin) in LOSSES {
        let experiment = format!(
            r#"images: (size: 28),
            model: (backbone: (plugin: "swin", embed_dim: 8, depths: [1], num_heads: [1])),
            loss: {plugin}"#
        );
        let logits = &theirs[&format!("{prefix}logits")];
        let mut inputs = vec![("logits", logits), ("labels", &theirs["labels"])];
        if name != "ce" {
            inputs.push(("prior", &theirs["dist"]));
        }
        let options = format!("--grad --mode train --precision {precision}");
        let ours = Trace { experiment: &experiment, weights: None, inputs: &inputs, options: &options }.answers();
        near.check(&format!("{name} loss"), &ours["loss"], &theirs[&format!("{prefix}{name}.loss")], bound);
        near.check(&format!("{name} gradient"), &ours["grad/logits"], &theirs[&format!("{prefix}{name}.grad")], bound);
    }
    near.done(2 * LOSSES.len());
}

#[test]
fn losses_and_gradients_are_pytorchs() {
    compare("", "f64", VALUES);
}

#[test]
fn large_logits_are_as_safe_as_pytorchs() {
    compare("big.", "f64", VALUES);
}

#[test]
fn f32_stays_near() {
    for engine in IN_F32 {
        compare("", &format!("f32 {engine}"), SINGLE);
        compare("big.", &format!("f32 {engine}"), SINGLE);
    }
}
