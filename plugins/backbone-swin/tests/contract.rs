//! The contract of `swin` on models of a few thousand parameters, the published models' numbers of parameters, and what its
//! parameters are said to be.

use fer_abi::{BuildError, NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Setup, absent, component, contract, given, images};
use fer_graph::{Graph, Positions, Role, import};
use proptest::prelude::*;

fn int(name: &str, value: usize) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Int(value as i64) }
}

fn ints(name: &str, values: &[i64]) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Ints(values.to_vec().into()) }
}

fn word(name: &str, value: &str) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Text(value.into()) }
}

/// One or two stages, and images that their patches and windows divide; square ones have their side promised.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    let sizes = (1..=2usize, 2..=3usize, any::<bool>(), 1..=2i64, 1..=2usize, 1..=2usize);
    (1..=2usize, sizes, rest.strategy()).prop_map(|(n, (patch, window, deep, depth, rows, columns), mut options)| {
        let stages: &[i64] = if deep { &[depth, 1] } else { &[2] };
        let heads: &[i64] = if deep { &[1, 2] } else { &[2] };
        let side = |windows: usize| 2 * patch * window * windows;
        options.extend([int("patch_size", 2 * patch), int("window_size", window), int("embed_dim", 8)]);
        options.extend([ints("depths", stages), ints("num_heads", heads)]);
        let unit = if deep { 2 } else { 1 };
        let [h, w] = [unit * side(rows), unit * side(columns)];
        options.extend((h == w).then(|| int("img_size", h)));
        Setup { options, inputs: images([n, 3, h, w]) }
    })
}

