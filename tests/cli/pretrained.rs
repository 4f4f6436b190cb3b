//! Runs that start from weights: what is taken, resampled, left out and refused, and that it is told.

use std::collections::BTreeMap;

use fer_engine::{Data, Tensor};
use fer_train::{read_safetensors, write_safetensors};
use serde_json::Value;

use crate::{host::Host, hub::Server, record::Record};

type Tensors = BTreeMap<String, Tensor>;

/// timm's small models of the golden tests.
fn timm(name: &str) -> Tensors {
    let file = format!("{}/../tests/golden/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    read_safetensors(file.as_ref()).unwrap()
}

const VIT: &str = r#"plugin: "vit", patch_size: 16, embed_dim: 32, depth: 2, num_heads: 2"#;
const SWIN: &str = r#"plugin: "swin", embed_dim: 16, depths: [2, 2, 2], num_heads: [1, 2, 4]"#;

/// A folder with `weights.safetensors` and an experiment that starts from it, on images of this side.
fn host(weights: &Tensors, backbone: &str, side: usize) -> Host {
    let host = Host::new();
    write_safetensors(&host.path("weights.safetensors"), weights, &BTreeMap::new()).unwrap();
    host.write(
        "config.ron",
        format!(
            r#"Experiment(
    name: "tuned",
    data: Builtin(train: 8, validation: 8, test: 8, size: 24),
    model: (
        resizers: [(plugin: "bilinear", size: {side})],
        backbone: ({backbone}, pretrained: File("weights.safetensors")),
    ),
    loss: "cross-entropy",
    optimiser: AdamW(learning_rate: 1e-3),
    epochs: 1, batch: 4, seed: 1,
)
"#
        ),
    );
    host
}

/// What `--dry-run` says of the weights.
fn report(host: &Host, options: &str) -> Vec<String> {
    let out = host.run(&format!("run config.ron --dry-run {options}")).ok();
    let from = out.lines().skip_while(|l| !l.starts_with("weights of"));
    from.take_while(|l| !l.starts_with("plan")).map(plain).collect()
}

/// Without the twelve digits of the hash.
fn plain(line: &str) -> String {
    match (line.find("sha256 "), line.find("): ")) {
        (Some(from), Some(to)) => format!("{}...{}", &line[..from + 7], &line[to..]),
        _ => line.to_owned(),
    }
}

#[test]
fn weights_that_fit_are_loaded_whole() {
    let host = host(&timm("small_vit"), VIT, 64);
    assert_eq!(report(&host, ""), ["weights of model.backbone: weights.safetensors (sha256 ...): 32 loaded"]);
}

/// A model with pretrained weights computes what it computes when they are handed to it.
#[test]
fn the_model_starts_from_them() {
    let weights = timm("small_vit");
    let host = host(&weights, VIT, 64);
    let images = Tensor::f32([2, 3, 64, 64], (0..2 * 3 * 64 * 64).map(|i| (i as f32 * 0.37).sin()).collect());
    write_safetensors(&host.path("in.safetensors"), &Tensors::from([("images".into(), images)]), &BTreeMap::new())
        .unwrap();
    let trace = |options: &str| {
        host.run(&format!("trace config.ron --inputs in.safetensors --out out.safetensors {options}")).ok();
        read_safetensors(&host.path("out.safetensors")).unwrap()["logits"].clone()
    };
    let bare = "--set model.backbone.pretrained=None";
    assert_eq!(trace(""), trace(&format!("--weights weights.safetensors {bare}")));
    assert_ne!(trace(""), trace(bare));
}

#[test]
fn another_image_size_resamples_the_tables() {
    let host = host(&timm("small_vit"), VIT, 96);
    assert_eq!(
        report(&host, ""),
        [
            "weights of model.backbone: weights.safetensors (sha256 ...): 31 loaded",
            "  resized: 1 (backbone.pos_embed [1, 17, 32] -> [1, 37, 32])"
        ]
    );
    let host = self::host(&timm("small_swin"), &format!("{SWIN}, window_size: 4"), 64);
    let lines = report(&host, "");
    assert_eq!(lines[0], "weights of model.backbone: weights.safetensors (sha256 ...): 86 loaded");
    assert!(lines[1].starts_with(
        "  resized: 6 (backbone.layers.0.blocks.0.attn.relative_position_bias_table [169, 1] -> [49, 1], "
    ));
}

