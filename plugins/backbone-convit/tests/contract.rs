//! The contract of `convit` on models of a few thousand parameters, the published models' numbers of parameters, and clear errors.

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Setup, Trouble, absent, component, contract, images};
use fer_graph::{Graph, Init, Positions};
use proptest::prelude::*;

fn int(name: &str, value: i64) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Int(value) }
}

fn word(name: &str, value: &str) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Text(value.into()) }
}

const SIZES: [&str; 6] = ["patch_size", "embed_dim", "depth", "num_heads", "local_up_to_layer", "img_size"];

/// One to five heads of two channels, local and global blocks, grids that need not be square.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    let sizes = (2..=4usize, 1..=3i64, 1..=5i64, 0..=2i64, 1..=3usize, 1..=3usize);
    (1..=3usize, sizes, rest.strategy()).prop_map(|(n, (patch, depth, heads, local, rows, columns), mut options)| {
        options.extend([int("patch_size", patch as i64), int("embed_dim", 2), int("depth", depth)]);
        options.extend([int("num_heads", heads), int("local_up_to_layer", local.min(depth - 1))]);
        Setup { options, inputs: images([n, 3, patch * rows, patch * columns]) }
    })
}

fn convit() -> Contract {
    let subject = component!("backbone", "convit");
    let ordinary = SIZES.iter().fold(Choices::ordinary(subject.options()), |c, name| c.set(name, absent()));
    let ordinary = ordinary.floats("mlp_ratio", 0.6..=3.0).floats("locality_strength", 0.0..=1.5);
    let some = |range| prop::option::of(range).prop_map(|v: Option<i64>| v.map(OptionValue::Int));
    let wide = Choices::wide(subject.options()).ints("depth", 1..=4).ints("embed_dim", 1..=12);
    let wide = wide.set("num_heads", some(1..=9i64)).set("local_up_to_layer", some(0..=5i64));
    let sides = prop::sample::select(vec![8usize, 12, 16, 32, 48]);
    let shapes = (1..=2usize, 1..=4usize, sides.clone(), sides).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

contract!(convit);

fn graph(options: Vec<NamedOption>, side: usize) -> Result<Graph, Trouble> {
    let case = Case { options, inputs: images([1, 3, side, side]), training: false, seed: 0 };
    convit().subject.graph(&case)
}

/// timm's models with their linear head, 8 and 1000 classes.
#[test]
fn published_models_have_their_numbers_of_parameters() {
    let table =
        [("tiny", [5_519_056, 5_710_512]), ("small", [27_347_786, 27_777_322]), ("base", [85_777_192, 86_540_040])];
    for (variant, expected) in table {
        let graph = graph(vec![word("variant", variant)], 224).unwrap();
        let features = graph.shape(graph.output("features").unwrap())[1];
        let found = [8, 1000].map(|classes| graph.parameter_count() + (features + 1) * classes);
        assert_eq!(found, expected, "{variant}");
    }
}

/// The paper's equation 5 for nine heads: centres one step around the token, and values that start as the identity.
#[test]
fn local_blocks_start_as_convolutions() {
    let graph = graph(vec![word("variant", "small")], 64).unwrap();
    let init = |name: &str| graph.argument(name).unwrap().init.clone().unwrap();
    assert_eq!(init("blocks.0.attn.v.weight"), Init::Eye);
    assert_eq!(init("blocks.0.attn.gating_param"), Init::Ones);
    let Init::Values(weight) = init("blocks.9.attn.pos_proj.weight") else { panic!("values") };
    let centres: Vec<[f64; 2]> = weight.chunks(3).map(|row| [row[0] / 2.0, row[1] / 2.0]).collect();
    let around = [-1.0, 0.0, 1.0].into_iter().flat_map(|right| [-1.0, 0.0, 1.0].map(|down| [right, down]));
    assert_eq!(centres, around.collect::<Vec<_>>());
    assert!(weight.chunks(3).all(|row| row[2] == -1.0));
    assert!(
        graph.argument("blocks.10.attn.qkv.weight").is_some() && graph.argument("blocks.10.attn.qk.weight").is_none()
    );
}

#[test]
fn positions_are_those_of_the_patches_alone() {
    let graph = graph(vec![], 96).unwrap();
    let table = graph.argument("pos_embed").unwrap();
    assert_eq!(table.positions, Some(Positions::Tokens { prefix: 0, rows: 6, columns: 6 }));
    assert!(!table.decay && !graph.argument("cls_token").unwrap().decay);
}

#[test]
fn what_cannot_be_is_said() {
    let refused = |options: Vec<NamedOption>, side| match graph(options, side) {
        Err(Trouble::Skipped(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(vec![], 40).contains("patch_size 16 does not divide the images' 40 x 40 pixels"));
    let late = refused(vec![int("local_up_to_layer", 12)], 32);
    assert_eq!(late, "the class token would join after block 12, and there are only 12 blocks");
    assert_eq!(refused(vec![int("img_size", 224)], 64), "the images are 64 x 64, not 224 x 224");
}
