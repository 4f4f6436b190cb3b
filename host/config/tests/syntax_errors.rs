//! What a user sees who breaks RON's rules.

mod common;

use common::{bad, changed};
use insta::assert_snapshot;

#[test]
fn a_comma_is_missing() {
    assert_snapshot!(changed("optimiser: Adam(learning_rate: 1e-4),", "optimiser: Adam(learning_rate: 1e-4)"), @r#"
    error: a comma is missing
        configs/x.ron:10:41
     10 |     optimiser: Adam(learning_rate: 1e-4)
        |                                         ^ expected `,` or `)` here
    "#);
    assert_snapshot!(changed("epochs: 100, batch", "epochs: 100 batch"), @r#"
    error: a comma is missing
        configs/x.ron:12:16
     12 |     epochs: 100 batch: 64, seed: 1111,
        |                ^ expected `,` or `)` here
    "#);
}

#[test]
fn a_bracket_is_never_closed() {
    assert_snapshot!(changed("dropout: 0.5),\n    ),", "dropout: 0.5),\n"), @r#"
    error: the file ends inside a `(`
        configs/x.ron:4:12
      4 |     model: (
        |            ^ this bracket seems to be the open one
    help: close it with `)`
    "#);
    assert_snapshot!(bad("(name: [1, 2", &[]), @r#"
    error: the file ends inside a `[`
        configs/x.ron:1:8
      1 | (name: [1, 2
        |        ^ it opens here
    help: close it with `]`
    "#);
}

#[test]
fn a_bracket_is_closed_by_another() {
    assert_snapshot!(changed("size: 224)],", "size: 224)),"), @r#"
    error: expected `,` or `]`, found `)`
        configs/x.ron:5:72
      5 |         resizers: [(plugin: "sr", scale: 8), (plugin: "ltr", size: 224)),
        |                                                                        ^ found here
        |                   ^ this is open and wants `]`
    "#);
}

#[test]
fn bad_numbers() {
    assert_snapshot!(changed("1e-4", "1e-"), @r#"
    error: `1e-` is not a number
        configs/x.ron:10:36
     10 |     optimiser: Adam(learning_rate: 1e-),
        |                                    ^^^ found here
    "#);
    assert_snapshot!(changed("seed: 1111", "seed: 99999999999999999999"), @r#"
    error: `99999999999999999999` is too large a whole number
        configs/x.ron:12:35
     12 |     epochs: 100, batch: 64, seed: 99999999999999999999,
        |                                   ^^^^^^^^^^^^^^^^^^^^ found here
    help: whole numbers have at most 64 bits
    "#);
    assert_snapshot!(changed("seed: 1111", "seed: 12px"), @r#"
    error: `12px` is not a number
        configs/x.ron:12:35
     12 |     epochs: 100, batch: 64, seed: 12px,
        |                                   ^^^^ found here
    "#);
}

#[test]
fn a_key_given_twice() {
    assert_snapshot!(changed("seed: 1111", "seed: 1111, epochs: 2"), @r#"
    error: `epochs` is given twice
        configs/x.ron:12:41
     12 |     epochs: 100, batch: 64, seed: 1111, epochs: 2,
        |                                         ^^^^^^ the second time
        |     ^^^^^^ the first time
    "#);
}

#[test]
fn texts() {
    assert_snapshot!(changed("\"swin_nr_fpdls\"", "\"swin_nr_fpdls"), @r#"
    error: a text goes on over the end of its line
        configs/x.ron:2:11
      2 |     name: "swin_nr_fpdls,
        |           ^^^^^^^^^^^^^^^ it opens here
    help: its closing quote seems to be missing
    "#);
    assert_snapshot!(changed("\"data/ferplus\"", r#""data\ferplus""#), @r#"
    error: `\f` is not an escape
        configs/x.ron:3:30
      3 |     data: FerPlus(root: "data\ferplus", votes: ImageLists, labels: Majority, otherwise: Builtin(train: 256, epochs: 2)),
        |                              ^^ found here
    help: a backslash is written `\\`; others are \" \' \n \r \t \0 \x41 \u{e9}
    "#);
    assert_snapshot!(changed("\"f-pdls\"", "f-pdls"), @r#"
    error: expected `,` or `)`, found `-`
        configs/x.ron:9:21
      9 |     loss: (plugin: f-pdls, alpha: 0.8, gamma: 2.0),
        |                     ^ found here
    help: text stands in quotes: "f-pdls"
    "#);
    assert_snapshot!(changed("\"f-pdls\"", "'f-pdls'"), @r#"
    error: single quotes hold one character
        configs/x.ron:9:20
      9 |     loss: (plugin: 'f-pdls', alpha: 0.8, gamma: 2.0),
        |                    ^^ found here
    help: text stands in double quotes: "..."
    "#);
}

#[test]
fn other_formats() {
    assert_snapshot!(bad("{\"name\": \"x\"}", &[]), @r#"
    error: a config is written `Experiment(name: ..., ...)`, found a map `{...}`
        configs/x.ron:1:1
      1 | {"name": "x"}
        | ^^^^^^^^^^^^^ found here
    help: use round brackets, and keys without quotes
    "#);
    assert_snapshot!(bad("name: x\nepochs: 3\n", &[]), @r#"
    error: expected the end of the file, found `:`
        configs/x.ron:1:5
      1 | name: x
        |     ^ found here
    help: a config is written `Experiment(name: ..., ...)`
    "#);
    assert_snapshot!(bad("(\"name\": \"x\")", &[]), @r#"
    error: expected a key or `)`, found `"`
        configs/x.ron:1:2
      1 | ("name": "x")
        |  ^ found here
    help: keys are written without quotes
    "#);
    assert_snapshot!(bad("(name = \"x\")", &[]), @r#"
    error: expected `:` after `name`, found `=`
        configs/x.ron:1:7
      1 | (name = "x")
        |       ^ found here
    help: write `key: value`
    "#);
    assert_snapshot!(bad("", &[]), @r#"
    error: configs/x.ron is empty
    help: a config is written `Experiment(name: ..., ...)`
    "#);
    assert_snapshot!(bad("Model(name: \"x\")", &[]), @r#"
    error: a config is written `Experiment(name: ..., ...)`, found `Model(...)`
        configs/x.ron:1:1
      1 | Model(name: "x")
        | ^^^^^ found here
    "#);
    assert_snapshot!(bad("/* (name: \"x\")", &[]), @r#"
    error: a comment is never closed
        configs/x.ron:1:1
      1 | /* (name: "x")
        | ^^ it opens here
    help: close it with `*/`
    "#);
}

#[test]
fn nesting_is_limited() {
    assert_snapshot!(bad(&"[".repeat(100_000), &[]), @r#"
    error: brackets are nested more than 64 deep
        configs/x.ron:1:65
      1 | [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[...
        |                                                                 ^ this is the last straw
    "#);
    assert_snapshot!(bad(&"Some(".repeat(100_000), &[]), @r#"
    error: brackets are nested more than 64 deep
        configs/x.ron:1:321
      1 | ...Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(Some(...
        |                                                                          ^ this is the last straw
    "#);
}
