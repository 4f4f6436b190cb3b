//! The contract of `resnet` on models of a few thousand parameters, the published models' numbers of parameters, and clear errors.

use fer_abi::{BuildError, NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Setup, absent, component, contract, given, images};
use fer_graph::{Graph, Init, Role, import};
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

/// One or two stages on images of a dozen pixels; square ones have their side promised.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    let sizes = (1..=2i64, any::<bool>(), 2..=4i64, 9..=14usize, 9..=14usize);
    (sizes, rest.strategy()).prop_map(|((blocks, deep, width, h, w), mut options)| {
        let (layers, channels): (&[i64], &[i64]) =
            if deep { (&[1, blocks], &[width, 2 * width]) } else { (&[blocks], &[width]) };
        options.extend([ints("layers", layers), ints("channels", channels), int("stem_width", width)]);
        options.extend((h == w).then(|| int("img_size", h as i64)));
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
    let promised = given(prop::sample::select(vec![1, 16, 33, 65536]), OptionValue::Int);
    let wide = wide.set("img_size", prop_oneof![3 => absent(), 1 => promised]);
    let shapes = (1..=3usize, 1..=4usize, 1..=33usize, 1..=33usize).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    let ordinary = free(Choices::ordinary(subject.options()));
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

contract!(resnet);

fn graph(options: Vec<NamedOption>, side: usize) -> Result<Graph, BuildError> {
    let case = Case { options, inputs: images([1, 3, side, side]), training: false, seed: 0 };
    let subject = resnet().subject;
    subject.ask(&subject.request(&case)).map(|fragment| import(&fragment).unwrap())
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

/// The stem is layer 0, every block one more, with its shortcut.
#[test]
fn parameters_are_in_timms_layers() {
    let model = graph(vec![ints("layers", &[2, 1, 3])], 64).unwrap();
    let before = [0, 2, 3];
    for argument in model.by_role(Role::Parameter) {
        let name = argument.name.as_str();
        let expected = match name.strip_prefix("layer").map(|rest| rest.split('.').collect::<Vec<_>>()) {
            Some(parts) => before[parts[0].parse::<usize>().unwrap() - 1] + parts[1].parse::<u32>().unwrap() + 1,
            None => 0,
        };
        assert_eq!(argument.layer, Some(expected), "{name}");
    }
}

/// torchvision's ResNet-50 has a projection in the first block of every stage, its ResNet-18 in those that halve the map.
#[test]
fn shortcuts_are_projected_where_shapes_change() {
    let projected = |variant: &str| -> Vec<String> {
        let model = graph(vec![word("variant", variant)], 64).unwrap();
        let weights = model.arguments.iter().filter(|a| a.name.ends_with("downsample.0.weight"));
        weights.map(|a| a.name.replace(".downsample.0.weight", "")).collect()
    };
    assert_eq!(projected("resnet18"), ["layer2.0", "layer3.0", "layer4.0"]);
    assert_eq!(projected("resnet50"), ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]);
}

#[test]
fn refusals_name_the_option_and_help() {
    let cases: [(Vec<NamedOption>, &str, &str); 5] = [
        (vec![ints("layers", &[1, 1]), ints("channels", &[4])], "channels", "one entry a stage"),
        (vec![ints("channels", &[4])], "channels", "one entry a stage"),
        (vec![ints("layers", &[1; 9])], "layers", "9 stages are given"),
        (vec![ints("layers", &[])], "layers", "0 stages are given"),
        (vec![int("img_size", 224)], "img_size", "the images are 64 x 64, not 224 x 224"),
    ];
    for (options, at_fault, message) in cases {
        let error = graph(options, 64).expect_err("it should be refused");
        assert_eq!(error.option, at_fault, "{}", error.message);
        assert!(error.message.contains(message) && !error.panicked, "{}", error.message);
        assert!(!error.help.is_empty(), "no help with {}", error.message);
    }
}
