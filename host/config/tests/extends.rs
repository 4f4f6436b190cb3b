//! Files over files: what merges, what replaces, and what goes wrong.

mod common;

use std::fs;
use std::path::Path;

use common::SHORT;
use fer_config::{OptionValue, Resolved, load, render_plain};
use fer_train::spec::Optimiser;
use insta::assert_snapshot;

/// Writes files into a folder and loads the first; gives the error with the folder's name taken out.
fn load_files(files: &[(&str, &str)]) -> Result<Resolved, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let shown =
        |error: fer_config::ConfigError| render_plain(&error).replace(&format!("{}/", folder.path().display()), "");
    load(&folder.path().join(files[0].0), &[]).map_err(shown)
}

fn over_short(text: &str) -> Resolved {
    load_files(&[("x.ron", text), ("base/short.ron", SHORT)]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn keys_merge_and_lists_replace() {
    let resolved = over_short(
        r#"(
            extends: "base/short.ron",
            name: "long",
            model: (resizers: [(plugin: "sr", scale: 8), "bilinear"]),
            optimiser: Sgd(momentum: 0.9),
        )"#,
    );
    let experiment = &resolved.experiment;
    assert_eq!(experiment.name, "long");
    assert_eq!(experiment.model.resizers.len(), 2);
    assert_eq!(experiment.model.backbone.plugin, "swin");
    assert!(matches!(experiment.optimiser, Optimiser::Sgd { learning_rate: 0.1, momentum: 0.9, .. }));
    let files: Vec<_> = resolved.files().filter_map(Path::file_name).collect();
    assert_eq!(files, ["x.ron", "short.ron"]);
}

#[test]
fn another_variant_replaces() {
    let experiment =
        over_short(r#"(extends: "base/short.ron", optimiser: AdamW(learning_rate: 1e-3), data: Builtin(test: 9))"#)
            .experiment;
    assert!(matches!(experiment.optimiser, Optimiser::AdamW { learning_rate: 1e-3, weight_decay: 0.01, .. }));
    assert!(matches!(experiment.data, fer_data::spec::DataSpec::Builtin(spec) if spec.train == 64 && spec.test == 9));
}

#[test]
fn an_unnamed_group_changes_a_variant() {
    let experiment = over_short(r#"(extends: "base/short.ron", optimiser: (learning_rate: 0.5))"#).experiment;
    assert!(matches!(experiment.optimiser, Optimiser::Sgd { learning_rate: 0.5, .. }));
}

#[test]
fn another_plugin_replaces_and_the_same_merges() {
    let base = SHORT.replace("loss: \"cross-entropy\"", "loss: (plugin: \"f-pdls\", alpha: 0.5, gamma: 1.0)");
    let loss = |text: &str| load_files(&[("x.ron", text), ("base.ron", &base)]).unwrap().experiment.loss;
    let same = loss(r#"(extends: "base.ron", loss: (plugin: "f-pdls", gamma: 2.0))"#);
    assert_eq!(same.option("alpha"), Some(&OptionValue::Float(0.5)));
    assert_eq!(same.option("gamma"), Some(&OptionValue::Float(2.0)));
    let unsaid = loss(r#"(extends: "base.ron", loss: (gamma: 2.0))"#);
    assert_eq!(same, unsaid);
    let other = loss(r#"(extends: "base.ron", loss: (plugin: "pdls", alpha: 0.1))"#);
    assert_eq!(other.options, [("alpha".to_owned(), OptionValue::Float(0.1))]);
    assert!(loss(r#"(extends: "base.ron", loss: "pdls")"#).options.is_empty());
}

#[test]
fn several_bases_in_order() {
    let files =
        [("x.ron", "(extends: [\"a.ron\", \"b.ron\"], seed: 3)"), ("a.ron", SHORT), ("b.ron", "(epochs: 7, seed: 2)")];
    let experiment = load_files(&files).unwrap().experiment;
    assert_eq!((experiment.epochs, experiment.seed, experiment.batch), (7, 3, 8));
}

#[test]
fn a_circle() {
    let files = [
        ("a.ron", "(\n    extends: \"sub/b.ron\",\n)"),
        ("sub/b.ron", "(\n    extends: \"../c.ron\",\n)"),
        ("c.ron", "(\n    extends: \"a.ron\",\n)"),
    ];
    assert_snapshot!(load_files(&files).unwrap_err(), @r#"
    error: configs extend each other in a circle
        c.ron:2:14
      2 |     extends: "a.ron",
        |              ^^^^^^^ asked for here
        chain: a.ron -> sub/b.ron -> c.ron -> a.ron
    "#);
}

#[test]
fn files_that_are_not_there() {
    let files = [("x.ron", "(\n    extends: \"base/comon.ron\",\n)"), ("base/common.ron", SHORT)];
    assert_snapshot!(load_files(&files).unwrap_err(), @r#"
    error: there is no file base/comon.ron
        x.ron:2:14
      2 |     extends: "base/comon.ron",
        |              ^^^^^^^^^^^^^^^^ asked for here
    help: did you mean base/common.ron?
    "#);
    let files = [("x.ron", "(extends: \"y.ron\")"), ("y.ron", "(extends: [\"nowhere/z.ron\"])")];
    assert_snapshot!(load_files(&files).unwrap_err(), @r#"
    error: there is no file nowhere/z.ron
        y.ron:1:12
      1 | (extends: ["nowhere/z.ron"])
        |            ^^^^^^^^^^^^^^^ asked for here
        chain: x.ron -> y.ron -> nowhere/z.ron
    help: there is no folder nowhere either
    "#);
    assert_snapshot!(render_plain(&load(Path::new("no/such.ron"), &[]).unwrap_err()), @r#"
    error: there is no file no/such.ron
    help: there is no folder no either
    "#);
    assert_snapshot!(load_files(&[("x.ron", "(extends: 3)")]).unwrap_err(), @r#"
    error: `extends` must be a file's name in quotes or a list of them, found the number 3
        x.ron:1:11
      1 | (extends: 3)
        |           ^ found here
    help: write for example `extends: "base/common.ron"`
    "#);
}

#[test]
fn too_many_files() {
    // Each file extends the next one twice: 2^20 files to a reader that does not count.
    let twice = |next: char| format!("(extends: [\"{next}.ron\", \"{next}.ron\"])");
    let mut files: Vec<(String, String)> =
        ('a'..'t').zip('b'..='t').map(|(a, b)| (format!("{a}.ron"), twice(b))).collect();
    files.push(("t.ron".into(), "()".into()));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert!(load_files(&files).unwrap_err().contains("more than 64 files"));
}

#[test]
fn errors_point_into_the_base() {
    let files = [("x.ron", "(extends: \"a.ron\", epochs: 2)"), ("a.ron", &SHORT.replace("batch: 8", "batch: 0"))];
    assert_snapshot!(load_files(&files).unwrap_err(), @r#"
    error: `batch` must be at least 1, found 0
        a.ron:7:23
      7 |     epochs: 1, batch: 0, seed: 1,
        |                       ^ found here
    "#);
    let files = [("x.ron", "(\n    extends: \"a.ron\",\n    loss: (alpha: 2),\n)"), ("a.ron", "(name: \"x\")")];
    assert_snapshot!(load_files(&files).unwrap_err(), @r#"
    error: `loss` has no `plugin`
        x.ron:3:11
      3 |     loss: (alpha: 2),
        |           ^^^^^^^^^^ `plugin` is missing here
    help: write for example `plugin: "cross-entropy"`
    "#);
}

#[test]
fn a_file_that_is_not_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ron");
    fs::write(&path, b"(name: \"\xff\")").unwrap();
    assert!(load(&path, &[]).unwrap_err().message().ends_with("is not UTF-8 text (byte 8)"));
}
