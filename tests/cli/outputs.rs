//! What the commands that only look say, word for word.

use fer_graph::parse;
use insta::assert_snapshot;
use serde_json::Value;

use crate::{host::Host, micro::MICRO};

fn micro() -> Host {
    let host = Host::new();
    host.write("micro.ron", MICRO);
    host
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

#[test]
fn resolve_says_every_value_and_where_it_comes_from() {
    let host = micro();
    let out = host.run("resolve micro.ron --set epochs=5 --precision f64").ok();
    assert_snapshot!("resolve", host.plain(&out));
}

#[test]
fn resolve_plain_reads_back_to_itself() {
    let host = micro();
    let once = host.run("resolve micro.ron --plain --set epochs=5").ok();
    assert_snapshot!("resolve_plain", host.plain(&once));
    host.write("again.ron", &once);
    assert_eq!(host.run("resolve again.ron --plain").ok(), once);
    let experiment = |text: &str| fer_config::load_text("again.ron", text, &[]).unwrap().experiment;
    let original = fer_config::load_text("micro.ron", MICRO, &["epochs=5".to_owned()]).unwrap().experiment;
    assert_eq!(experiment(&once), original);
}

#[test]
fn resolve_json_has_path_value_and_origin() {
    let rows = json(&micro().run("resolve micro.ron --json --set epochs=5").ok());
    let row = |path: &str| rows.as_array().unwrap().iter().find(|r| r["path"] == path).unwrap().clone();
    assert_eq!(row("epochs"), json(r#"{ "path": "epochs", "value": "5", "origin": "--set epochs=5" }"#));
    assert_eq!(row("batch")["origin"], "micro.ron:10:23");
    assert_eq!(row("workers"), json(r#"{ "path": "workers", "value": "1", "origin": "default" }"#));
}

#[test]
fn graph_shows_a_table_by_scope() {
    let host = micro();
    assert_snapshot!("graph_table", host.run("graph micro.ron").ok());
    assert_snapshot!("graph_table_of_the_step", host.run("graph micro.ron --stage step --batch 4 --depth 1").ok());
}

#[test]
fn graph_text_parses_back_when_it_is_full() {
    let host = micro();
    for options in ["", "--eval", "--stage step", "--stage inlined", "--stage simplified"] {
        let text = host.run(&format!("graph micro.ron --format text --full --batch 2 {options}")).ok();
        let graph = parse(&text).unwrap_or_else(|e| panic!("{options}: {e}"));
        assert_eq!(fer_graph::print(&graph, fer_graph::PrintOptions::EXACT).trim_end(), text.trim_end(), "{options}");
    }
}

#[test]
fn graph_text_can_be_followed() {
    let text = micro().run("graph micro.ron --format text --eval --batch 2").ok();
    assert_snapshot!("graph_text", text);
}

#[test]
fn graph_dot_names_each_box_once_and_draws_arrows_between_them() {
    let text = micro().run("graph micro.ron --format dot --batch 2").ok();
    assert_snapshot!("graph_dot", text);
}

#[test]
fn graph_json_totals_its_scopes() {
    let summary = json(&micro().run("graph micro.ron --format json --batch 4").ok());
    let scopes = summary["scopes"].as_array().unwrap();
    for key in ["parameters", "activation_bytes", "nodes"] {
        let sum: u64 = scopes.iter().map(|s| s[key].as_u64().unwrap()).sum();
        assert_eq!(summary["total"][key].as_u64(), Some(sum), "{key}");
    }
    assert_eq!(summary["batch"], 4);
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let host = micro();
    // The text is longer than a pipe holds, so the program does meet the closed end.
    let answer = host.shell("{ \"$HOST\" graph micro.ron --format text --full; echo \"code $?\" >&2; } | head -1");
    assert!(answer.err.ends_with("code 0\n") && !answer.err.contains("error"), "{answer:?}");
}

#[test]
fn plugin_list_and_show_describe_what_is_there() {
    let host = Host::new();
    assert_snapshot!("plugin_list", host.plain(&host.run("plugin list").ok()));
    assert_snapshot!("plugin_show", host.plain(&host.run("plugin show f-pdls").ok()));
    let list = json(&host.run("plugin list --json").ok());
    assert_eq!(list["problems"], json("[]"));
    let ids: Vec<&str> = list["components"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    let shown = json(&host.run("plugin show loss/f-pdls --json").ok());
    assert!(ids.contains(&"swin") && ids.contains(&"stn") && shown["id"] == "f-pdls", "{ids:?} {shown}");
}

#[test]
fn data_check_audits_the_drawn_faces() {
    let host = Host::new();
    assert_snapshot!("data_check_builtin", host.plain(&host.run("data check builtin").ok()));
}

#[test]
fn help_names_every_command() {
    assert_snapshot!("help", Host::new().run("help").ok());
}
