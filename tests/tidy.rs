//! The architecture's invariants, read off manifests and sources.

use std::collections::{BTreeMap, BTreeSet};

use fer_graph::{Class, ops::TABLE};
use fer_tests::workspace::{File, Package, code, files, packages};

/// Fails with every offence, one a line.
fn none(offences: Vec<String>, rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

fn sources() -> Vec<(File, String)> {
    let sources: Vec<_> =
        files().into_iter().filter(|f| f.0.ends_with(".rs")).filter_map(|f| f.text().map(|text| (f, text))).collect();
    assert!(sources.len() > 100, "only {} sources were found: the walk is broken", sources.len());
    sources
}

fn names_under(packages: &[Package], folder: &str) -> BTreeSet<String> {
    let inside = |p: &&Package| p.folder == folder || p.folder.starts_with(&format!("{folder}/"));
    packages.iter().filter(inside).map(|p| p.name.clone()).collect()
}

#[test]
fn plugins_depend_on_the_sdk_alone() {
    let packages = packages();
    let plugins: Vec<&Package> = packages.iter().filter(|p| p.folder.starts_with("plugins/")).collect();
    assert!(plugins.len() >= 8, "only {} plugins were found", plugins.len());
    let sdk = BTreeSet::from(["fer-sdk".to_owned()]);
    let odd = plugins.iter().filter(|p| p.dependencies != sdk);
    none(odd.map(|p| format!("{}: {:?}", p.name, p.dependencies)).collect(), "a plugin depends on fer-sdk alone");
}

/// `abi <- graph <- autodiff <- plan <- engine <- engine-* <- train <- contract`, and `graph <- sdk`: nobody looks back.
#[test]
fn core_depends_one_way() {
    let flow =
        ["fer-abi", "fer-graph", "fer-autodiff", "fer-plan", "fer-engine", "fer-engine-*", "fer-train", "fer-contract"];
    let kernels = |name: &str| name == "fer-cpu-kernels";
    let place = |name: &str| {
        let name = if name.starts_with("fer-engine-") { "fer-engine-*" } else { name };
        flow.iter().position(|&n| n == name)
    };
    let packages = packages();
    let core = names_under(&packages, "core");
    let mut odd = vec![];
    for package in packages.iter().filter(|p| core.contains(&p.name)) {
        for dependency in package.dependencies.iter().filter(|d| d.starts_with("fer-")) {
            let allowed = match (place(&package.name), place(dependency)) {
                // Kernels know no graph; only an engine knows them.
                _ if kernels(&package.name) => false,
                // A device for the tests of one engine, and what stands for its driver, on which nobody depends.
                _ if package.name == "fer-cuda-emulator" => dependency == "fer-engine-cuda",
                _ if package.name == "fer-cuda-emulated-driver" => {
                    ["fer-engine-cuda", "fer-cuda-emulator"].contains(&dependency.as_str())
                }
                (Some(_), None) if kernels(dependency) => package.name.starts_with("fer-engine-"),
                (Some(here), Some(there)) => there < here,
                // The SDK and its macros.
                (None, Some(there)) => there <= 1,
                (None, None) => package.name == "fer-sdk",
                (Some(_), None) => false,
            };
            if !allowed {
                odd.push(format!("{} depends on {dependency}", package.name));
            }
        }
    }
    none(odd, "core is built in one direction");
}

#[test]
fn core_knows_no_host_and_no_plugin() {
    let packages = packages();
    let strangers: BTreeSet<String> =
        names_under(&packages, "host").union(&names_under(&packages, "plugins")).cloned().collect();
    let mut odd = vec![];
    for package in packages.iter().filter(|p| p.folder.starts_with("core/")) {
        // Not for tests either: an engine that is tested with a plugin is tested for a plugin.
        let all = package.dependencies.union(&package.dev_dependencies);
        odd.extend(all.filter(|d| strangers.contains(*d)).map(|d| format!("{} depends on {d}", package.name)));
    }
    none(odd, "graph and engines know no plugin, core knows no host");
}

#[test]
fn only_the_host_reads_configs() {
    let outside = |p: &&Package| !p.folder.starts_with("host") && p.folder != "tests";
    let packages = packages();
    let readers =
        packages.iter().filter(outside).filter(|p| p.dependencies.iter().any(|d| d == "ron" || d == "fer-config"));
    none(readers.map(|p| p.name.clone()).collect(), "configs are read by the host alone");
}

#[test]
fn only_the_host_prints_and_exits() {
    // Where printing is the task, and why.
    let exceptions = BTreeMap::from([
        ("host/build.rs", "a build script talks to cargo on its output"),
        ("core/engine-cuda/emulator/driver/src/state.rs", "a driver of tests has no other way to say what it refused"),
        ("host/registry/src/probe.rs", "the child that probes a library answers its parent on its output"),
    ]);
    let words = ["println!(", "print!(", "process::exit", "process::abort", "io::stdout", "io::stderr"];
    let mut odd = vec![];
    for (file, text) in sources().iter().filter(|(f, _)| f.is_shipped_source() && !f.is_under("host/src")) {
        if exceptions.contains_key(file.0.as_str()) {
            continue;
        }
        let lines = code(text).filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        odd.extend(lines.map(|(n, line)| format!("{}:{n}: {}", file.0, line.trim())));
    }
    none(odd, "only the host binary prints and exits");
}

/// Composites are inlined before the reference engine sees a graph, so that it says what they mean.
#[test]
fn the_reference_engine_has_no_composite_kernel() {
    let composites: Vec<&str> = TABLE.iter().filter(|d| d.class == Class::Composite).map(|d| d.name).collect();
    assert!(composites.contains(&"softmax"));
    let mut odd = vec![];
    for (file, text) in sources().iter().filter(|(f, _)| f.is_under("core/engine-dfdx/src") && f.is_shipped_source()) {
        for (n, line) in code(text) {
            let named = composites.iter().find(|name| line.contains(&format!("\"{name}\"")));
            odd.extend(named.map(|name| format!("{}:{n}: {name}", file.0)));
        }
    }
    none(odd, "the reference engine knows primitives only");
}

#[test]
fn nothing_is_left_to_do_in_code() {
    let words = ["todo!(", "unimplemented!(", "dbg!("];
    let mut odd = vec![];
    for (file, text) in sources().iter().filter(|(f, _)| f.0 != "tests/tidy.rs") {
        let lines = text.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        odd.extend(lines.map(|(n, line)| format!("{}:{}: {}", file.0, n + 1, line.trim())));
    }
    none(odd, "what is unfinished does not land");
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    let mut odd = vec![];
    for (file, text) in sources().iter().filter(|(f, _)| f.0 != "tests/tidy.rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            // What an unsafe function asks of its caller stands in its documentation, and so does what a pointer to one does.
            let uses = ["unsafe {", "unsafe impl", "unsafe extern \"C\" {"].iter().any(|word| code.contains(word));
            // The comment stands above, over a statement that may take a few lines to reach the block.
            let above = lines[n.saturating_sub(5)..=n].iter().any(|line| line.contains("// SAFETY:"));
            if uses && !above {
                odd.push(format!("{}:{}: {}", file.0, n + 1, line.trim()));
            }
        }
    }
    none(odd, "an unsafe block or impl needs // SAFETY:");
}

