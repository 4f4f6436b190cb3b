//! `fer-host plugin new` where it writes, and where it refuses. That what it writes builds is looked at in `tests/kit`.

use std::fs;

use crate::host::Host;

fn names(host: &Host, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(host.path(folder)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name != "hf").collect();
    names.sort();
    names
}

#[test]
fn a_crate_is_written_and_the_next_steps_told() {
    let host = Host::new();
    let told = host.run("plugin new my-loss --kind loss --sdk-version 0.2").ok();
    for part in
        ["a loss in my-loss", "fer-sdk 0.2", "cd my-loss", "cargo build", "cargo test", "plugin check", "plugin show"]
    {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert_eq!(names(&host, "my-loss"), [".gitignore", "Cargo.toml", "README.md", "src", "tests"]);
    let manifest = fs::read_to_string(host.path("my-loss/Cargo.toml")).unwrap();
    for part in ["name = \"my-loss\"", "fer-sdk = \"0.2\"", "rust-version = ", "edition = \"2024\"", "[workspace]"] {
        assert!(manifest.contains(part), "{part:?} is not in\n{manifest}");
    }
    let told = host.run("plugin new sharp --kind resizer --path some_where --sdk-version 9").ok();
    assert!(told.contains("cd some_where") && told.contains("note: this host has fer-sdk"), "{told}");
    // The program lies in the target folder of its sources.
    let told = host.run("plugin new deep --kind backbone").ok();
    assert!(told.contains("fer-sdk at ") || told.contains("of cargo's registry"), "{told}");
}

#[test]
fn nothing_is_overwritten_and_nothing_left_behind() {
    let host = Host::new();
    host.write("taken/mine.txt", "precious");
    host.write("file", "precious");
    fs::create_dir(host.path("empty")).unwrap();
    for there in ["taken", "file", "empty"] {
        let new = format!("plugin new {there} --kind loss --sdk-version 0.2");
        host.run(&new).refused(&["is there already, and nothing is ever overwritten", "--path"]);
    }
    host.run("plugin new x --kind loss --sdk-version 0.2 --path no/where").refused(&["there is no folder no"]);
    host.run("plugin new My_Loss --kind loss").refused(&["'M' is not a lower case letter", "did you mean my-loss?"]);
    host.run("plugin new match --kind loss").refused(&["a word of the Rust language"]);
    host.run("plugin new ltr --kind resizer").refused(&["a resizer called \"ltr\" already", "library: "]);
    host.run("plugin new x --kind loss --sdk-version newest").refused(&["--sdk-version \"newest\" is not a version"]);
    host.run("plugin new x --kind loss --sdk-path taken").refused(&["does not hold fer-host's sources", "core/sdk"]);
    host.run("plugin new x --kind loss --sdk-path nowhere").refused(&["cannot open the SDK's folder nowhere"]);
    assert_eq!(names(&host, ""), ["empty", "file", "taken"]);
    assert_eq!(names(&host, "taken"), ["mine.txt"]);
}
