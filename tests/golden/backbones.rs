//! timm's own classes, reduced: logits, loss and gradients of every backbone in evaluation mode, and how its parameters train.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    DOUBLE, HALF, HALF_GRADIENTS, IN_F32, PARAMETERS, SINGLE, VALUES,
    host::Host,
    traced::{Near, Tensors, Trace, apart, golden},
};

/// A model of `data/`, as a config names it.
struct Model {
    name: &'static str,
    side: usize,
    backbone: &'static str,
    /// Trained parameters.
    parameters: usize,
    /// How near float64 is to float64.
    double: f64,
}

impl Model {
    fn experiment(&self) -> String {
        format!(
            r#"images: (size: {}, channels: 3), model: (backbone: ({})), loss: "cross-entropy""#,
            self.side, self.backbone
        )
    }

    fn answers(&self, theirs: &Tensors, options: &str) -> Tensors {
        let inputs = [("images", &theirs["input"]), ("labels", &theirs["labels"])];
        Trace { experiment: &self.experiment(), weights: Some(self.name), inputs: &inputs, options }.answers()
    }

    /// f64 against float32 and float64, and every parameter's gradient in norm and signed sum (whole gradients of all of them
    /// would fill megabytes; these two hold every entry too).
    fn in_f64(&self) {
        let theirs = golden(&format!("{}.io", self.name));
        let ours = self.answers(&theirs, "--grad --mode eval --values logits*");
        let mut near = Near::default();
        near.check("logits", &ours["logits"], &theirs["logits"], VALUES);
        near.check("loss", &ours["loss"], &theirs["loss"], VALUES);
        near.check("logits in float64", &ours["logits"], &theirs["f64.logits"], self.double);
        near.check("loss in float64", &ours["loss"], &theirs["f64.loss"], self.double);
        for head in ["logits_cls", "logits_dist"].into_iter().filter(|head| theirs.contains_key(*head)) {
            near.check(head, &ours[head], &theirs[head], VALUES);
        }
        near.gradients(&ours, &theirs, "grad.", VALUES, PARAMETERS);
        for (name, stat) in &theirs {
            let Some(name) = name.strip_prefix("gradstat.") else { continue };
            let gradient = ours[&format!("grad/{name}")].to_f64();
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let signed: f64 = gradient.iter().enumerate().map(|(i, g)| g * (i as f64).cos()).sum();
            let stat = stat.to_f64();
            // The sum may cancel; it is of the norm's size. Below 1e-9 there is only rounding: the bias of keys, which softmax does
            // not see, has no gradient at all.
            let size = stat[0].max(1e-9);
            near.bound(&format!("{name}: norm"), (norm - stat[0]).abs() / size, self.double);
            near.bound(&format!("{name}: signed sum"), (signed - stat[1]).abs() / size, self.double);
        }
        near.done(2 * self.parameters + 7);
    }

    fn in_f32(&self) {
        let theirs = golden(&format!("{}.io", self.name));
        for engine in IN_F32 {
            let ours = self.answers(&theirs, &format!("--grad --mode eval --precision f32 {engine}"));
            let mut near = Near::default();
            near.check("logits", &ours["logits"], &theirs["logits"], SINGLE);
            near.check("loss", &ours["loss"], &theirs["loss"], SINGLE);
            near.gradients(&ours, &theirs, "grad.", SINGLE, SINGLE);
            near.done(5);
        }
    }

    fn in_bf16(&self) {
        let theirs = golden(&format!("{}.io", self.name));
        let ours = self.answers(&theirs, "--grad --mode eval --engine cpu --precision bf16");
        let mut near = Near::default();
        near.check("logits", &ours["logits"], &theirs["logits"], HALF);
        near.check("loss", &ours["loss"], &theirs["loss"], HALF);
        near.gradients(&ours, &theirs, "grad.", HALF_GRADIENTS, HALF_GRADIENTS);
        near.done(5);
        // Something was rounded.
        assert!(apart(&ours["logits"], &theirs["logits"]) > SINGLE / 10.0, "bf16 is as near as f32");
    }

