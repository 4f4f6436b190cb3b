//! The contract of `vgg16-bn` on models of a few thousand parameters, the published model's number of parameters, and clear errors.

use fer_abi::{BuildError, NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Setup, absent, component, contract, given, images};
use fer_graph::{Graph, Role, import};
use proptest::prelude::*;

fn ints(name: &str, values: &[i64]) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Ints(values.to_vec().into()) }
}

fn int(name: &str, value: i64) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Int(value) }
}

/// One or two stages; maps smaller than the wide layers' kernel, as large, and larger; square ones have their side promised.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    let sizes = (1..=2i64, any::<bool>(), 2..=3i64, 4..=18usize, 4..=18usize);
    (sizes, rest.strategy()).prop_map(|((depth, deep, width, h, w), mut options)| {
        let (depths, channels): (&[i64], &[i64]) = if deep { (&[1, depth], &[width, 2]) } else { (&[depth], &[width]) };
        options.extend([ints("depths", depths), ints("channels", channels), int("num_features", 3)]);
        options.extend((h == w).then(|| int("img_size", h as i64)));
        Setup { options, inputs: images([3, 2, h, w]) }
    })
}

fn vgg() -> Contract {
    let subject = component!("backbone", "vgg16-bn");
    let free = |choices: Choices| {
        let sizes = ["depths", "channels", "num_features", "img_size"];
        sizes.iter().fold(choices, |choices, name| choices.set(name, absent()))
    };
    let list =
        |most: i64| prop::collection::vec(1..=most, 1..=4).prop_map(|v: Vec<i64>| Some(OptionValue::Ints(v.into())));
    let wide = Choices::wide(subject.options()).ints("num_features", 1..=16);
    let wide = wide.set("depths", list(3)).set("channels", list(16));
    let promised = given(prop::sample::select(vec![1, 16, 33, 65536]), OptionValue::Int);
    let wide = wide.set("img_size", prop_oneof![3 => absent(), 1 => promised]);
    let shapes = (1..=3usize, 1..=4usize, 1..=33usize, 1..=33usize).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    let ordinary = free(Choices::ordinary(subject.options()));
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

contract!(vgg);

fn graph(options: Vec<NamedOption>, side: usize) -> Result<Graph, BuildError> {
    let case = Case { options, inputs: images([1, 3, side, side]), training: false, seed: 0 };
    let subject = vgg().subject;
    subject.ask(&subject.request(&case)).map(|fragment| import(&fragment).unwrap())
}

/// timm's vgg16_bn with its linear head, 8 and 1000 classes, whatever the size of the images.
#[test]
fn the_published_model_has_its_number_of_parameters() {
    for side in [32, 224, 256] {
        let graph = graph(vec![], side).unwrap();
        let features = graph.shape(graph.output("features").unwrap())[1];
        let found = [8, 1000].map(|classes| graph.parameter_count() + (features + 1) * classes);
        assert_eq!(found, [134_301_768, 138_365_992], "{side}");
    }
}

/// timm counts each convolution and each norm as a layer; the wide layers train as fast as the head.
#[test]
fn parameters_are_in_timms_layers() {
    let model = graph(vec![ints("depths", &[1, 2]), ints("channels", &[4, 4]), int("num_features", 8)], 28).unwrap();
    let found: Vec<(&str, Option<u32>)> =
        model.by_role(Role::Parameter).filter_map(|a| Some((a.name.strip_suffix(".weight")?, a.layer))).collect();
    let expected = [
        ("features.0", Some(0)),
        ("features.1", Some(1)),
        ("features.4", Some(2)),
        ("features.5", Some(3)),
        ("features.7", Some(4)),
        ("features.8", Some(5)),
        ("pre_logits.fc1", None),
        ("pre_logits.fc2", None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn refusals_name_the_option_and_help() {
    let cases: [(Vec<NamedOption>, usize, &str, &str); 5] = [
        (vec![], 16, "depths", "the 1 x 1 map of a stage cannot be halved"),
        (vec![ints("depths", &[1, 1])], 64, "depths", "one entry a stage"),
        (vec![ints("channels", &[1, 1])], 64, "depths", "one entry a stage"),
        (vec![ints("depths", &[]), ints("channels", &[])], 64, "depths", "1 to 16 stages"),
        (vec![int("img_size", 224)], 64, "img_size", "the images are 64 x 64, not 224 x 224"),
    ];
    for (options, side, at_fault, message) in cases {
        let error = graph(options, side).expect_err("it should be refused");
        assert_eq!(error.option, at_fault, "{}", error.message);
        assert!(error.message.contains(message) && !error.panicked, "{}", error.message);
        assert!(!error.help.is_empty(), "no help with {}", error.message);
    }
}
