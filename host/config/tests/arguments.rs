//! `--set` and `--data`.

mod common;

use std::fs;

use common::{PAPER, SHORT, bad, good};
use fer_config::{OptionValue, render_plain};
use fer_data::spec::{DataSpec, VoteSource};
use insta::assert_snapshot;

#[test]
fn values_are_set_by_path() {
    let sets = [
        "model.backbone.variant=\"base\"",
        "model.resizers.0.scale = 4",
        "optimiser.learning_rate=1e-3",
        "optimiser.betas=(0.8, 0.9)",
        "early_stopping.patience=5",
        "images.size=96",
        "data.otherwise.epochs=3",
        "clip=1",
    ];
    let experiment = good(PAPER, &sets).experiment;
    assert_eq!(experiment.model.backbone.option("variant"), Some(&OptionValue::Str("base".into())));
    assert_eq!(experiment.model.resizers[0].option("scale"), Some(&OptionValue::Int(4)));
    assert_eq!(experiment.images.size, Some(96));
    assert_eq!(experiment.clip, Some(1.0));
    assert_eq!(experiment.early_stopping.map(|stop| stop.patience), Some(5));
}

#[test]
fn options_is_an_alias() {
    let alias = good(PAPER, &["model.backbone.options.variant=\"base\"", "loss.options=(gamma: 1.0)"]).experiment;
    assert_eq!(alias, good(PAPER, &["model.backbone.variant=\"base\"", "loss.gamma=1.0"]).experiment);
    assert_eq!(alias.loss.option("alpha"), Some(&OptionValue::Float(0.8)));
}

#[test]
fn another_plugin_leaves_the_options_of_the_first() {
    let experiment = good(PAPER, &["loss.plugin=\"cross-entropy\"", "model.resizers.0=\"bilinear\""]).experiment;
    assert!(experiment.loss.options.is_empty());
    assert_eq!(experiment.model.resizers[0].plugin, "bilinear");
    assert_eq!(good(PAPER, &["loss.plugin=\"f-pdls\""]).experiment.loss.options.len(), 2);
}