/// ImageNet's classifier is of no use for eight expressions; everything else is.
#[test]
fn a_classifier_for_other_classes_starts_anew() {
    let mut weights = timm("small_vit");
    weights.insert("head.weight".into(), Tensor::f32([1000, 32], vec![0.5; 32_000]));
    weights.insert("head.bias".into(), Tensor::f32([1000], vec![0.5; 1000]));
    let host = host(&weights, VIT, 64);
    let expected = [
        "weights of model.backbone: weights.safetensors (sha256 ...): 30 loaded",
        "  started anew: 2 (head.bias, head.weight)",
        "  ignored: 2 (head.bias, head.weight)",
    ];
    assert_eq!(report(&host, ""), expected);
    // Another head altogether.
    let lines = report(&host, "--set model.head=Mlp(hidden:16)");
    assert_eq!(lines[0], "weights of model.backbone: weights.safetensors (sha256 ...): 30 loaded");
    assert!(lines[1].starts_with("  started anew: 8 (head.0.bias, head.0.weight, head.1.bias, "), "{lines:?}");
    // And none in the file.
    weights.retain(|name, _| !name.starts_with("head"));
    let host = self::host(&weights, VIT, 64);
    assert_eq!(report(&host, "")[..2], expected[..2]);
}

#[test]
fn both_heads_of_a_distilled_model_are_known() {
    let weights = timm("small_deit_distilled");
    let deit = VIT.replace("vit", "deit");
    let host = host(&weights, &format!("{deit}, distilled: true"), 64);
    assert_eq!(report(&host, ""), ["weights of model.backbone: weights.safetensors (sha256 ...): 35 loaded"]);
    let plain = self::host(&weights, &deit, 64);
    // Two tokens are not one: the table cannot be split by itself, and the token has no place.
    plain.run("run config.ron --dry-run").refused(&[
        "the weights do not fit backbone \"deit\"",
        "not in the model: 1 (dist_token)",
        "other shapes: 1 (backbone.pos_embed: model [1, 17, 32], file [1, 18, 32])",
    ]);
}

/// Microsoft's checkpoints, and timm's before 0.9.
#[test]
fn the_old_layout_of_swin_is_known() {
    let mut old = Tensors::new();
    for (name, tensor) in timm("small_swin") {
        let name = name.replace("head.fc.", "head.");
        let name = name.replace("layers.1.downsample", "layers.0.downsample");
        let name = name.replace("layers.2.downsample", "layers.1.downsample");
        old.insert(name, tensor);
    }
    let index = "layers.0.blocks.0.attn.relative_position_index";
    old.insert(index.into(), Tensor::new([49, 49], Data::I32(vec![0; 49 * 49])));
    let host = host(&old, SWIN, 112);
    let lines = report(&host, "");
    assert!(lines[0].contains("): 92 loaded, as ") && lines[0].ends_with(" spells them"), "{lines:?}");
    assert_eq!(lines[1..], [format!("  ignored: 1 ({index})")]);
    // And they are the same weights.
    let theirs = timm("small_swin.io");
    let inputs = Tensors::from([("images".into(), theirs["input"].clone())]);
    write_safetensors(&host.path("in.safetensors"), &inputs, &BTreeMap::new()).unwrap();
    host.run("trace config.ron --inputs in.safetensors --out out.safetensors --set model.resizers=[]").ok();
    let ours = read_safetensors(&host.path("out.safetensors")).unwrap();
    for (a, b) in ours["logits"].to_f64().iter().zip(theirs["f64.logits"].to_f64()) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }
}

#[test]
fn what_does_not_fit_is_refused_unless_the_config_allows_it() {
    let mut weights = timm("small_vit");
    weights.retain(|name, _| !name.starts_with("blocks.1.mlp"));
    weights.insert("extra.weight".into(), Tensor::f32([1], vec![0.0]));
    weights.insert("norm.weight".into(), Tensor::f32([31], vec![1.0; 31]));
    let host = host(&weights, VIT, 64);
    insta::assert_snapshot!(host.plain(&host.run("run config.ron").refused(&[])));
    assert!(!host.path("runs").exists(), "nothing is written for a run that cannot start");
    let ignore = r#"--set model.backbone.pretrained_ignore=["blocks.1.mlp.*","extra.*","norm.weight"]"#;
    assert_eq!(
        report(&host, ignore),
        [
            "weights of model.backbone: weights.safetensors (sha256 ...): 27 loaded",
            "  missing, drawn from the seed: 5 (backbone.blocks.1.mlp.fc1.weight, backbone.blocks.1.mlp.fc1.bias, \
             backbone.blocks.1.mlp.fc2.weight, backbone.blocks.1.mlp.fc2.bias, ...)",
            "  ignored: 2 (extra.weight, norm.weight)"
        ]
    );
    host.run("run config.ron --set model.backbone.pretrained_ignore=[\"[\"]").refused(&["\"[\" is no pattern"]);
    host.run("run config.ron --set model.backbone.pretrained=None --set model.backbone.pretrained_ignore=[\"a\"]")
        .refused(&["means nothing without `pretrained`"]);
    host.run("run config.ron --set model.resizers.0.pretrained=File(\"weights.safetensors\")")
        .refused(&["resizer \"bilinear\" has no parameters to load"]);
}