    /// timm's fine-tuning: layers decay, and what it exempts from weight decay is exempt here.
    fn groups(&self) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/data/groups.json");
        let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let theirs = all[self.name].as_object().unwrap();
        let host = Host::new();
        host.write(
            "experiment.ron",
            format!(
                "Experiment(name: \"groups\", data: Builtin(), {}, layer_decay: 0.75,
                    optimiser: AdamW(learning_rate: 1e-3, weight_decay: 0.05), epochs: 1, batch: 2, seed: 1)",
                self.experiment()
            ),
        );
        let out = host.run("graph experiment.ron --parameters --format json").ok();
        let ours: Value = serde_json::from_str(&out).unwrap();
        let ours: BTreeMap<&str, &Value> =
            ours.as_array().unwrap().iter().map(|p| (p["name"].as_str().unwrap(), p)).collect();
        let mut odd = vec![];
        for (name, expected) in theirs {
            let names =
                [format!("backbone.{name}"), name.clone(), name.replace("head.fc.", "head.").replace("fc.", "head.")];
            let found = names.iter().find_map(|n| ours.get(n.as_str())).unwrap_or_else(|| panic!("no {name}"));
            let (scale, decay) = (expected[0].as_f64().unwrap(), expected[1].as_f64().unwrap());
            let (our_scale, our_decay) =
                (found["learning_rate_scale"].as_f64().unwrap(), found["weight_decay"].as_f64().unwrap());
            if (scale - our_scale).abs() > 1e-12 || decay != our_decay {
                odd.push(format!("{name}: x {our_scale}, decay {our_decay}; timm x {scale}, decay {decay}"));
            }
        }
        assert_eq!(theirs.len(), self.parameters);
        assert!(odd.is_empty(), "{}:\n  {}", self.name, odd.join("\n  "));
    }
}

/// timm computes the sines of XCiT's positions in float32 even where the model is in float64, and two libraries' float32 sines differ
/// in the last bit (6e-8), which is what gradients then differ by.
const SINES: f64 = 2e-7;

macro_rules! models {
    ($($name:ident: $side:literal, $parameters:literal, $double:ident, $backbone:literal;)*) => {
        $(mod $name {
            use super::*;

            const MODEL: Model = Model {
                name: stringify!($name),
                side: $side,
                backbone: $backbone,
                parameters: $parameters,
                double: $double,
            };

            #[test]
            fn f64_is_timms() {
                MODEL.in_f64();
            }

            #[test]
            fn f32_is_near() {
                MODEL.in_f32();
            }

            #[test]
            fn bf16_is_not_far() {
                MODEL.in_bf16();
            }

            #[test]
            fn parameters_train_as_in_timm() {
                MODEL.groups();
            }
        })*
    };
}

models! {
    small_swin: 112, 92, DOUBLE, r#"plugin: "swin", embed_dim: 16, depths: [2, 2, 2], num_heads: [1, 2, 4]"#;
    small_vit: 64, 32, DOUBLE, r#"plugin: "vit", patch_size: 16, embed_dim: 32, depth: 2, num_heads: 2"#;
    small_vit_avg: 64, 20, DOUBLE, r#"plugin: "vit", patch_size: 16, embed_dim: 16, depth: 1, num_heads: 2, global_pool: "avg""#;
    small_deit_distilled: 64, 35, DOUBLE, r#"plugin: "deit", distilled: true, patch_size: 16, embed_dim: 32, depth: 2, num_heads: 2"#;
    small_convit: 64, 49, DOUBLE, r#"plugin: "convit", patch_size: 16, embed_dim: 8, depth: 3, num_heads: 4, local_up_to_layer: 2"#;
    small_xcit: 64, 103, SINES, r#"plugin: "xcit", patch_size: 16, embed_dim: 32, depth: 2, num_heads: 4, eta: 1.0, tokens_norm: false"#;
    small_xcit_tokens_norm: 64, 103, SINES, r#"plugin: "xcit", patch_size: 16, embed_dim: 32, depth: 2, num_heads: 4, eta: 1.0, tokens_norm: true"#;
    small_resnet: 48, 47, DOUBLE, r#"plugin: "resnet", layers: [1, 2, 1, 1], channels: [4, 8, 8, 16], block: "basic""#;
    small_resnet_bottleneck: 48, 53, DOUBLE, r#"plugin: "resnet", layers: [1, 1, 1, 1], channels: [2, 4, 4, 8], block: "bottleneck""#;
}
