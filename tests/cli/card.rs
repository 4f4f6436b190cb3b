//! On a card: the program finds it, takes it, trains on it, and survives its loss. The card is the emulator's, behind a library that
//! stands for NVIDIA's driver, NVRTC and cublasLt.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use serde_json::Value;

use crate::{
    host::{Answer, Host, PROGRAM},
    micro::MICRO,
    record::Record,
};

/// A folder on whose machine there is a card.
struct Machine(Host);

impl Machine {
    fn new() -> Machine {
        let host = Host::new();
        let beside = Path::new(PROGRAM).parent().expect("the program lies in a folder");
        let library = beside.join("libfer_cuda_emulated_driver.so");
        assert!(library.is_file(), "{} is missing: run `cargo build --workspace` first", library.display());
        fs::create_dir(host.path("lib")).expect("a folder");
        for name in ["libcuda.so.1", "libnvrtc.so.12", "libcublasLt.so.12"] {
            symlink(&library, host.path("lib").join(name)).expect("a link");
        }
        host.write("micro.ron", MICRO);
        Machine(host)
    }

    /// The program, with a driver of these settings.
    fn command(&self, settings: &str, arguments: &str) -> Command {
        let mut command = self.0.command(arguments);
        for name in ["CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV", "CONDA_PREFIX"] {
            command.env_remove(name);
        }
        let kernels = Path::new(PROGRAM).with_file_name("cuda-emulator");
        command.env("LD_LIBRARY_PATH", self.0.path("lib")).env("FER_EMULATOR_FOLDER", kernels);
        command.env("FER_EMULATED_DRIVER", settings).env("FER_CACHE", self.0.path("cache"));
        command
    }

    fn run(&self, settings: &str, arguments: &str) -> Answer {
        Answer::of(&mut self.command(settings, arguments))
    }
}

fn losses(lines: &[Value]) -> Vec<f64> {
    lines.iter().filter_map(|line| line["loss"].as_f64()).collect()
}

/// Some steps of f32, whose sums are taken in other orders: Adam makes much of small gradients, and batch norms of few images of any.
#[track_caller]
fn near(card: &[f64], processor: &[f64], steps: usize, what: &str) {
    assert!(card.len() >= steps && card.len() == processor.len(), "{what}: {card:?} and {processor:?}");
    for (a, b) in card.iter().zip(processor) {
        assert!((a - b).abs() <= 1e-3 * b.abs(), "{what}: {card:?} and {processor:?}");
    }
}

#[test]
fn a_card_is_shown_with_its_libraries() {
    let machine = Machine::new();
    let text = machine.run("cards=2,memory=4294967296", "devices").ok();
    assert!(text.contains("cuda:0") && text.contains("cuda:1") && text.contains("4.0 GiB"), "{text}");
    let shown: Value = serde_json::from_str(&machine.run("", "devices --json").ok()).expect("JSON");
    assert_eq!(shown["cuda"]["usable"], true, "{shown}");
    for part in ["nvrtc", "cublas_lt"] {
        let path = shown["cuda"][part]["path"].as_str().unwrap_or_default();
        assert!(path.starts_with(&machine.0.path("lib").display().to_string()), "{part}: {shown}");
    }
}

#[test]
fn auto_takes_the_card_and_says_so() {
    let machine = Machine::new();
    let answer = machine.run("", "run micro.ron --dry-run -v");
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    assert!(answer.err.contains("engine cuda"), "{}", answer.err);
    machine.run("", "run micro.ron --dry-run --engine cuda:1").refused(&["there is no card 1", "cuda:0"]);
    machine.run("version=11080", "run micro.ron --engine cuda").refused(&["CUDA 11.8; CUDA 12.0 or later"]);
}

/// The card's own run: near the processor's, and the same bits however lazy the driver is.
#[test]
fn a_run_on_a_card_is_near_the_processor_s_and_the_same_each_time() {
    let machine = Machine::new();
    let on_card = |seed: u64| {
        let out = format!("card{seed}");
        machine.run(&format!("seed={seed}"), &format!("run micro.ron --engine cuda --precision f32 --out {out}")).ok();
        Record::only(&machine.0, &out).outcome()
    };
    let (one, other) = (on_card(1), on_card(2));
    one.same_as(&other, "another order");
    machine.0.run("run micro.ron --engine cpu --precision f32 --out processor").ok();
    let processor = Record::only(&machine.0, "processor").outcome();
    near(&losses(&one.lines), &losses(&processor.lines), 8, "micro");
}

