//! Whatever the text, there is an answer and no panic; and what is printed reads back.

mod common;

use common::PAPER;
use fer_config::{Field, Name, Node, Source, Span, Value, load, load_text, print, print_inline, read, render_plain};
use proptest::prelude::*;

fn nowhere() -> Span {
    Span::new(&Source::file("", ""), 0, 0)
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z_é][a-zA-Z0-9_]{0,8}|[a-z0-9][a-z0-9.-]{1,5}".prop_filter("a constant is no word", |word| {
        !["true", "false", "inf", "NaN", "None", "Some"].contains(&word.as_str())
    })
}

fn name() -> impl Strategy<Value = Name> {
    word().prop_map(|text| Name { text, span: nowhere() })
}

/// Trees of everything that the reader can give.
fn tree() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Int(number.into())),
        any::<u64>().prop_map(|number| Value::Int(number.into())),
        any::<f64>().prop_filter("NaN is refused", |number| !number.is_nan()).prop_map(Value::Float),
        any::<char>().prop_map(Value::Char),
        any::<String>().prop_map(Value::Text),
        Just(Value::None),
        word().prop_map(Value::Word),
    ]
    .prop_map(|value| Node::new(value, nowhere()));
    leaf.prop_recursive(5, 60, 6, |inner| {
        let items = || prop::collection::vec(inner.clone(), 0..5);
        let keys = prop::collection::btree_map(word(), inner.clone(), 0..5);
        let fields = keys.prop_map(|keys| {
            keys.into_iter().map(|(key, node)| Field { key, key_span: nowhere(), node }).collect::<Vec<_>>()
        });
        let some_items = prop::collection::vec(inner.clone(), 1..5);
        prop_oneof![
            (prop::option::of(name()), fields).prop_map(|(name, fields)| Value::Group { name, fields }),
            (prop::option::of(name()), some_items).prop_map(|(name, items)| Value::Tuple { name, items }),
            items().prop_map(Value::List),
            prop::collection::btree_map(any::<String>(), inner.clone(), 0..4).prop_map(|map| {
                let key = |text| Node::new(Value::Text(text), nowhere());
                Value::Map(map.into_iter().map(|(text, value)| (key(text), value)).collect())
            }),
            inner.clone().prop_map(|inner| Value::Some(Box::new(inner))),
        ]
        .prop_map(|value| Node::new(value, nowhere()))
    })
}

/// Pieces that a config is made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "Experiment",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "=",
        "name",
        "model",
        "\"x\"",
        "\"",
        "'",
        "r#\"",
        "\\u{",
        "1",
        "-",
        "1e",
        "0x",
        ".5",
        "Some",
        "None",
        "true",
        "//",
        "/*",
        "*/",
        "\n",
        " ",
        "é",
        "loss",
        "plugin",
        "options",
        "extends",
        "r#",
        "b\"",
        "inf",
        "#![",
        "Adam",
        "optimiser",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn survives(text: &str, sets: &[String]) {
    if let Err(error) = load_text("x.ron", text, sets) {
        let shown = render_plain(&error);
        assert!(shown.starts_with("error: ") && !shown.contains("does not read back"), "{shown}");
    }
}

proptest! {
    #[test]
    fn printing_and_reading_is_the_identity(node in tree()) {
        for text in [print(&node), print_inline(&node)] {
            let read = read(&Source::file("x.ron", text.clone())).map_err(|error| TestCaseError::fail(format!("{}\n{text}", render_plain(&error))))?;
            prop_assert_eq!(&read, &node, "{}", text);
        }
    }

    #[test]
    fn any_text_has_an_answer(text in any::<String>(), pieces in pieces()) {
        survives(&text, &[]);
        survives(&pieces, &[]);
    }

    #[test]
    fn any_change_of_a_config_has_an_answer(at in 0..PAPER.len(), length in 0usize..30, insert in pieces()) {
        let end = (at + length).min(PAPER.len());
        survives(&format!("{}{insert}{}", &PAPER[..at], &PAPER[end..]), &[]);
    }

    #[test]
    fn any_argument_has_an_answer(path in "[a-z.0-9 ]{0,20}|model\\.(backbone|resizers|head|options)(\\.[a-z0-9]+){0,3}", value in pieces()) {
        survives(PAPER, &[format!("{path}={value}")]);
        survives(PAPER, &[path]);
    }

    #[test]
    fn any_option_and_text_reads_back(key in "[a-zA-Z_][a-zA-Z0-9_]{0,8}", node in tree(), texts in any::<(String, String)>()) {
        let quoted = |text: String| print_inline(&Node::new(Value::Text(text), nowhere()));
        let option = format!("model.backbone.{key}={}", print_inline(&node));
        survives(PAPER, &[option, format!("description={}", quoted(texts.0))]);
        survives(PAPER, &[format!("loss={{\"plugin\": \"x\", {}: 1}}", quoted(texts.1))]);
    }

    #[test]
    fn any_tree_as_an_experiment_has_an_answer(node in tree(), key in prop::sample::select(vec!["model", "loss", "data", "augment", "class_weights", "extends", "optimiser"])) {
        survives(&format!("({key}: {})", print(&node)), &[]);
        survives(PAPER, &[format!("{key}={}", print(&node))]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_have_an_answer(bytes in any::<Vec<u8>>()) {
        let file = tempfile::NamedTempFile::new().map_err(|error| TestCaseError::fail(error.to_string()))?;
        std::fs::write(file.path(), bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let _ = load(file.path(), &[]);
    }
}
