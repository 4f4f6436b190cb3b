//! Configs that the tests share.
#![allow(dead_code, reason = "every test file uses some of it")]

use fer_config::{ConfigError, Resolved, load_text, render_plain};

/// The paper's experiment, as the tour shows it.
pub const PAPER: &str = r#"Experiment(
    name: "swin_nr_fpdls",
    data: FerPlus(root: "data/ferplus", votes: ImageLists, labels: Majority, otherwise: Builtin(train: 256, epochs: 2)),
    model: (
        resizers: [(plugin: "sr", scale: 8), (plugin: "ltr", size: 224)],
        backbone: (plugin: "swin", variant: "small", pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k")),
        head: Mlp(hidden: 512, dropout: 0.5),
    ),
    loss: (plugin: "f-pdls", alpha: 0.8, gamma: 2.0),
    optimiser: Adam(learning_rate: 1e-4),
    schedule: Step(every: 15, factor: 0.25),
    epochs: 100, batch: 64, seed: 1111,
)
"#;

/// The shortest experiment there is.
pub const SHORT: &str = r#"Experiment(
    name: "short",
    data: Builtin(train: 64),
    model: (resizers: ["bilinear"], backbone: "swin"),
    loss: "cross-entropy",
    optimiser: Sgd(learning_rate: 0.1),
    epochs: 1, batch: 8, seed: 1,
)
"#;

pub fn resolve(text: &str, sets: &[&str]) -> Result<Resolved, Box<ConfigError>> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load_text("configs/x.ron", text, &sets).map_err(Box::new)
}

/// The resolved config; shows the error if there is one.
pub fn good(text: &str, sets: &[&str]) -> Resolved {
    resolve(text, sets).unwrap_or_else(|error| panic!("\n{}", render_plain(&error)))
}

/// The rendered error.
pub fn bad(text: &str, sets: &[&str]) -> String {
    match resolve(text, sets) {
        Ok(resolved) => panic!("this should not resolve:\n{}", resolved.text),
        Err(error) => render_plain(&error),
    }
}

/// The error of the paper's experiment with one part of its text changed.
pub fn changed(from: &str, to: &str) -> String {
    assert_eq!(PAPER.matches(from).count(), 1, "{from:?} must be there once");
    bad(&PAPER.replace(from, to), &[])
}
