//! What a config becomes: the experiment, its full text, where everything comes from, and errors the host makes.

mod common;

use common::{PAPER, SHORT, good, resolve};
use fer_config::{
    Component, Engine, Experiment, Head, Normalise, OptionValue, Precision, Pretrained, Prior, render_coloured,
    render_plain,
};
use fer_data::spec::Augmentation;
use insta::assert_snapshot;

#[test]
fn the_papers_experiment() {
    let resolved = good(PAPER, &[]);
    let experiment = &resolved.experiment;
    let backbone = Component {
        plugin: "swin".into(),
        options: vec![("variant".into(), OptionValue::Str("small".into()))],
        pretrained: Some(Pretrained::Hub("timm/swin_small_patch4_window7_224.ms_in1k".into())),
        pretrained_ignore: vec![],
        sha256: None,
    };
    assert_eq!(experiment.model.backbone, backbone);
    assert_eq!(experiment.model.head, Head::Mlp { hidden: 512, dropout: 0.5 });
    assert_eq!((experiment.accumulate, experiment.workers, experiment.engine), (1, 1, Engine::Auto));
    assert_eq!((&experiment.prior, &experiment.normalise), (&Prior::Paper, &Normalise::ImageNet));
    assert_snapshot!(resolved.text, @r#"
    Experiment(
        name: "swin_nr_fpdls",
        description: None,
        data: FerPlus(
            root: "data/ferplus",
            votes: ImageLists,
            labels: Majority,
            otherwise: Builtin(
                train: 256,
                validation: 512,
                test: 512,
                size: 48,
                imbalance: false,
                difficulty: 1.0,
                seed: 1111,
                epochs: 2,
                batch: None,
            ),
        ),
        images: (size: None, channels: 1, unreadable: Stop),
        augment: [],
        normalise: ImageNet,
        sampling: Shuffle,
        model: (
            resizers: [(plugin: "sr", scale: 8), (plugin: "ltr", size: 224)],
            backbone: (
                plugin: "swin",
                variant: "small",
                pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k"),
            ),
            head: Mlp(hidden: 512, dropout: 0.5),
        ),
        loss: (plugin: "f-pdls", alpha: 0.8, gamma: 2.0),
        prior: Paper,
        class_weights: None,
        optimiser: Adam(learning_rate: 0.0001, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0),
        groups: [],
        layer_decay: None,
        schedule: Step(every: 15, factor: 0.25),
        warm_up: None,
        epochs: 100,
        batch: 64,
        accumulate: 1,
        clip: None,
        ema: None,
        early_stopping: None,
        criterion: Accuracy,
        seed: 1111,
        precision: F32,
        engine: Auto,
        no_fuse: [],
        workers: 1,
        paper_compat: false,
        checkpoint_every: None,
        plugins: Any,
        out: None,
    )
    "#);
}

#[test]
fn provenance_lists_everything() {
    let rows = good(SHORT, &["seed=2", "model.head.dropout=0.1", "model.head=Mlp(hidden: 9)"]).provenance();
    let lines: Vec<String> =
        rows.iter().map(|row| format!("{} = {}  <- {}", row.path, row.value, row.origin)).collect();
    assert_snapshot!(lines.join("\n"), @r#"
    name = "short"  <- configs/x.ron:2:11
    description = None  <- default
    data = Builtin  <- configs/x.ron:3:11
    data.train = 64  <- configs/x.ron:3:26
    data.validation = 512  <- default
    data.test = 512  <- default
    data.size = 48  <- default
    data.imbalance = false  <- default
    data.difficulty = 1.0  <- default
    data.seed = 1111  <- default
    data.epochs = None  <- default
    data.batch = None  <- default
    images.size = None  <- default
    images.channels = 1  <- default
    images.unreadable = Stop  <- default
    augment = []  <- default
    normalise = ImageNet  <- default
    sampling = Shuffle  <- default
    model.resizers.0.plugin = "bilinear"  <- configs/x.ron:4:24
    model.backbone.plugin = "swin"  <- configs/x.ron:4:47
    model.head = Mlp  <- --set model.head=Mlp(hidden: 9)
    model.head.hidden = 9  <- --set model.head=Mlp(hidden: 9)
    model.head.dropout = 0.5  <- default
    loss.plugin = "cross-entropy"  <- configs/x.ron:5:11
    prior = Paper  <- default
    class_weights = None  <- default
    optimiser = Sgd  <- configs/x.ron:6:16
    optimiser.learning_rate = 0.1  <- configs/x.ron:6:35
    optimiser.momentum = 0.0  <- default
    optimiser.nesterov = false  <- default
    optimiser.weight_decay = 0.0  <- default
    groups = []  <- default
    layer_decay = None  <- default
    schedule = Constant  <- default
    warm_up = None  <- default
    epochs = 1  <- configs/x.ron:7:13
    batch = 8  <- configs/x.ron:7:23
    accumulate = 1  <- default
    clip = None  <- default
    ema = None  <- default
    early_stopping = None  <- default
    criterion = Accuracy  <- default
    seed = 2  <- --set seed=2
    precision = F32  <- default
    engine = Auto  <- default
    no_fuse = []  <- default
    workers = 1  <- default
    paper_compat = false  <- default
    checkpoint_every = None  <- default
    plugins = Any  <- default
    out = None  <- default
    "#);
}

#[test]
fn shorthand_and_long_forms_are_the_same() {
    let same = |long: &[(&str, &str)]| {
        let text = long.iter().fold(SHORT.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        assert_eq!(good(&text, &[]).experiment, good(SHORT, &[]).experiment, "{text}");
    };
    same(&[("\"bilinear\"", "(plugin: \"bilinear\")")]);
    same(&[("\"bilinear\"", "{\"plugin\": \"bilinear\"}")]);
    same(&[("\"cross-entropy\"", "(plugin: \"cross-entropy\", options: ())")]);
    same(&[("Builtin(train: 64)", "Builtin((train: 64))"), ("seed: 1,", "seed: 1, clip: None, sampling: Shuffle()")]);
    same(&[("Experiment(", "#![enable(implicit_some)]\n// a comment /*\n/* and /* nested */ */ (")]);
    same(&[("\"short\"", "r#\"short\"#"), ("batch: 8", "batch: 0x8"), ("epochs: 1", "epochs: 1_u32")]);
    same(&[("seed: 1", "seed: 1, model_: 0"), ("model_: 0", "precision: F32, images: (size: None)")]);
    let explicit = SHORT.replace("\"swin\"", "(plugin: \"swin\", options: (variant: \"tiny\"))");
    let flat = SHORT.replace("\"swin\"", "(plugin: \"swin\", variant: \"tiny\")");
    assert_eq!(good(&explicit, &[]).experiment, good(&flat, &[]).experiment);
}

#[test]
fn variants_without_settings_take_their_defaults() {
    let text =
        SHORT.replace("seed: 1", "augment: [RandomHorizontalFlip, RandomErasing(p: 0.25)], precision: F64, seed: 1");
    let text =
        text.replace("backbone: \"swin\"", "backbone: \"swin\", head: Mlp").replace("Builtin(train: 64)", "Builtin");
    let experiment = good(&text, &[]).experiment;
    assert_eq!(experiment.augment[0], Augmentation::RandomHorizontalFlip { p: 0.5 });
    assert_eq!(experiment.model.head, Head::Mlp { hidden: 512, dropout: 0.5 });
    assert_eq!(experiment.precision, Precision::F64);
}

#[test]
fn the_text_resolves_to_itself() {
    for text in [PAPER, SHORT] {
        let first = good(text, &[]);
        let again = good(&first.text, &[]);
        assert_eq!((&first.experiment, &first.text), (&again.experiment, &again.text));
    }
}

#[test]
fn ron_reads_the_text_by_itself() {
    let resolved = good(PAPER, &[]);
    let text = format!("#![enable(implicit_some, unwrap_variant_newtypes)]\n{}", resolved.text);
    assert_eq!(ron::from_str::<Experiment>(&text).unwrap(), resolved.experiment);
}

#[test]
fn every_setting_reads_back() {
    let text = SHORT.replace(
        "seed: 1",
        r#"seed: 18446744073709551615,
        description: "a \"quoted\" \\ text\nof é\u{1F600} two lines",
        images: (size: 64, channels: 3, unreadable: Skip),
        augment: [RandomAffine(degrees: 15, translate: (0.1, 0.1), scale: (0.8, 1.2), shear: 1e-7), ColorJitter(hue: 0.4)],
        normalise: Values(mean: [0.5, 0.5, 0.5], std: (1, 2, 1e22)),
        sampling: Balanced, prior: File("a b.csv"), class_weights: Values([("fear", 2), ("anger", 0.5)]),
        groups: [(pattern: "backbone.*", learning_rate_scale: 0.1), (pattern: "x", weight_decay: 0, frozen: true)],
        schedule: OneCycle(warm: 0.2), warm_up: (epochs: 0.5), accumulate: 2, clip: Some(1.0), ema: 0.999,
        early_stopping: Some((patience: 3)), criterion: MacroF1, precision: F64, engine: Dfdx, workers: 3,
        paper_compat: true, checkpoint_every: 10, out: "runs""#,
    );
    let text = text.replace(
        "backbone: \"swin\"",
        r#"backbone: (plugin: "swin", pretrained: File("w.safetensors"), a: true, b: -3, c: 1e300, d: [1, 2.5, "x", []])"#,
    );
    let resolved = good(&text, &[]);
    assert_eq!(good(&resolved.text, &[]).experiment, resolved.experiment);
    assert!(resolved.text.contains("normalise: Values(mean: (0.5, 0.5, 0.5), std: (1.0, 2.0, 1e22)),"));
}

#[test]
fn the_host_makes_errors_of_its_own() {
    let resolved = good(PAPER, &["model.backbone.variant=\"bass\""]);
    let error = resolved.error_at(
        "model.resizers.1.plugin",
        "no resizer is called \"ltr\"",
        "found here",
        Some("did you mean \"stn\"? Resizers on this machine: bilinear, sr, stn (fer-host plugin list)"),
    );
    assert_snapshot!(render_plain(&error), @r#"
    error: no resizer is called "ltr"
        configs/x.ron:5:55
      5 |         resizers: [(plugin: "sr", scale: 8), (plugin: "ltr", size: 224)],
        |                                                       ^^^^^ found here
    help: did you mean "stn"? Resizers on this machine: bilinear, sr, stn (fer-host plugin list)
    "#);
    assert!(render_coloured(&error).contains("\u{1b}[1;31merror"));
    let error = resolved.error_at_key("model.resizers.0.scale", "\"sr\" has no option `scale`", "unknown option", None);
    assert_snapshot!(render_plain(&error), @r#"
    error: "sr" has no option `scale`
        configs/x.ron:5:35
      5 |         resizers: [(plugin: "sr", scale: 8), (plugin: "ltr", size: 224)],
        |                                   ^^^^^ unknown option
    "#);
    let error = resolved.error_at(
        "model.resizers.1",
        "the backbone cannot take what the resizers give",
        "gives [n, 3, 192, 192]",
        None,
    );
    let error = resolved
        .with_label(error, "model.backbone", "takes [n, 3, 224, 224]")
        .note("patch 4, window 7")
        .help("set size: 224 on \"ltr\"");
    assert_snapshot!(render_plain(&error), @r#"
    error: the backbone cannot take what the resizers give
        configs/x.ron:5:46
      5 |         resizers: [(plugin: "sr", scale: 8), (plugin: "ltr", size: 224)],
        |                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^ gives [n, 3, 192, 192]
      6 |         backbone: (plugin: "swin", variant: "small", pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k")),
        |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ takes [n, 3, 224, 224]
        patch 4, window 7
    help: set size: 224 on "ltr"
    "#);
    let error = resolved.error_at("model.backbone.variant", "no variant is called \"bass\"", "found here", None);
    assert_snapshot!(render_plain(&error), @r#"
    error: no variant is called "bass"
        on the command line
        | --set model.backbone.variant="bass"
        |                              ^^^^^^ found here
    "#);
    let unsaid =
        resolved.error_at("model.backbone.window", "the window does not divide the image", "window 7 by default", None);
    assert_snapshot!(render_plain(&unsaid), @r#"
    error: the window does not divide the image
        configs/x.ron:6:19
      6 |         backbone: (plugin: "swin", variant: "small", pretrained: Hub("timm/swin_small_patch4_window7_224.ms_in1k")),
        |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ window 7 by default
    "#);
    assert_eq!(
        resolved.span_of("model.resizers.1.size").map(|span| span.location()),
        Some("configs/x.ron:5:68".into())
    );
    assert!(resolved.span_of("model.head.width").is_none());
}

#[test]
fn miette_shows_the_same() {
    let error = resolve(&PAPER.replace("Adam(", "Adamm("), &[]).unwrap_err();
    let mut shown = String::new();
    let theme = miette::GraphicalTheme::unicode_nocolor();
    miette::GraphicalReportHandler::new_themed(theme).render_report(&mut shown, error.as_ref()).unwrap();
    assert!(shown.contains("configs/x.ron:10:16") && shown.contains("found here"), "{shown}");
}

#[test]
fn long_lines_are_shown_in_part() {
    let text = format!("(name: \"{}\", epoch: 1, description: \"{}\")", "x".repeat(90), "y".repeat(300));
    assert_snapshot!(common::bad(&text, &[]), @r#"
    error: the experiment has no key called `epoch`
        configs/x.ron:1:102
      1 | ...xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", epoch: 1, description: "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...
        |                                                                          ^^^^^ unknown key
    help: did you mean `epochs`?
    "#);
}