fn swin() -> Contract {
    let subject = component!("backbone", "swin");
    let schema = |choices: Choices| {
        let sizes = ["patch_size", "img_size", "window_size", "embed_dim", "depths", "num_heads"];
        sizes.iter().fold(choices, |choices, name| choices.set(name, absent()))
    };
    let ordinary = schema(Choices::ordinary(subject.options())).floats("mlp_ratio", 0.5..=3.0);
    // Whole depths cost memory for masks: 256 blocks of 64 x 64 windows say nothing more than 4 of 8 x 8.
    let list =
        |most: i64| prop::collection::vec(1..=most, 1..=4).prop_map(|v: Vec<i64>| Some(OptionValue::Ints(v.into())));
    let wide = Choices::wide(subject.options()).ints("window_size", 1..=8);
    let wide = wide.set("depths", list(4)).set("num_heads", list(9)).ints("embed_dim", 1..=48);
    let sides = prop::sample::select(vec![8usize, 12, 24, 28, 32, 56]);
    let promised = given(prop::sample::select(vec![1, 28, 56, 65536]), OptionValue::Int);
    let wide = wide.set("img_size", prop_oneof![3 => absent(), 1 => promised]);
    let shapes = (1..=2usize, 1..=4usize, sides.clone(), sides).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

contract!(swin);

/// timm's models with their linear head (side, window, classes).
#[test]
fn published_models_have_their_numbers_of_parameters() {
    let subject = swin().subject;
    let count = |variant: &str, side: usize, window: usize, classes: usize| {
        let options = vec![word("variant", variant), int("window_size", window)];
        let case = Case { options, inputs: images([1, 3, side, side]), training: false, seed: 0 };
        let graph = subject.graph(&case).unwrap();
        let features = graph.shape(graph.output("features").unwrap())[1];
        graph.parameter_count() + features * classes + classes
    };
    let table = [
        ("tiny", [27_525_506, 28_288_354]),
        ("small", [48_843_410, 49_606_258]),
        ("base", [86_751_424, 87_768_224]),
        ("large", [195_007_772, 196_532_476]),
    ];
    for (variant, expected) in table {
        assert_eq!([count(variant, 224, 7, 8), count(variant, 224, 7, 1000)], expected, "{variant}");
    }
    assert_eq!(count("base", 384, 12, 8), 86_886_784);
    assert_eq!(count("large", 384, 12, 8), 195_210_812);
}

/// Three stages of 2, 2 and 1 blocks on 32 x 16 pixels: 16 x 8, 8 x 4 and 4 x 2 tokens in windows of 4.
fn small(more: &[NamedOption]) -> Result<Graph, BuildError> {
    let mut options = vec![int("patch_size", 2), int("window_size", 4), int("embed_dim", 4)];
    options.extend([ints("depths", &[2, 2, 1]), ints("num_heads", &[1, 2, 4])]);
    options.retain(|o| more.iter().all(|m| m.name != o.name));
    options.extend_from_slice(more);
    let case = Case { options, inputs: images([2, 3, 32, 16]), training: false, seed: 0 };
    let subject = swin().subject;
    subject.ask(&subject.request(&case)).map(|fragment| import(&fragment).unwrap())
}

/// The patch embedding is layer 0; the merging before a stage goes with the stage's first block, the last norm with the last.
#[test]
fn parameters_are_in_timms_layers() {
    let model = small(&[]).unwrap();
    let blocks = [("layers.0.", 1), ("layers.1.", 3), ("layers.2.", 5)];
    for argument in model.by_role(Role::Parameter) {
        let name = argument.name.as_str();
        let expected = match blocks.iter().find(|(stage, _)| name.starts_with(stage)) {
            Some((_, first)) if name.contains(".blocks.1.") => first + 1,
            Some((_, first)) => *first,
            None if name.starts_with("patch_embed.") => 0,
            None => 5,
        };
        assert_eq!(argument.layer, Some(expected), "{name}");
    }
}

#[test]
fn bias_tables_know_their_window_and_do_not_decay() {
    let model = small(&[]).unwrap();
    let tables: Vec<_> = model.arguments.iter().filter(|a| a.name.ends_with("relative_position_bias_table")).collect();
    let found: Vec<_> = tables.iter().map(|a| a.positions).collect();
    let of = |rows, columns| Some(Positions::Distances { rows, columns });
    assert_eq!(found, [of(4, 4), of(4, 4), of(4, 4), of(4, 4), of(4, 2)]);
    assert!(tables.iter().all(|a| !a.decay));
    assert!(model.arguments.iter().filter(|a| a.positions.is_some()).count() == tables.len());
}

#[test]
fn refusals_name_the_option_and_help() {
    let float = |name: &str, value| NamedOption { name: name.into(), value: OptionValue::Float(value) };
    let cases: [(&[NamedOption], &str, &str, &str); 8] = [
        (&[int("img_size", 224)], "img_size", "32 x 16, not 224 x 224", "leave img_size out"),
        (&[int("patch_size", 3)], "patch_size", "does not divide", "30, 33"),
        (&[int("window_size", 3)], "window_size", "16 x 8 tokens", "that fit this stage: 2, 4, 8; or resize"),
        (&[int("patch_size", 1), int("window_size", 5)], "window_size", "32 x 16 tokens", "2, 4, 8, 16; or resize"),
        (&[ints("num_heads", &[1, 2])], "num_heads", "one entry a stage", "equally long"),
        (&[ints("depths", &[1; 9]), ints("num_heads", &[1; 9])], "num_heads", "1 to 8 stages", "equally long"),
        (&[ints("num_heads", &[1, 3, 4])], "num_heads", "width 8 of stage 1", "divide it: 1, 2, 4, 8"),
        (&[float("mlp_ratio", 0.1)], "mlp_ratio", "no hidden channel of the width 4", "at least 0.25"),
    ];
    for (options, at_fault, message, help) in cases {
        let error = small(options).expect_err("it should be refused");
        assert_eq!(error.option, at_fault, "{}", error.message);
        assert!(error.message.contains(message) && !error.panicked, "{}", error.message);
        assert!(error.help.contains(help), "{}: {}", error.message, error.help);
    }
}
