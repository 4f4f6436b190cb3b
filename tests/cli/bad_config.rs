//! Configs that are wrong, each in one way: the error says what, where, and what to do.

use insta::assert_snapshot;

use crate::{host::Host, micro::MICRO};

/// What `run` says of the micro experiment with `from` replaced by `to`.
#[track_caller]
fn said(from: &str, to: &str) -> String {
    assert!(MICRO.contains(from), "{from:?} is not in the experiment");
    let host = Host::new();
    host.write("micro.ron", MICRO.replacen(from, to, 1));
    let err = host.run("run micro.ron --out runs").refused(&["micro.ron:"]);
    assert!(!host.path("runs").exists(), "a refused run left a folder");
    host.plain(&err)
}

macro_rules! refused {
    ($($name:ident: $from:literal => $to:literal;)*) => {
        $(#[test]
        fn $name() {
            assert_snapshot!(stringify!($name), said($from, $to));
        })*
    };
}

refused! {
    // Keys and values of the experiment itself.
    a_misspelt_key: "epochs: 2" => "epoch: 2";
    a_missing_key: "epochs: 2, " => "";
    a_key_given_twice: "epochs: 2" => "epochs: 2, epochs: 3";
    a_word_for_a_number: "batch: 16" => "batch: \"many\"";
    a_negative_number: "seed: 1" => "seed: -1";
    a_number_out_of_range: "epochs: 2" => "epochs: 0";
    an_unknown_variant: "AdamW(" => "AdamWW(";
    a_missing_comma: "epochs: 2, batch" => "epochs: 2 batch";
    an_unclosed_bracket: "epochs: 2, batch: 16, seed: 1,\n)" => "epochs: 2, batch: 16, seed: 1,";
    an_unknown_class_weight: "epochs: 2" => "class_weights: Values([(\"joy\", 2.0)]), epochs: 2";
    a_group_that_matches_nothing: "epochs: 2" => "groups: [(pattern: \"backbon.*\", learning_rate_scale: 0.1)], epochs: 2";

    // Plugins and their options.
    a_misspelt_plugin: "\"swin\"" => "\"swim\"";
    a_plugin_of_another_kind: "\"swin\"" => "\"stn\"";
    a_misspelt_option: "embed_dim: 8" => "embed_dims: 8";
    an_option_of_the_wrong_type: "embed_dim: 8" => "embed_dim: \"eight\"";
    an_option_out_of_range: "alpha: 0.8" => "alpha: 1.8";
    an_unknown_choice_of_an_option: "embed_dim: 8" => "variant: \"smal\"";

    // Components that do not fit together.
    a_patch_that_does_not_divide_the_image: "size: 16" => "size: 18";
    a_window_that_does_not_divide_the_tokens: "window_size: 2" => "window_size: 3";
    lists_of_different_lengths: "num_heads: [1, 2]" => "num_heads: [1]";
    heads_that_do_not_divide_the_width: "num_heads: [1, 2]" => "num_heads: [3, 3]";
    an_image_too_small_for_a_resizer: "plugin: \"bilinear\", size: 16)" => "plugin: \"bilinear\", size: 16), (plugin: \"stn\")";

    // Data and engine.
    a_batch_larger_than_the_data: "batch: 16" => "batch: 65";
    faces_smaller_than_can_be_drawn: "test: 24, size: 24" => "test: 24, size: 8";
    a_data_set_that_is_not_there: "Builtin(train: 64, validation: 16, test: 24, size: 24)" => "RafDb(root: \"data/raf-db\")";
    a_prior_that_is_not_there: "epochs: 2" => "prior: File(\"prior.csv\"), epochs: 2";
    an_engine_without_this_precision: "epochs: 2" => "engine: Cpu, precision: F64, epochs: 2";
    the_reference_in_a_precision_that_it_lacks: "epochs: 2" => "engine: Dfdx, precision: Bf16, epochs: 2";
    a_kernel_that_is_not_there: "epochs: 2" => "no_fuse: [\"layernorm\"], epochs: 2";
    a_precision_that_only_a_card_has: "epochs: 2" => "engine: Cpu, precision: Tf32, epochs: 2";
    a_card_in_a_precision_that_it_lacks: "epochs: 2" => "engine: Cuda(device: 1), precision: F64, epochs: 2";
    a_card_without_a_number: "epochs: 2" => "engine: Cuda(device: \"first\"), epochs: 2";
    a_misspelt_setting_of_an_engine: "epochs: 2" => "engine: Cuda(devise: 1), epochs: 2";
}

#[test]
fn a_file_that_is_not_there() {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    assert_snapshot!("a_file_that_is_not_there", host.run("run micr.ron").refused(&["help: "]));
}

#[test]
fn extends_of_a_file_that_is_not_there() {
    let host = Host::new();
    host.write("child.ron", "Experiment(extends: \"parent.ron\", epochs: 3)");
    let err = host.run("resolve child.ron").refused(&["parent.ron", "child.ron:1"]);
    assert_snapshot!("extends_of_a_file_that_is_not_there", host.plain(&err));
}

#[test]
fn several_faults_are_told_at_once() {
    let host = Host::new();
    host.write("micro.ron", MICRO.replace("epochs: 2, batch: 16", "epochs: 0, batch: 0"));
    let err = host.run("resolve micro.ron").refused(&["`epochs`", "`batch`"]);
    assert_snapshot!("several_faults_are_told_at_once", err);
}

#[test]
fn a_fault_on_the_command_line_is_shown_there() {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    let err = host.run("resolve micro.ron --set epoch=3").refused(&["--set epoch=3", "did you mean `epochs`?"]);
    assert_snapshot!("a_fault_on_the_command_line_is_shown_there", err);
}

#[test]
fn other_commands_refuse_alike() {
    let host = Host::new();
    host.write("micro.ron", MICRO.replace("\"swin\"", "\"swim\""));
    let said = host.run("run micro.ron").refused(&["no backbone is called \"swim\""]);
    for command in ["resolve", "graph", "run --dry-run"] {
        assert_eq!(host.run(&format!("{command} micro.ron")).refused(&[]), said);
    }
}

#[test]
fn misspelt_names_of_plugins_and_data_sets() {
    let host = Host::new();
    host.run("plugin show swinn").refused(&["no plugin is called \"swinn\"", "help: did you mean \"swin\"?"]);
    host.run("data check ferplu").refused(&["no data set is called \"ferplu\"", "help: did you mean \"ferplus\"?"]);
    host.run("data check ferplus").refused(&["needs the folder", "help: fer-host data check ferplus ROOT"]);
}

#[test]
fn a_library_that_is_no_plugin_is_told_and_hides_no_other() {
    let host = Host::new();
    let suffix = std::env::consts::DLL_SUFFIX;
    host.write(format!("mine/broken{suffix}"), "not a library");
    host.write("micro.ron", MICRO);
    let answer =
        |arguments: &str| crate::host::Answer::of(host.command(arguments).env("FER_PLUGIN_PATH", host.path("mine")));
    let list = answer("plugin list").ok();
    assert!(list.contains("cannot be used") && list.contains("broken") && list.contains("swin"), "{list}");
    answer("graph micro.ron").ok();
}
