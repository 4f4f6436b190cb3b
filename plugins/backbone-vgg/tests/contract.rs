//! The contract of `vgg16-bn` on models of a few thousand parameters, the published model's number of parameters, and clear errors.

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Setup, Trouble, absent, component, contract, images};
use fer_graph::Graph;
use proptest::prelude::*;

fn ints(name: &str, values: &[i64]) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Ints(values.to_vec().into()) }
}

fn int(name: &str, value: i64) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Int(value) }
}

/// One or two stages; maps smaller than the wide layers' kernel, as large, and larger.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    let sizes = (1..=2i64, any::<bool>(), 2..=3i64, 4..=18usize, 4..=18usize);
    (sizes, rest.strategy()).prop_map(|((depth, deep, width, h, w), mut options)| {
        let (depths, channels): (&[i64], &[i64]) = if deep { (&[1, depth], &[width, 2]) } else { (&[depth], &[width]) };
        options.extend([ints("depths", depths), ints("channels", channels), int("num_features", 3)]);
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
    let shapes = (1..=3usize, 1..=4usize, 1..=33usize, 1..=33usize).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    let ordinary = free(Choices::ordinary(subject.options()));
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

contract!(vgg);

fn graph(options: Vec<NamedOption>, side: usize) -> Result<Graph, Trouble> {
    let case = Case { options, inputs: images([1, 3, side, side]), training: false, seed: 0 };
    vgg().subject.graph(&case)
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

#[test]
fn what_cannot_be_is_said() {
    let refused = |options: Vec<NamedOption>, side| match graph(options, side) {
        Err(Trouble::Skipped(message)) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(vec![], 16), "the 1 x 1 map of a stage cannot be halved");
    assert!(refused(vec![ints("depths", &[1, 1])], 64).contains("one entry a stage"));
    assert_eq!(refused(vec![int("img_size", 224)], 64), "the images are 64 x 64, not 224 x 224");
}
