//! The published models' numbers of parameters, what their parameters are said to be, and what they refuse.

use fer_abi::{BuildError, NamedOption, OptionValue};
use fer_contract::{Case, Subject, component, images};
use fer_sdk::graph::{Graph, Positions, Role};

fn option(name: &str, value: OptionValue) -> NamedOption {
    NamedOption { name: name.into(), value }
}

fn int(name: &str, value: i64) -> NamedOption {
    option(name, OptionValue::Int(value))
}

fn word(name: &str, value: &str) -> NamedOption {
    option(name, OptionValue::Text(value.into()))
}

fn flag(name: &str, value: bool) -> NamedOption {
    option(name, OptionValue::Bool(value))
}

fn case(options: &[NamedOption], [h, w]: [usize; 2]) -> Case {
    Case { options: options.to_vec(), inputs: images([2, 3, h, w]), training: false, seed: 0 }
}

fn graph(id: &str, options: &[NamedOption], sides: [usize; 2]) -> Graph {
    component!("backbone", id).graph(&case(options, sides)).unwrap()
}

/// A model of eight channels and two blocks, on 8 x 12 pixels.
fn small(id: &str, more: &[NamedOption]) -> Graph {
    let sizes = [int("patch_size", 4), int("embed_dim", 8), int("depth", 2), int("num_heads", 2)];
    graph(id, &[&sizes, more].concat(), [8, 12])
}

/// With a linear head for each output.
fn count(id: &str, options: &[NamedOption], side: usize, classes: usize) -> usize {
    let graph = graph(id, options, [side; 2]);
    let heads: usize = graph.outputs.iter().map(|(_, value)| (graph.shape(*value)[1] + 1) * classes).sum();
    graph.parameter_count() + heads
}

/// timm's `vit_<variant>_patch<patch>_<side>` with 8 and with 1000 classes.
#[test]
fn published_vits_have_their_numbers_of_parameters() {
    let table = [
        ("tiny", 16, 224, [5_525_960, 5_717_416]),
        ("tiny", 16, 384, [5_598_920, 5_790_376]),
        ("small", 16, 224, [21_668_744, 22_050_664]),
        ("small", 32, 224, [22_497_032, 22_878_952]),
        ("small", 16, 384, [21_814_664, 22_196_584]),
        ("base", 16, 224, [85_804_808, 86_567_656]),
        ("base", 32, 224, [87_461_384, 88_224_232]),
        ("base", 16, 384, [86_096_648, 86_859_496]),
        ("large", 16, 224, [303_309_832, 304_326_632]),
        ("large", 16, 384, [303_698_952, 304_715_752]),
    ];
    for (variant, patch, side, expected) in table {
        let options = [word("variant", variant), int("patch_size", patch)];
        let found = [8, 1000].map(|classes| count("vit", &options, side, classes));
        assert_eq!(found, expected, "{variant}, patches of {patch}, images of {side}");
    }
}

/// timm's `deit_<variant>_patch16_<side>` and `deit_<variant>_distilled_patch16_<side>` with 8 and with 1000 classes.
#[test]
fn published_deits_have_their_numbers_of_parameters() {
    let table = [
        ("tiny", false, 224, [5_525_960, 5_717_416]),
        ("small", false, 224, [21_668_744, 22_050_664]),
        ("base", false, 224, [85_804_808, 86_567_656]),
        ("base", false, 384, [86_096_648, 86_859_496]),
        ("tiny", true, 224, [5_527_888, 5_910_800]),
        ("small", true, 224, [21_672_592, 22_436_432]),
        ("base", true, 224, [85_812_496, 87_338_192]),
        ("base", true, 384, [86_104_336, 87_630_032]),
    ];
    for (variant, distilled, side, expected) in table {
        let options = [word("variant", variant), flag("distilled", distilled)];
        let found = [8, 1000].map(|classes| count("deit", &options, side, classes));
        assert_eq!(found, expected, "{variant}, distilled: {distilled}, images of {side}");
    }
}

