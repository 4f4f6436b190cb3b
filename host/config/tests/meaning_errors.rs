//! What a user sees who writes good RON that is no experiment.

mod common;

use common::{SHORT, bad, changed};
use insta::assert_snapshot;

#[test]
fn misspelt_keys() {
    assert_snapshot!(changed("epochs: 100", "epoch: 100"), @r#"
    error: the experiment has no key called `epoch`
        configs/x.ron:12:5
     12 |     epoch: 100, batch: 64, seed: 1111,
        |     ^^^^^ unknown key
    help: did you mean `epochs`?
    "#);
    assert_snapshot!(changed("learning_rate: 1e-4", "lr: 1e-4"), @r#"
    error: `Adam` has no key called `lr`
        configs/x.ron:10:21
     10 |     optimiser: Adam(lr: 1e-4),
        |                     ^^ unknown key
    help: did you mean `learning_rate`? Keys here: learning_rate, betas, eps, weight_decay
    "#);
    assert_snapshot!(changed("backbone: (", "back_bone: ("), @r#"
    error: `model` has no key called `back_bone`
        configs/x.ron:6:9
      6 |         back_bone: (plugin: "swin", variant: "small", pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k")),
        |         ^^^^^^^^^ unknown key
    help: did you mean `backbone`? Keys here: resizers, backbone, head
    "#);
    assert_snapshot!(changed("train: 256", "trian: 256"), @r#"
    error: `Builtin` has no key called `trian`
        configs/x.ron:3:97
      3 |     data: FerPlus(root: "data/ferplus", votes: ImageLists, labels: Majority, otherwise: Builtin(trian: 256, epochs: 2)),
        |                                                                                                 ^^^^^ unknown key
    help: did you mean `train`? Keys here: train, validation, test, size, imbalance, difficulty, seed, epochs, batch
    "#);
}

#[test]
fn a_key_in_the_wrong_place() {
    assert_snapshot!(changed("seed: 1111", "seed: 1111, head: Linear"), @r#"
    error: the experiment has no key called `head`
        configs/x.ron:12:41
     12 |     epochs: 100, batch: 64, seed: 1111, head: Linear,
        |                                         ^^^^ unknown key
    help: did you mean `model.head`?
    "#);
}

#[test]
fn unknown_variants() {
    assert_snapshot!(changed("Adam(", "Adamm("), @r#"
    error: no optimiser is called `Adamm`
        configs/x.ron:10:16
     10 |     optimiser: Adamm(learning_rate: 1e-4),
        |                ^^^^^ found here
    help: did you mean `Adam`? Choose from: Adam, AdamW, Sgd
    "#);
    assert_snapshot!(changed("Majority", "majority"), @r#"
    error: no label mode is called `majority`
        configs/x.ron:3:68
      3 |     data: FerPlus(root: "data/ferplus", votes: ImageLists, labels: majority, otherwise: Builtin(train: 256, epochs: 2)),
        |                                                                    ^^^^^^^^ found here
    help: did you mean `Majority`? Choose from: Majority, Probability, MultiTarget
    "#);
    assert_snapshot!(changed("FerPlus(root", "Kaggle(root"), @r#"
    error: no data set is called `Kaggle`
        configs/x.ron:3:11
      3 |     data: Kaggle(root: "data/ferplus", votes: ImageLists, labels: Majority, otherwise: Builtin(train: 256, epochs: 2)),
        |           ^^^^^^ found here
    help: choose from: FerPlus, Fer2013, RafDb, AffectNet, CkPlus, ImageFolder, Builtin
    "#);
}

#[test]
fn wrong_types() {
    assert_snapshot!(changed("epochs: 100", "epochs: \"100\""), @r#"
    error: `epochs` must be a whole number, found the text "100"
        configs/x.ron:12:13
     12 |     epochs: "100", batch: 64, seed: 1111,
        |             ^^^^^ found here
    help: write 100, without quotes
    "#);
    assert_snapshot!(changed("epochs: 100", "epochs: 1e2"), @r#"
    error: `epochs` must be a whole number, found the number 100.0
        configs/x.ron:12:13
     12 |     epochs: 1e2, batch: 64, seed: 1111,
        |             ^^^ found here
    help: write 100
    "#);
    assert_snapshot!(changed("epochs: 100", "epochs: -1"), @r#"
    error: `epochs` must be a whole number of 0 or more, found the number -1
        configs/x.ron:12:13
     12 |     epochs: -1, batch: 64, seed: 1111,
        |             ^^ found here
    "#);
    assert_snapshot!(changed("1e-4", "true"), @r#"
    error: `optimiser.learning_rate` must be a number, found `true`
        configs/x.ron:10:36
     10 |     optimiser: Adam(learning_rate: true),
        |                                    ^^^^ found here
    "#);
    assert_snapshot!(changed("Majority", "\"Majority\""), @r#"
    error: `data.labels` must be one of Majority, Probability, MultiTarget, found the text "Majority"
        configs/x.ron:3:68
      3 |     data: FerPlus(root: "data/ferplus", votes: ImageLists, labels: "Majority", otherwise: Builtin(train: 256, epochs: 2)),
        |                                                                    ^^^^^^^^^^ found here
    help: write Majority, without quotes
    "#);
    assert_snapshot!(changed("name: \"swin_nr_fpdls\"", "name: swin"), @r#"
    error: `name` must be text in quotes, found the bare word `swin`
        configs/x.ron:2:11
      2 |     name: swin,
        |           ^^^^ found here
    help: text stands in quotes: "swin"
    "#);
    assert_snapshot!(changed("learning_rate: 1e-4", "learning_rate: 1e-4, betas: (0.9, 0.99, 0.999)"), @r#"
    error: `optimiser.betas` takes 2 values, found 3
        configs/x.ron:10:49
     10 |     optimiser: Adam(learning_rate: 1e-4, betas: (0.9, 0.99, 0.999)),
        |                                                 ^^^^^^^^^^^^^^^^^^ found here
    "#);
    assert_snapshot!(changed("[(plugin: \"sr\", scale: 8), (plugin: \"ltr\", size: 224)]", "(\"sr\", \"ltr\")"), @r#"
    error: `model.resizers` must be a list `[...]`, found a tuple of 2
        configs/x.ron:5:19
      5 |         resizers: ("sr", "ltr"),
        |                   ^^^^^^^^^^^^^ found here
    help: write [(plugin: "sr"), (plugin: "ltr")]
    "#);
}

#[test]
fn wrong_forms() {
    assert_snapshot!(changed("Adam(learning_rate: 1e-4)", "Adam(1e-4)"), @r#"
    error: `optimiser`: `Adam` takes named settings: Adam(learning_rate: ..., betas: ..., eps: ..., weight_decay: ...)
        configs/x.ron:10:16
     10 |     optimiser: Adam(1e-4),
        |                ^^^^^^^^^^ found here
    "#);
    assert_snapshot!(changed("Adam(learning_rate: 1e-4)", "(learning_rate: 1e-4)"), @r#"
    error: `optimiser` must be one of Adam, AdamW, Sgd, found a group of keys `(key: value)`
        configs/x.ron:10:16
     10 |     optimiser: (learning_rate: 1e-4),
        |                ^^^^^^^^^^^^^^^^^^^^^ found here
    help: write it with its name, for example Adam(...)
    "#);
    assert_snapshot!(changed("Mlp(hidden: 512, dropout: 0.5)", "Linear(hidden: 512)"), @r#"
    error: `model.head`: `Linear` takes no settings
        configs/x.ron:7:15
      7 |         head: Linear(hidden: 512),
        |               ^^^^^^^^^^^^^^^^^^^ found here
    "#);
    assert_snapshot!(changed("Hub(\"timm/swin_small_patch4_window7_224.ms_in1k\")", "Hub"), @r#"
    error: `model.backbone.pretrained`: `Hub(...)` must hold text in quotes
        configs/x.ron:6:66
      6 |         backbone: (plugin: "swin", variant: "small", pretrained: Hub),
        |                                                                  ^^^ found here
    "#);
    assert_snapshot!(changed("model: (", "model: Net("), @r#"
    error: `model`: expected `Model(...)` or `(...)`, found `Net(...)`
        configs/x.ron:4:12
      4 |     model: Net(
        |            ^^^ found here
    "#);
}

#[test]
fn missing_keys() {
    assert_snapshot!(changed("Adam(learning_rate: 1e-4)", "Adam"), @r#"
    error: `Adam` has no `learning_rate`
        configs/x.ron:10:16
     10 |     optimiser: Adam,
        |                ^^^^ `learning_rate` is missing here
    help: write for example `learning_rate: 1e-4`
    "#);
    assert_snapshot!(changed("seed: 1111,", ""), @r#"
    error: the experiment has no `seed`
        configs/x.ron:1:1
      1 | Experiment(
        | ^^^^^^^^^^^ `seed` is missing here
    help: write for example `seed: 1111`
    "#);
    assert_snapshot!(changed("(plugin: \"sr\", scale: 8)", "(plugn: \"sr\", scale: 8)"), @r#"
    error: `model.resizers.0` has no `plugin`
        configs/x.ron:5:21
      5 |         resizers: [(plugn: "sr", scale: 8), (plugin: "ltr", size: 224)],
        |                     ^^^^^ found here
    help: did you mean `plugin` instead of `plugn`?
    "#);
}

#[test]
fn components() {
    assert_snapshot!(changed("(plugin: \"sr\", scale: 8)", "{\"plugin\": \"sr\", \"scale up\": 8}"), @r#"
    error: "scale up" cannot be the name of an option of `model.resizers.0`
        configs/x.ron:5:37
      5 |         resizers: [{"plugin": "sr", "scale up": 8}, (plugin: "ltr", size: 224)],
        |                                     ^^^^^^^^^^ found here
    "#);
    assert_snapshot!(changed("variant: \"small\"", "variant: small"), @r#"
    error: `model.backbone.variant` must be true or false, a number, text in quotes, or a list of these, found the bare word `small`
        configs/x.ron:6:45
      6 |         backbone: (plugin: "swin", variant: small, pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k")),
        |                                             ^^^^^ found here
    help: text stands in quotes: "small"
    "#);
    assert_snapshot!(changed("variant: \"small\"", "variant: (name: \"small\")"), @r#"
    error: `model.backbone.variant` must be true or false, a number, text in quotes, or a list of these, found a group of keys `(key: value)`
        configs/x.ron:6:45
      6 |         backbone: (plugin: "swin", variant: (name: "small"), pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k")),
        |                                             ^^^^^^^^^^^^^^^ found here
    "#);
    assert_snapshot!(changed("variant: \"small\"", "variant: \"small\", options: (variant: \"base\")"), @r#"
    error: `variant` is given twice
        configs/x.ron:6:64
      6 |         backbone: (plugin: "swin", variant: "small", options: (variant: "base"), pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k...
        |                                                                ^^^^^^^ here among the options
      6 |         backbone: (plugin: "swin", variant: "small", options: (variant: "base"), pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k...
        |                                    ^^^^^^^ and here beside the plugin
    "#);
    assert_snapshot!(changed("loss: (plugin: \"f-pdls\", alpha: 0.8, gamma: 2.0)", "loss: FPdls(alpha: 0.8)"), @r#"
    error: `loss` must be a component `(plugin: "name", ...)` or the text "name", found `FPdls(...)`
        configs/x.ron:9:11
      9 |     loss: FPdls(alpha: 0.8),
        |           ^^^^^^^^^^^^^^^^^ found here
    "#);
}

#[test]
fn ranges() {
    assert_snapshot!(changed("epochs: 100, batch: 64", "epochs: 0, batch: 0"), @r#"
    error: `epochs` must be at least 1, found 0
        configs/x.ron:12:13
     12 |     epochs: 0, batch: 0, seed: 1111,
        |             ^ found here

    error: `batch` must be at least 1, found 0
        configs/x.ron:12:23
     12 |     epochs: 0, batch: 0, seed: 1111,
        |                       ^ found here
    "#);
    assert_snapshot!(changed("dropout: 0.5", "dropout: 1.5"), @r#"
    error: `model.head.dropout` must be at least 0 and below 1, found 1.5
        configs/x.ron:7:41
      7 |         head: Mlp(hidden: 512, dropout: 1.5),
        |                                         ^^^ found here
    "#);
    assert_snapshot!(changed("1e-4", "-1e-4"), @r#"
    error: `optimiser.learning_rate` must be above 0 and finite, found -0.0001
        configs/x.ron:10:36
     10 |     optimiser: Adam(learning_rate: -1e-4),
        |                                    ^^^^^ found here
    "#);
    assert_snapshot!(changed("swin_nr_fpdls", "../swin"), @r#"
    error: `name` must be usable as the name of a folder, found "../swin"
        configs/x.ron:2:11
      2 |     name: "../swin",
        |           ^^^^^^^^^ found here
    "#);
    assert_snapshot!(changed("learning_rate: 1e-4", "learning_rate: 1e-4, betas: (0.9, 1.0)"), @r#"
    error: `optimiser.betas` must be two numbers, each at least 0 and below 1, found (0.9, 1.0)
        configs/x.ron:10:49
     10 |     optimiser: Adam(learning_rate: 1e-4, betas: (0.9, 1.0)),
        |                                                 ^^^^^^^^^^ found here
    "#);
}

#[test]
fn settings_that_must_agree() {
    let weights =
        SHORT.replace("seed: 1", "class_weights: Values([(\"fear\", 2), (\"anger\", 1), (\"fear\", -3)]), seed: 1");
    assert_snapshot!(bad(&weights, &[]), @r#"
    error: `class_weights.2.1` must be at least 0 and finite, found -3
        configs/x.ron:7:85
      7 |     epochs: 1, batch: 8, class_weights: Values([("fear", 2), ("anger", 1), ("fear", -3)]), seed: 1,
        |                                                                                     ^^ found here

    error: the class "fear" has two weights
        configs/x.ron:7:77
      7 |     epochs: 1, batch: 8, class_weights: Values([("fear", 2), ("anger", 1), ("fear", -3)]), seed: 1,
        |                                                                             ^^^^^^ the second
        |                                                  ^^^^^^ the first
    "#);
    let shares = SHORT.replace("Builtin(train: 64)", "CkPlus(root: \"ck\", validation: 0.5, test: 0.5)");
    assert_snapshot!(bad(&shares, &[]), @r#"
    error: `data` must leave images to train on: `validation` and `test` make 1 or more
        configs/x.ron:3:11
      3 |     data: CkPlus(root: "ck", validation: 0.5, test: 0.5),
        |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ found here
    "#);
}