#[test]
fn sources_are_short() {
    const MOST: usize = 500;
    let odd = sources().into_iter().map(|(file, text)| (file, text.lines().count())).filter(|(_, lines)| *lines > MOST);
    none(odd.map(|(file, lines)| format!("{}: {lines} lines", file.0)).collect(), "a source has at most 500 lines");
}

#[test]
fn every_crate_says_what_it_is() {
    let roots = |f: &File| f.0.ends_with("/src/lib.rs") || f.0.ends_with("/src/main.rs");
    let odd = sources().into_iter().filter(|(f, text)| roots(f) && !text.starts_with("//! "));
    none(odd.map(|(f, _)| f.0).collect(), "a crate's root begins with its purpose");
}

#[test]
fn packages_share_the_workspace_s_lints() {
    // What is published is frozen, and what needs another compiler is a workspace of its own.
    let apart = |p: &Package| p.folder.starts_with("core/abi/frozen/") || p.folder == "core/graph/fuzz";
    let odd = packages().into_iter().filter(|p| !p.shares_lints && !apart(p));
    none(odd.map(|p| p.folder).collect(), "[lints] workspace = true");
}

#[test]
fn no_file_names_a_workstation() {
    let words = ["work", "home", "root"].map(|folder| format!("/{folder}/"));
    let mut odd = vec![];
    for (file, text) in files().into_iter().filter_map(|f| f.text().map(|text| (f, text))) {
        let lines = text.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        odd.extend(lines.map(|(n, line)| format!("{}:{}: {}", file.0, n + 1, line.trim())));
    }
    none(odd, "paths of one machine mean nothing on another");
}

#[test]
fn decisions_have_titles() {
    let decisions = files().into_iter().filter(|f| f.is_under("docs/decisions") && f.0.ends_with(".md"));
    let odd = decisions.filter(|f| !f.text().is_some_and(|text| text.starts_with("# ")));
    none(odd.map(|f| f.0).collect(), "a decision begins with its title");
}