/// Two steps of every backbone behind learned resizers, in one arena on a card that sees every race: near the processor's.
#[test]
fn every_backbone_trains_on_a_card() {
    let machine = Machine::new();
    for backbone in [
        r#"plugin: "vit", patch_size: 8, embed_dim: 16, depth: 2, num_heads: 2"#,
        r#"plugin: "convit", patch_size: 8, embed_dim: 8, depth: 2, num_heads: 4, local_up_to_layer: 1"#,
        r#"plugin: "xcit", patch_size: 8, embed_dim: 16, depth: 1, num_heads: 2"#,
        r#"plugin: "swin", patch_size: 4, window_size: 4, embed_dim: 8, depths: [2, 1], num_heads: [1, 2], drop_path_rate: 0.2"#,
        r#"plugin: "resnet", layers: [1, 1, 1, 1], channels: [2, 4, 4, 8], block: "bottleneck""#,
    ] {
        let config = format!(
            r#"Experiment(
    name: "small",
    data: Builtin(train: 16, validation: 8, test: 8, size: 24),
    model: (resizers: [(plugin: "stn", hidden: 4), (plugin: "ltr", size: 32, channels: 4)], backbone: ({backbone})),
    loss: (plugin: "f-pdls", alpha: 0.8, gamma: 2.0),
    optimiser: AdamW(learning_rate: 1e-3),
    epochs: 1, batch: 8, seed: 3, clip: 1.0,
)
"#
        );
        machine.0.write("small.ron", config);
        let trained = |out: &str| {
            let lines = Record::only(&machine.0, out).lines();
            fs::remove_dir_all(machine.0.path(out)).expect("a folder");
            losses(&lines)
        };
        machine.run("seed=5", "run small.ron --engine cuda --precision f32 --out card").ok();
        let card = trained("card");
        machine.0.run("run small.ron --engine cpu --precision f32 --out processor").ok();
        near(&card, &trained("processor"), 2, backbone);
    }
}

/// A card that is lost within the second epoch: an error that says so, and the last checkpoint goes on to the bits of a run that was never
/// broken.
#[test]
fn a_run_whose_card_is_lost_resumes_to_the_same_bits() {
    let machine = Machine::new();
    // Four steps an epoch, and then validation: the card goes within the second epoch.
    let arguments = "run micro.ron --engine cuda --set checkpoint_every=1 --set clip=1.0 --set ema=0.9";
    machine.run("seed=1", &format!("{arguments} --out unbroken")).ok();
    let whole = Record::only(&machine.0, "unbroken").outcome();
    machine
        .run("lost_after=7,seed=2", &format!("{arguments} --out broken"))
        .refused(&["the device is lost", "the last checkpoint is kept: fer-host run --resume "]);
    let record = Record::only(&machine.0, "broken");
    assert!(record.last().is_file() && !record.file("results.json").exists());
    machine.run("seed=3", &format!("run --resume {}", record.0.display())).ok();
    record.outcome().same_as(&whole, "lost and resumed");
}

/// What does not fit says what it needs, and the batch that it offers does fit.
#[test]
fn a_batch_that_does_not_fit_is_told_with_one_that_does() {
    let machine = Machine::new();
    // What products work in takes 32 MiB of it.
    let small = "memory=37000000";
    let bench = |batch: usize| machine.run(small, &format!("bench micro.ron --engine cuda --steps 1 --batch {batch}"));
    let said = bench(4096).refused(&["a batch of 4096 needs ", "of the device's memory"]);
    let words: Vec<&str> = said.split_whitespace().collect();
    let offered = words.windows(5).find(|w| w[..3] == ["a", "batch", "of"] && w[4] == "would").map(|w| w[3].parse());
    let Some(Ok(fits)) = offered else { panic!("no batch is offered:\n{said}") };
    assert!((1..4096).contains(&fits), "{said}");
    bench(fits).ok();
}

#[test]
fn a_step_is_measured_and_taken_apart_on_a_card() {
    let machine = Machine::new();
    let measured = machine.run("", "bench micro.ron --engine cuda --precision bf16 --batch 4 --steps 2 --json").ok();
    let measured: Value = serde_json::from_str(&measured).expect("JSON");
    assert_eq!((&measured["engine"], &measured["precision"]), (&"cuda".into(), &"bf16".into()), "{measured}");
    assert!(measured["images_per_second"]["median"].as_f64() > Some(0.0), "{measured}");
    let profile = machine.run("", "profile micro.ron --engine cuda --batch 4 --steps 1").ok();
    assert!(profile.contains("scaled_dot_product_attention") && profile.contains("cuda"), "{profile}");
    // The card's own limits, not the processor's.
    assert!(
        profile.contains("at most, measured now: ") && profile.contains("FLOP/s in products of f32, "),
        "{profile}"
    );
}
