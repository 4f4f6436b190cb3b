//! The contract of `xcit` on models of a few thousand parameters, the published models' numbers of parameters, and clear errors.

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Setup, Trouble, absent, component, contract, images};
use fer_graph::{Graph, Init, Role};
use proptest::prelude::*;

fn int(name: &str, value: i64) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Int(value) }
}

fn word(name: &str, value: &str) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Text(value.into()) }
}

const SIZES: [&str; 6] = ["patch_size", "embed_dim", "depth", "num_heads", "cls_attn_layers", "img_size"];

/// Eight channels, one or two blocks, one to four patches.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    // One image is a case of its own: axes of size 1 vanish. Two are too few to normalise over.
    let batch = prop::sample::select(vec![1usize, 3]);
    let sizes = (prop::sample::select(vec![8i64, 16]), 1..=2i64, 1..=2i64, 1..=2i64, 1..=2usize, 1..=2usize);
    (batch, sizes, rest.strategy()).prop_map(|(n, (patch, depth, heads, class, rows, columns), mut options)| {
        options.extend([int("patch_size", patch), int("embed_dim", 8), int("depth", depth)]);
        options.extend([int("num_heads", 2 * heads), int("cls_attn_layers", class)]);
        let side = |patches: usize| patch as usize * patches;
        Setup { options, inputs: images([n, 3, side(rows), side(columns)]) }
    })
}

fn xcit() -> Contract {
    let subject = component!("backbone", "xcit");
    let ordinary = SIZES.iter().fold(Choices::ordinary(subject.options()), |c, name| c.set(name, absent()));
    // Branches that start at nothing have no gradient to compare.
    let ordinary = ordinary.floats("mlp_ratio", 0.5..=3.0).floats("eta", 0.1..=1.5);
    let some = |range| prop::option::of(range).prop_map(|v: Option<i64>| v.map(OptionValue::Int));
    let wide = Choices::wide(subject.options()).set("depth", some(1..=3i64)).set("embed_dim", some(1..=48i64));
    let wide = wide.set("num_heads", some(1..=9i64)).ints("cls_attn_layers", 1..=3);
    let sides = prop::sample::select(vec![8usize, 12, 16, 32, 48]);
    let shapes = (1..=2usize, 1..=4usize, sides.clone(), sides).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

contract!(xcit);

fn graph(options: Vec<NamedOption>, side: usize) -> Result<Graph, Trouble> {
    let case = Case { options, inputs: images([1, 3, side, side]), training: false, seed: 0 };
    xcit().subject.graph(&case)
}

/// timm's models with their linear head, 8 and 1000 classes.
#[test]
fn published_models_have_their_numbers_of_parameters() {
    let table = [
        ("nano-12", 16, [2_925_256, 3_053_224]),
        ("tiny-12", 16, [6_524_816, 6_716_272]),
        ("tiny-24", 16, [11_925_440, 12_116_896]),
        ("small-12", 16, [25_871_384, 26_253_304]),
        ("small-24", 16, [47_289_464, 47_671_384]),
        ("medium-24", 16, [83_886_856, 84_395_752]),
        ("large-24", 16, [188_333_288, 189_096_136]),
        ("nano-12", 8, [2_921_048, 3_049_016]),
        ("tiny-12", 8, [6_515_048, 6_706_504]),
        ("small-12", 8, [25_831_112, 26_213_032]),
        ("medium-24", 8, [83_814_728, 84_323_624]),
    ];
    for (variant, patch, expected) in table {
        let graph = graph(vec![word("variant", variant), int("patch_size", patch)], 224).unwrap();
        let features = graph.shape(graph.output("features").unwrap())[1];
        let found = [8, 1000].map(|classes| graph.parameter_count() + (features + 1) * classes);
        assert_eq!(found, expected, "{variant}, patches of {patch}");
    }
}

/// LayerScale starts where the paper's table has it: 1 for twelve blocks, 1e-5 for 24.
#[test]
fn branches_start_as_the_depth_wants() {
    for (variant, eta) in [("nano-12", 1.0), ("small-12", 1.0), ("small-24", 1e-5), ("large-24", 1e-5)] {
        let graph = graph(vec![word("variant", variant)], 32).unwrap();
        let scales = graph.by_role(Role::Parameter).filter(|p| p.name.contains("gamma"));
        assert!(scales.map(|p| p.init.clone()).all(|init| init == Some(Init::Constant(eta))), "{variant}");
    }
}

#[test]
fn what_cannot_be_is_said() {
    let refused = |options: Vec<NamedOption>, side| match graph(options, side) {
        Err(Trouble::Skipped(message)) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(vec![int("patch_size", 12)], 48), "patches of 12 pixels cannot be embedded");
    assert!(refused(vec![], 40).contains("patch_size 16 does not divide the images' 40 x 40 pixels"));
    assert_eq!(refused(vec![int("num_heads", 7)], 32), "7 heads do not divide the width 384");
    assert!(refused(vec![int("embed_dim", 12), int("num_heads", 4)], 32).contains("cannot be halved 3 times"));
}
