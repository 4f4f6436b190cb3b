//! A run's words, its JSON lines, and what it leaves in its folder.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{host::Host, micro::MICRO, record::Record};

fn finished(options: &str) -> (Host, Record, String) {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    let out = host.run(&format!("run micro.ron --out runs {options}")).ok();
    let record = Record::only(&host, "runs");
    (host, record, out)
}

/// Words around the numbers: rounding of a metric may differ between processors.
fn without_metrics(text: &str) -> String {
    let decimal = |w: &str| w.contains('.') && w.trim_matches(['(', ')']).parse::<f64>().is_ok();
    let line =
        |l: &str| l.split_whitespace().map(|w| if decimal(w) { "[number]" } else { w }).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n").replace(" best so far", "")
}

#[test]
fn a_run_tells_what_matters() {
    let (host, _, out) = finished("");
    let out =
        out.replace("best epoch 1 of", "best epoch [number] of").replace("best epoch 2 of", "best epoch [number] of");
    assert_snapshot!("run", without_metrics(&host.plain(&out)));
}

#[test]
fn a_dry_run_plans_and_leaves_nothing() {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    let out = host.run("run micro.ron --out runs --dry-run").ok();
    assert_snapshot!("dry_run", host.plain(&out));
    assert!(!host.path("runs").exists());
}

#[test]
fn json_is_one_object_a_line() {
    let (_host, record, out) = finished("--json");
    let lines: Vec<Value> =
        out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"))).collect();
    let kinds: Vec<&str> = lines.iter().map(|l| l["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "epoch", "epoch", "results"]);
    assert_eq!(lines[3]["results"], record.json("results.json"));
    let logged: Vec<Value> = record.lines().into_iter().filter(|l| l["kind"] == "epoch").collect();
    assert_eq!(lines[1..3], logged[..]);
}

#[test]
fn the_config_in_the_folder_is_the_experiment() {
    let (_host, record, _) = finished("--set epochs=1");
    let kept = fer_config::load(&record.file("config.ron"), &[]).unwrap();
    let given = fer_config::load_text("micro.ron", MICRO, &["epochs=1".to_owned()]).unwrap();
    assert_eq!(kept.experiment, given.experiment);
    assert_eq!(kept.text, given.text);
}

#[test]
fn the_environment_says_with_what_it_was_made() {
    let (_host, record, _) = finished("");
    let environment = record.json("environment.json");
    for key in ["fer_host", "fer_abi", "rustc", "system", "engine", "precision"] {
        assert!(environment[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {environment}");
    }
    assert_eq!((&environment["seed"], &environment["config_files"]), (&json!(1), &json!(["micro.ron"])));
    let plugins = environment["plugins"].as_array().unwrap();
    let ids: Vec<&str> = plugins.iter().map(|p| p["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["bilinear", "swin", "f-pdls"]);
    assert!(plugins.iter().all(|p| p["sha256"].as_str().unwrap().len() == 64));
}

#[test]
fn the_log_has_a_line_a_step_and_a_line_an_epoch() {
    let (_host, record, _) = finished("");
    let lines = record.lines();
    let kinds: String = lines.iter().map(|l| if l["kind"] == "step" { 's' } else { 'E' }).collect();
    assert_eq!(kinds, "ssssEssssE");
    for (i, step) in lines.iter().filter(|l| l["kind"] == "step").enumerate() {
        assert_eq!(step["global_step"], i + 1);
        assert!(["loss", "learning_rate", "gradient_norm"].iter().all(|key| step[key].is_number()), "{step}");
    }
    assert!(lines.iter().filter(|l| l["kind"] == "epoch").any(|l| l["best"] == true));
}

#[test]
fn the_results_are_whole() {
    let (_host, record, _) = finished("");
    let results = record.json("results.json");
    assert_eq!(results["data"]["name"], "Built-in faces");
    assert_eq!(results["data"]["substitute_for"], Value::Null);
    assert_eq!(results["data"]["counts"], json!({ "train": 64, "validation": 16, "test": 24 }));
    assert!((1..=2).contains(&results["best_epoch"].as_u64().unwrap()));
    assert!(results["images_per_second"].as_f64().unwrap() > 0.0);
    for (split, images) in [("validation", 16), ("test", 24)] {
        let found = &results[split];
        for key in ["loss", "accuracy", "balanced_accuracy", "macro_f1"] {
            assert!(found[key].is_number(), "{split}.{key}: {found}");
        }
        assert_eq!(found["per_class"].as_array().unwrap().len(), 8);
        let confusion = found["confusion"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
        assert_eq!(confusion.map(|n| n.as_u64().unwrap()).sum::<u64>(), images);
        let interval = &found["accuracy_interval"];
        let accuracy = found["accuracy"].as_f64().unwrap();
        assert!(interval[0].as_f64().unwrap() <= accuracy && accuracy <= interval[1].as_f64().unwrap());
    }
}

#[test]
fn faces_that_stand_in_are_announced_and_marked_everywhere() {
    let host = Host::new();
    let absent = r#"FerPlus(root: "data/ferplus", otherwise: Builtin(train: 32, validation: 8, test: 8, size: 24, epochs: 1, batch: 8))"#;
    let drawn = "Builtin(train: 64, validation: 16, test: 24, size: 24)";
    host.write("micro.ron", MICRO.replace(drawn, absent));
    let answer = host.run("run micro.ron --out runs --json");
    assert!(answer.err.starts_with("note: FERPlus root data/ferplus not found: using built-in"), "{}", answer.err);
    answer.ok();
    let record = Record::only(&host, "runs");
    for data in [&record.json("results.json")["data"], &record.json("environment.json")["data"]] {
        assert_eq!(data["name"], "Built-in faces");
        assert_eq!(data["substitute_for"], "FERPlus (data/ferplus not found)");
    }
    // Their own number of epochs and batch: 32 images in batches of 8.
    assert_eq!(record.lines().len(), 4 + 1);
    let said = host.run("run micro.ron --out other").ok();
    assert!(
        said.contains("in place of FERPlus (data/ferplus not found; not comparable with it)")
            || said.contains("in place of FERPlus (data/ferplus not found)"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_does_not_end_the_training() {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    let answer = host.shell("{ \"$HOST\" run micro.ron --out runs; echo \"code $?\" >&2; } | head -1");
    assert_eq!(answer.err, "code 0\n");
    assert!(Record::only(&host, "runs").file("results.json").is_file());
}