/// The stem is layer 0, block i layer i + 1, the norm after it in the last block's, the norm after pooling in none.
#[test]
fn parameters_are_in_timms_layers() {
    let of = |graph: &Graph, name: &str| graph.argument(name).unwrap_or_else(|| panic!("no {name}")).layer;
    let model = small("deit", &[flag("distilled", true)]);
    for name in ["cls_token", "dist_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"] {
        assert_eq!(of(&model, name), Some(0), "{name}");
    }
    for argument in model.by_role(Role::Parameter) {
        let block = argument.name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next());
        if let Some(block) = block.and_then(|i| i.parse::<u32>().ok()) {
            assert_eq!(argument.layer, Some(block + 1), "{}", argument.name);
        }
    }
    let last = model.by_role(Role::Parameter).filter_map(|a| a.layer).max();
    assert_eq!(of(&model, "norm.weight"), last);
    let pooled = small("vit", &[word("global_pool", "avg")]);
    assert_eq!(of(&pooled, "fc_norm.bias"), None);
    assert!(pooled.argument("norm.weight").is_none());
}

#[test]
fn tokens_and_the_table_are_not_decayed() {
    let model = small("deit", &[flag("distilled", true)]);
    let undecayed = |axes: usize| -> Vec<&str> {
        let of = model.by_role(Role::Parameter).filter(|a| !a.decay && model.ty(a.value).rank() >= axes);
        of.map(|a| a.name.as_str()).collect()
    };
    assert_eq!(undecayed(2), ["cls_token", "dist_token", "pos_embed"]);
}

#[test]
fn the_table_says_which_positions_it_is_over() {
    let table = |graph: &Graph| graph.argument("pos_embed").and_then(|a| a.positions);
    let expected = |prefix| Some(Positions::Tokens { prefix, rows: 2, columns: 3 });
    assert_eq!(table(&small("vit", &[])), expected(1));
    assert_eq!(table(&small("deit", &[])), expected(1));
    assert_eq!(table(&small("deit", &[flag("distilled", true)])), expected(2));
}

#[test]
fn a_distilled_model_gives_two_features() {
    let outputs = |distilled| -> Vec<(String, Vec<usize>)> {
        let model = small("deit", &[flag("distilled", distilled)]);
        model.outputs.iter().map(|(name, value)| (name.clone(), model.shape(*value).to_vec())).collect()
    };
    let mut both = outputs(true);
    both.sort();
    assert_eq!(both, [("features".to_owned(), vec![2, 8]), ("features_dist".to_owned(), vec![2, 8])]);
    assert_eq!(outputs(false), [("features".to_owned(), vec![2, 8])]);
}

fn refusal(subject: &Subject, options: &[NamedOption], sides: [usize; 2]) -> BuildError {
    subject.ask(&subject.request(&case(options, sides))).expect_err("it should be refused")
}

#[test]
fn refusals_name_the_option_and_help() {
    let subject = component!("backbone", "deit");
    let distilled = flag("distilled", true);
    let cases: [(&[NamedOption], [usize; 2], &str, &str); 7] = [
        (&[], [224, 230], "patch_size", "does not divide"),
        (&[int("img_size", 384)], [224, 224], "img_size", "384 x 384"),
        (&[int("num_heads", 5)], [32, 32], "num_heads", "192"),
        (&[int("embed_dim", 100)], [32, 32], "num_heads", "3 heads"),
        (&[int("embed_dim", 9), option("mlp_ratio", OptionValue::Float(0.1))], [32, 32], "mlp_ratio", "no hidden"),
        (&[distilled.clone(), word("global_pool", "avg")], [32, 32], "global_pool", "distillation"),
        (&[distilled, flag("fc_norm", true)], [32, 32], "fc_norm", "norm"),
    ];
    for (options, sides, at_fault, part) in cases {
        let error = refusal(&subject, options, sides);
        assert_eq!(error.option, at_fault, "{}", error.message);
        assert!(error.message.contains(part) && !error.panicked, "{}", error.message);
        assert!(!error.help.is_empty(), "no help with {}", error.message);
    }
}