#[test]
fn unknown_paths() {
    assert_snapshot!(bad(PAPER, &["epoch=3"]), @r#"
    error: the experiment has no key called `epoch`
        on the command line
        | --set epoch=3
        |       ^^^^^ unknown key
    help: did you mean `epochs`?
    "#);
    assert_snapshot!(bad(PAPER, &["modle.backbone.variant=\"base\""]), @r#"
    error: the experiment has no key called `modle`
        on the command line
        | --set modle.backbone.variant="base"
        |       ^^^^^ unknown key
    help: did you mean `model`?
    "#);
    assert_snapshot!(bad(PAPER, &["optimiser.learningrate=1e-3"]), @r#"
    error: `Adam` has no key called `learningrate`
        on the command line
        | --set optimiser.learningrate=1e-3
        |                 ^^^^^^^^^^^^ unknown key
    help: did you mean `learning_rate`? Keys here: learning_rate, betas, eps, weight_decay
    "#);
    assert_snapshot!(bad(PAPER, &["backbone.variant=\"base\""]), @r#"
    error: the experiment has no key called `backbone`
        on the command line
        | --set backbone.variant="base"
        |       ^^^^^^^^ unknown key
    help: did you mean `model.backbone`?
    "#);
    assert_snapshot!(bad(PAPER, &["model.resizers.2.scale=4"]), @r#"
    error: `model.resizers` holds 2 items, 0 to 1: there is no `2`
        on the command line
        | --set model.resizers.2.scale=4
        |                      ^ not there
    help: set the whole list: --set 'model.resizers=[...]'
    "#);
    assert_snapshot!(bad(PAPER, &["epochs.max=4"]), @r#"
    error: `epochs` is the number 100: it has nothing called `max`
        on the command line
        | --set epochs.max=4
        |              ^^^ not there
    "#);
    assert_snapshot!(bad(PAPER, &["model..head=Linear"]), @r#"
    error: a path has an empty step
        on the command line
        | --set model..head=Linear
        |             ^ here
    help: write for example --set model.backbone.variant='"base"'
    "#);
    assert_snapshot!(bad(PAPER, &["extends=\"x.ron\""]), @r#"
    error: `extends` belongs in a file
        on the command line
        | --set extends="x.ron"
        |       ^^^^^^^ not to be set
    "#);
}

#[test]
fn bad_values() {
    assert_snapshot!(bad(PAPER, &["model.backbone.variant=base"]), @r#"
    error: `model.backbone.variant` must be true or false, a number, text in quotes, or a list of these, found the bare word `base`
        on the command line
        | --set model.backbone.variant=base
        |                              ^^^^ found here
    help: text stands in quotes, and the shell takes one pair away: --set 'model.backbone.variant="base"'
    "#);
    assert_snapshot!(bad(PAPER, &["data.root=data/ferplus"]), @r#"
    error: expected the end of the argument, found `/`
        on the command line
        | --set data.root=data/ferplus
        |                     ^ found here
    help: text stands in quotes, and the shell takes one pair away: --set 'data.root="data/ferplus"'
    "#);
    assert_snapshot!(bad(PAPER, &["name=my-run"]), @r#"
    error: expected the end of the argument, found `-`
        on the command line
        | --set name=my-run
        |              ^ found here
    help: text stands in quotes, and the shell takes one pair away: --set 'name="my-run"'
    "#);
    assert_snapshot!(bad(PAPER, &["data.root=/data/x y"]), @r#"
    error: expected a value, found `/`
        on the command line
        | --set data.root=/data/x y
        |                 ^ found here
    help: text stands in quotes, and the shell takes one pair away: --set 'data.root="/data/x y"'
    "#);
    assert_snapshot!(bad(PAPER, &["epochs"]), @r#"
    error: `--set epochs` gives no value
        on the command line
        | --set epochs
        |       ^^^^^^ expected path=value
    help: write for example --set epochs=50
    "#);
    assert_snapshot!(bad(PAPER, &["epochs="]), @r#"
    error: expected a value, found the end of the argument
        on the command line
        | --set epochs=
        |              ^ found here
    help: write for example --set 'epochs="text"', epochs=1 or epochs=None
    "#);
    assert_snapshot!(bad(PAPER, &["epochs=0"]), @r#"
    error: `epochs` must be at least 1, found 0
        on the command line
        | --set epochs=0
        |              ^ found here
    "#);
    assert_snapshot!(bad(PAPER, &["optimiser=Adam(learning_rate: 1e-3"]), @r#"
    error: the argument ends inside a `(`
        on the command line
        | --set optimiser=Adam(learning_rate: 1e-3
        |                     ^ it opens here
    help: close it with `)`
    "#);
}

#[test]
fn builtin_data_are_those_that_stand_in() {
    let resolved = good(PAPER, &[]).with_data_root("builtin").map_err(|error| render_plain(&error)).unwrap();
    let DataSpec::Builtin(builtin) = &resolved.experiment.data else { panic!("{:?}", resolved.experiment.data) };
    assert_eq!((builtin.train, builtin.epochs), (256, Some(2)));
    let row = resolved.provenance().into_iter().find(|row| row.path == "data").unwrap();
    assert_eq!((row.value.as_str(), row.origin.to_string().as_str()), ("Builtin", "--data builtin"));
}

#[test]
fn a_root_replaces_the_root() {
    let resolved = good(PAPER, &[]).with_data_root("/mnt/fer plus").map_err(|error| render_plain(&error)).unwrap();
    assert!(resolved.text.contains("data: FerPlus(\n        root: \"/mnt/fer plus\","), "{}", resolved.text);
    let row = resolved.provenance().into_iter().find(|row| row.path == "data.root").unwrap();
    assert_eq!(row.origin.to_string(), "--data /mnt/fer plus");
}

#[test]
fn a_root_instead_of_builtin_data_must_be_ferplus() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let error = good(SHORT, &[]).with_data_root(root).unwrap_err();
    assert_snapshot!(render_plain(&error).replace(root, "FOLDER"), @r#"
    error: FOLDER does not look like FERPlus, and the config names no data set
        on the command line
        | --data FOLDER
        |        ^^^^^^^^^^^^^^^ which data set is this?
        FERPlus has fer2013new.csv or data/FER2013Train
    help: name the set: --set 'data=RafDb(root: "FOLDER")' (or FerPlus, Fer2013, AffectNet, CkPlus, ImageFolder)
    "#);

    fs::write(folder.path().join("fer2013new.csv"), "").unwrap();
    let data = good(SHORT, &[]).with_data_root(root).unwrap().experiment.data;
    assert!(matches!(data, DataSpec::FerPlus { votes: VoteSource::NewCsv, .. }), "{data:?}");

    fs::create_dir_all(folder.path().join("data/FER2013Train")).unwrap();
    let data = good(SHORT, &[]).with_data_root(root).unwrap().experiment.data;
    assert!(matches!(data, DataSpec::FerPlus { votes: VoteSource::ImageLists, .. }), "{data:?}");
}

#[test]
fn flags_of_the_host_are_edits_too() {
    let flagged = |flag: &str, path: &str, value: &str| good(PAPER, &[]).with_flag(flag, path, value);
    let resolved = flagged("--engine", "engine", "Cpu").unwrap();
    let row = resolved.provenance().into_iter().find(|row| row.path == "engine").unwrap();
    assert_eq!(row.origin.to_string(), "--engine Cpu");
    let typed = good(PAPER, &[]).with_word("--engine", "engine", "cpu", "Cpu").unwrap();
    assert_eq!(typed.experiment.engine, resolved.experiment.engine);
    let row = typed.provenance().into_iter().find(|row| row.path == "engine").unwrap();
    assert_eq!(row.origin.to_string(), "--engine cpu");
    assert_snapshot!(render_plain(&flagged("--engine", "engine", "cpus").unwrap_err()), @r#"
    error: no engine is called `cpus`
        on the command line
        | --engine cpus
        |          ^^^^ found here
    help: did you mean `Cpu`? Choose from: Auto, Dfdx, Cpu, Cuda
    "#);
    assert_snapshot!(render_plain(&flagged("--epochs", "epochs", "0").unwrap_err()), @r#"
    error: `epochs` must be at least 1, found 0
        on the command line
        | --epochs 0
        |          ^ found here
    "#);
}
