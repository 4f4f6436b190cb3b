//! Asks `fer-host trace` and compares its answers.

use std::{collections::BTreeMap, path::Path};

use fer_engine::Tensor;
use fer_train::{read_safetensors, write_safetensors};

use crate::host::Host;

pub type Tensors = BTreeMap<String, Tensor>;

/// A file of `tests/golden/data`.
pub fn golden(name: &str) -> Tensors {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/data").join(format!("{name}.safetensors"));
    read_safetensors(&file).unwrap()
}

/// A question to `fer-host trace`: a model, and what it is given.
pub struct Trace<'t> {
    /// The experiment's `images`, `model` and `loss`, as RON.
    pub experiment: &'t str,
    /// The file of `tests/golden/data` that holds the weights.
    pub weights: Option<&'t str>,
    /// Inputs by the names that the trace knows.
    pub inputs: &'t [(&'t str, &'t Tensor)],
    /// Further options.
    pub options: &'t str,
}

impl Trace<'_> {
    pub fn answers(&self) -> Tensors {
        let host = Host::new();
        host.write(
            "experiment.ron",
            format!(
                "Experiment(name: \"golden\", data: Builtin(), {}, optimiser: Adam(learning_rate: 1e-4), epochs: 1, batch: 2, seed: 1)",
                self.experiment
            ),
        );
        let inputs = self.inputs.iter().map(|&(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        write_safetensors(&host.path("inputs.safetensors"), &inputs, &BTreeMap::new()).unwrap();
        let mut arguments =
            format!("trace experiment.ron --inputs inputs.safetensors --out out.safetensors {}", self.options);
        if let Some(name) = self.weights {
            write_safetensors(&host.path("weights.safetensors"), &golden(name), &BTreeMap::new()).unwrap();
            arguments += " --weights weights.safetensors";
        }
        host.run(&arguments).ok();
        read_safetensors(&host.path("out.safetensors")).unwrap()
    }
}

/// The largest difference of two tensors over the largest entry of the second.
#[track_caller]
pub fn apart(ours: &Tensor, theirs: &Tensor) -> f64 {
    let (ours, theirs) = (ours.to_f64(), theirs.to_f64());
    assert_eq!(ours.len(), theirs.len(), "other sizes");
    let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    difference / largest(&theirs).max(f64::MIN_POSITIVE)
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().map(|v| v.abs()).fold(0.0, f64::max)
}

/// Answers that must be near, each under its own bound; all that are not are told at once.
#[derive(Default)]
pub struct Near {
    far: Vec<String>,
    compared: usize,
}

impl Near {
    #[track_caller]
    pub fn check(&mut self, name: &str, ours: &Tensor, theirs: &Tensor, bound: f64) {
        self.bound(name, apart(ours, theirs), bound);
    }

    /// As [`Near::check`], for a difference that was measured elsewhere.
    pub fn bound(&mut self, name: &str, distance: f64, bound: f64) {
        self.compared += 1;
        if std::env::var_os("GOLDEN_PRINT").is_some() {
            println!("{name}: {distance:.1e} (bound {bound:.0e})");
        }
        if distance.is_nan() || distance > bound {
            self.far.push(format!("{name}: {distance:.2e}, allowed {bound:.0e}"));
        }
    }

    /// Every gradient of `theirs` below `prefix` against `grad/<name>` of `ours`.
    #[track_caller]
    pub fn gradients(&mut self, ours: &Tensors, theirs: &Tensors, prefix: &str, inputs: f64, parameters: f64) {
        for (name, gradient) in theirs {
            let Some(name) = name.strip_prefix(prefix) else { continue };
            match name {
                "input" => self.check("grad/images", &ours["grad/images"], gradient, inputs),
                _ => self.check(&format!("grad/{name}"), &ours[&format!("grad/{name}")], gradient, parameters),
            }
        }
    }

    /// `least`: so many comparisons there must have been.
    #[track_caller]
    pub fn done(self, least: usize) {
        assert!(self.compared >= least, "only {} of {least} comparisons were made", self.compared);
        assert!(self.far.is_empty(), "not near enough:\n  {}", self.far.join("\n  "));
    }
}
