//! The contract of `swin` on models of a few thousand parameters, and the published models' numbers of parameters.

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Setup, absent, component, contract, images};
use proptest::prelude::*;

fn int(name: &str, value: usize) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Int(value as i64) }
}

fn ints(name: &str, values: &[i64]) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Ints(values.to_vec().into()) }
}

/// One or two stages, and images that their patches and windows divide.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    let sizes = (1..=2usize, 2..=3usize, any::<bool>(), 1..=2i64, 1..=2usize, 1..=2usize);
    (sizes, rest.strategy()).prop_map(|((patch, window, deep, depth, rows, columns), mut options)| {
        let stages: &[i64] = if deep { &[depth, 1] } else { &[2] };
        let heads: &[i64] = if deep { &[1, 2] } else { &[2] };
        let side = |windows: usize| 2 * patch * window * windows;
        options.extend([int("patch_size", 2 * patch), int("window_size", window), int("embed_dim", 8)]);
        options.extend([ints("depths", stages), ints("num_heads", heads)]);
        let unit = if deep { 2 } else { 1 };
        Setup { options, inputs: images([2, 3, unit * side(rows), unit * side(columns)]) }
    })
}

fn swin() -> Contract {
    let subject = component!("backbone", "swin");
    let schema = |choices: Choices| {
        let sizes = ["patch_size", "window_size", "embed_dim", "depths", "num_heads"];
        sizes.iter().fold(choices, |choices, name| choices.set(name, absent()))
    };
    let ordinary = schema(Choices::ordinary(subject.options())).floats("mlp_ratio", 0.5..=3.0);
    // Whole depths cost memory for masks: 256 blocks of 64 x 64 windows say nothing more than 4 of 8 x 8.
    let list =
        |most: i64| prop::collection::vec(1..=most, 1..=4).prop_map(|v: Vec<i64>| Some(OptionValue::Ints(v.into())));
    let wide = Choices::wide(subject.options()).ints("window_size", 1..=8);
    let wide = wide.set("depths", list(4)).set("num_heads", list(9)).ints("embed_dim", 1..=48);
    let sides = prop::sample::select(vec![8usize, 12, 24, 28, 32, 56]);
    let shapes = (1..=2usize, 1..=4usize, sides.clone(), sides).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

contract!(swin);

/// timm's models with their linear head (side, window, classes).
#[test]
fn published_models_have_their_numbers_of_parameters() {
    let subject = swin().subject;
    let count = |variant: &str, side: usize, window: usize, classes: usize| {
        let variant = NamedOption { name: "variant".into(), value: OptionValue::Text(variant.into()) };
        let options = vec![variant, int("window_size", window)];
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
