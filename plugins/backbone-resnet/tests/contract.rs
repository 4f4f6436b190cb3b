//! The contract of `resnet` on models of a few thousand parameters, the published models' numbers of parameters, and clear errors.

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Setup, Trouble, absent, component, contract, images};
use fer_graph::{Graph, Init};
use proptest::prelude::*;

fn ints(name: &str, values: &[i64]) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Ints(values.to_vec().into()) }
}

fn int(name: &str, value: i64) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Int(value) }
}

fn word(name: &str, value: &str) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Text(value.into()) }
}

/// One or two stages on images of a dozen pixels.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    let sizes = (1..=2i64, any::<bool>(), 2..=4i64, 9..=14usize, 9..=14usize);
    (sizes, rest.strategy()).prop_map(|((blocks, deep, width, h, w), mut options)| {
        let (layers, channels): (&[i64], &[i64]) =
            if deep { (&[1, blocks], &[width, 2 * width]) } else { (&[blocks], &[width]) };
        options.extend([ints("layers", layers), ints("channels", channels), int("stem_width", width)]);
        Setup { options, inputs: images([3, 3, h, w]) }
    })
}

fn resnet() -> Contract {
    let subject = component!("backbone", "resnet");
    let free = |choices: Choices| {
        let sizes = ["layers", "channels", "stem_width", "img_size"];
        sizes.iter().fold(choices, |choices, name| choices.set(name, absent()))
    };
    let list =
        |most: i64| prop::collection::vec(1..=most, 1..=4).prop_map(|v: Vec<i64>| Some(OptionValue::Ints(v.into())));
    let wide = Choices::wide(subject.options()).ints("stem_width", 1..=16);
    let wide = wide.set("layers", list(3)).set("channels", list(16));
    let shapes = (1..=3usize, 1..=4usize, 1..=33usize, 1..=33usize).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    let ordinary = free(Choices::ordinary(subject.options()));
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

contract!(resnet);

fn graph(options: Vec<NamedOption>, side: usize) -> Result<Graph, Trouble> {
    let case = Case { options, inputs: images([1, 3, side, side]), training: false, seed: 0 };
    resnet().subject.graph(&case)
}

/// timm's models with their linear head, 8 and 1000 classes.
#[test]
fn published_models_have_their_numbers_of_parameters() {
    let table = [
        ("resnet18", [11_180_616, 11_689_512]),
        ("resnet34", [21_288_776, 21_797_672]),
        ("resnet50", [23_524_424, 25_557_032]),
    ];
    for (variant, expected) in table {
        let graph = graph(vec![word("variant", variant)], 224).unwrap();
        let features = graph.shape(graph.output("features").unwrap())[1];
        let found = [8, 1000].map(|classes| graph.parameter_count() + (features + 1) * classes);
        assert_eq!(found, expected, "{variant}");
    }
}

#[test]
fn blocks_start_as_their_shortcuts_unless_told_otherwise() {
    let start = |zero: bool, name: &str| {
        let zero = NamedOption { name: "zero_init_last".into(), value: OptionValue::Bool(zero) };
        graph(vec![zero], 64).unwrap().argument(name).unwrap().init.clone()
    };
    assert_eq!(start(true, "layer2.1.bn2.weight"), Some(Init::Zeros));
    assert_eq!(start(true, "layer2.1.bn1.weight"), Some(Init::Ones));
    assert_eq!(start(true, "layer2.0.downsample.1.weight"), Some(Init::Ones));
    assert_eq!(start(false, "layer2.1.bn2.weight"), Some(Init::Ones));
}

#[test]
fn what_cannot_be_is_said() {
    let refused = |options: Vec<NamedOption>| match graph(options, 64) {
        Err(Trouble::Skipped(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(vec![ints("layers", &[1, 1]), ints("channels", &[4])]).contains("one entry a stage"));
    assert!(refused(vec![ints("layers", &[1; 9])]).contains("1 to 8"));
    assert_eq!(refused(vec![int("img_size", 224)]), "the images are 64 x 64, not 224 x 224");
}