/// A run keeps what it began with, and its own weights can be begun with.
#[test]
fn a_run_keeps_the_record_and_can_be_built_upon() {
    let host = host(&timm("small_vit"), VIT, 64);
    let out = host.run("run config.ron --json").ok();
    let line = out.lines().find(|l| l.contains("\"pretrained\"")).expect("a line about the weights");
    let line: Value = serde_json::from_str(line).unwrap();
    let run = Record::only(&host, "runs").0;
    let environment: Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("environment.json")).unwrap()).unwrap();
    let record = &environment["pretrained"][0];
    assert_eq!(record, &line["components"][0]);
    assert_eq!((&record["path"], &record["source"]), (&"model.backbone".into(), &"weights.safetensors".into()));
    assert_eq!(record["loaded"].as_array().unwrap().len(), 32);
    assert_eq!(record["sha256"].as_str().unwrap().len(), 64);

    std::fs::copy(run.join("checkpoints/best.safetensors"), host.path("own.safetensors")).unwrap();
    let lines = report(&host, "--set model.backbone.pretrained=File(\"own.safetensors\")");
    assert_eq!(lines[0], "weights of model.backbone: own.safetensors (sha256 ...): 32 loaded");
    assert!(lines[1].starts_with("  ignored: 64 (optimiser."), "{lines:?}");
}

/// Before its first checkpoint a run has nothing but its config: resumed, it must begin with the same file.
#[test]
fn a_run_that_had_no_checkpoint_yet_begins_with_the_same_weights() {
    let host = host(&timm("small_vit"), VIT, 64);
    host.run("run config.ron --out whole").ok();
    let whole = Record::only(&host, "whole").0;
    let kept = std::fs::read(whole.join("checkpoints/best.safetensors")).unwrap();
    let resume = format!("run --resume {}", whole.display());
    for file in ["results.json", "checkpoints/best.safetensors", "checkpoints/last.safetensors"] {
        std::fs::remove_file(whole.join(file)).unwrap();
    }
    host.run(&resume).ok();
    assert!(
        std::fs::read(whole.join("checkpoints/best.safetensors")).unwrap() == kept,
        "other bits than the first time"
    );

    for file in ["results.json", "checkpoints/best.safetensors", "checkpoints/last.safetensors"] {
        std::fs::remove_file(whole.join(file)).unwrap();
    }
    let mut other = timm("small_vit");
    other.insert("norm.bias".into(), Tensor::f32([32], vec![0.25; 32]));
    write_safetensors(&host.path("weights.safetensors"), &other, &BTreeMap::new()).unwrap();
    host.run(&resume).refused(&["the weights of model.backbone have changed since the run began", "then: ", "now:  "]);
}

/// By a name on the hub: a dry run fetches nothing, a run fetches once, and then no network is needed.
#[test]
fn a_name_on_the_hub_is_fetched_once() {
    let host = host(&timm("small_vit"), VIT, 64);
    let server = Server::start();
    server.file("timm/small_vit", "model.safetensors", &std::fs::read(host.path("weights.safetensors")).unwrap());
    let card = br#"{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}"#;
    server.file("timm/small_vit", "config.json", card);
    let named = "run config.ron --set model.backbone.pretrained=Hub(\"timm/small_vit\")";

    let planned = host.run_with_hub(&server.endpoint, &format!("{named} --dry-run"));
    assert!(
        planned
            .err
            .contains("model.backbone.pretrained: timm/small_vit is not on this machine yet; a run will fetch it")
    );
    assert_eq!(server.asked().len(), 0, "a dry run fetches nothing");

    let answer = host.run_with_hub(&server.endpoint, named);
    assert!(
        answer.err.contains("trained on images of mean (0.5, 0.5, 0.5) and deviation (0.25, 0.25, 0.25)"),
        "{answer:?}"
    );
    let out = answer.ok();
    let line = out.lines().find(|l| l.starts_with("weights of")).unwrap_or_else(|| panic!("no report in {out}"));
    assert!(line.starts_with("weights of model.backbone: timm/small_vit@"), "{line}");
    assert!(line.ends_with("): 32 loaded"), "{line}");

    let asked = server.asked().len();
    let again = host.run_with_hub("http://127.0.0.1:1", named).ok();
    assert!(again.contains(line), "{again}");
    assert_eq!(server.asked().len(), asked, "what is in the cache is not asked for");
}
