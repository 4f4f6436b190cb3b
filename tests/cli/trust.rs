//! Libraries that are pinned, and what happens when they change.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    process::Command,
};

use crate::{
    host::{Answer, Host, PROGRAM},
    micro::MICRO,
    record::Record,
};

/// The program and the three plugins of [`MICRO`] in a folder of the test's own, where they can be changed.
struct Installed {
    host: Host,
}

impl Installed {
    fn new() -> Installed {
        let host = Host::new();
        host.write("config.ron", MICRO.replace("epochs: 2", "plugins: Lock(\"plugins.lock\"), epochs: 1"));
        fs::create_dir(host.path("bin")).unwrap();
        if fs::hard_link(PROGRAM, host.path("bin/fer-host")).is_err() {
            fs::copy(PROGRAM, host.path("bin/fer-host")).unwrap();
        }
        for name in ["resizer_bilinear", "backbone_swin", "loss_f_pdls", "loss_pdls"] {
            let file = file(name);
            let built = PathBuf::from(PROGRAM).with_file_name(&file);
            fs::copy(built, host.path("bin").join(file)).unwrap();
        }
        Installed { host }
    }

    fn run(&self, arguments: &str) -> Answer {
        let mut command = Command::new(self.host.path("bin/fer-host"));
        command.args(arguments.split_whitespace()).current_dir(self.host.path("")).env_remove("FER_PLUGIN_PATH");
        Answer::of(&mut command)
    }

    /// Another file, and the same library: the loader does not read what stands behind it.
    fn change(&self, name: &str) {
        let path = self.host.path("bin").join(file(name));
        OpenOptions::new().append(true).open(path).unwrap().write_all(b"changed").unwrap();
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.host.path("plugins.lock")).unwrap()
    }
}

fn file(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// The hash in a lock file of the component of that id.
fn hash_of(lock: &str, id: &str) -> String {
    let entry = lock.split(&format!("id: \"{id}\"")).nth(1).unwrap_or_else(|| panic!("{id} is not in {lock}"));
    entry.split('"').find(|word| word.len() == 64).unwrap().to_owned()
}

#[test]
fn a_changed_library_is_refused_until_it_is_accepted() {
    let installed = Installed::new();
    let missing = installed.run("run config.ron --dry-run");
    missing.refused(&["there is no lock file plugins.lock", "config.ron:", "asked for here", "plugin lock"]);
    let told = installed.run("plugin lock config.ron").ok();
    assert!(told.contains("added") && told.contains("3 components"), "{told}");
    installed.run("run config.ron --dry-run").ok();

    let before = installed.lock();
    installed.change("loss_f_pdls");
    let said =
        ["the library of loss \"f-pdls\" has changed since it was accepted", "accepted: ", "now: ", "changed 20"];
    let error = installed.run("run config.ron --dry-run").refused(&said);
    assert!(error.contains(&hash_of(&before, "f-pdls")) && error.contains("--accept f-pdls"), "{error}");
    // Other commands compose the same graph.
    installed.run("graph config.ron").refused(&said);
    // Locking again accepts nothing by itself, and leaves the file alone.
    let said = ["have changed since they were accepted: f-pdls", "is left as it was", "--accept f-pdls"];
    installed.run("plugin lock config.ron").refused(&said);
    assert_eq!(installed.lock(), before);
    installed
        .run("plugin lock --accept f-pdsl")
        .refused(&["no plugin is called \"f-pdsl\"", "did you mean \"f-pdls\"?"]);

    let told = installed.run("plugin lock --accept f-pdls").ok();
    assert!(told.starts_with("accepted") && told.contains("3 components"), "{told}");
    let after = installed.lock();
    assert_ne!(hash_of(&after, "f-pdls"), hash_of(&before, "f-pdls"));
    assert_eq!(hash_of(&after, "swin"), hash_of(&before, "swin"));
    installed.run("run config.ron --out runs").ok();

    // The record names the same bytes, of every component.
    let environment = Record::only(&installed.host, "runs").json("environment.json");
    let plugins = environment["plugins"].as_array().unwrap();
    let seen: Vec<_> = plugins.iter().map(|p| (p["path"].as_str().unwrap(), p["id"].as_str().unwrap())).collect();
    assert_eq!(seen, [("model.resizers.0", "bilinear"), ("model.backbone", "swin"), ("loss", "f-pdls")]);
    for plugin in plugins {
        assert_eq!(plugin["sha256"], hash_of(&after, plugin["id"].as_str().unwrap()).as_str());
        assert_eq!((&plugin["abi"], &plugin["version"]), (&fer_abi::VERSION.into(), &"0.1.0".into()));
        let length = fs::metadata(plugin["library"].as_str().unwrap()).unwrap().len();
        assert_eq!(plugin["bytes"].as_u64(), Some(length));
        assert!(plugin["modified"].as_str().unwrap().ends_with(" UTC"), "{plugin}");
    }
}

#[test]
fn what_is_not_in_the_lock_is_not_used() {
    let installed = Installed::new();
    installed.run("plugin lock config.ron").ok();
    let said = ["loss \"pdls\" is not in plugins.lock", "--accept pdls"];
    installed.run("run config.ron --dry-run --set loss=\"pdls\"").refused(&said);
    fs::remove_file(installed.host.path("bin").join(file("backbone_swin"))).unwrap();
    installed
        .run("run config.ron --dry-run")
        .refused(&["backbone \"swin\" is not where it was accepted", "accepted: "]);
    let lock = installed.lock();
    for (from, to) in [("\nLock(", "\nLook("), ("version: 1", "version: 9"), ("sha256: \"", "sha256: \"x")] {
        fs::write(installed.host.path("plugins.lock"), lock.replacen(from, to, 1)).unwrap();
        installed.run("run config.ron --dry-run").refused(&["plugins.lock is no lock file", "help: "]);
    }
}

#[test]
fn a_config_pins_by_hash() {
    let installed = Installed::new();
    installed.run("plugin lock config.ron").ok();
    let hash = hash_of(&installed.lock(), "f-pdls");
    installed.host.write("pinned.ron", MICRO.replace("alpha: 0.8", &format!("alpha: 0.8, sha256: \"{hash}\"")));
    let plain = installed.run("resolve pinned.ron --plain").ok();
    assert!(plain.contains(&format!("sha256: \"{hash}\"")), "{plain}");
    installed.run("run pinned.ron --dry-run").ok();
    installed.change("loss_f_pdls");
    let said = ["the library of loss \"f-pdls\" is not the one that is pinned", "pinned here", "changed 20", &hash];
    installed.run("run pinned.ron --dry-run").refused(&said);
    let short = installed.run("resolve pinned.ron --set loss.sha256=\"12ab\"");
    short.refused(&["`loss.sha256` must be a SHA-256", "found \"12ab\""]);
    // Another plugin has another library: the pin goes with the options.
    installed.run("run pinned.ron --dry-run --set loss.plugin=\"pdls\"").ok();
}

/// A resumed run promises the same bits, which other code does not.
#[test]
fn a_run_is_not_resumed_with_a_changed_library() {
    let installed = Installed::new();
    installed.host.write("free.ron", MICRO);
    installed.run("run free.ron --out runs").ok();
    let record = Record::only(&installed.host, "runs");
    fs::remove_file(record.file("results.json")).unwrap();
    let before = record.json("environment.json")["plugins"][1]["sha256"].as_str().unwrap().to_owned();
    installed.change("backbone_swin");
    let resume = format!("run --resume {}", record.0.display());
    let said = ["plugin libraries have changed since the run began: swin", "then: ", &before, "now: ", "changed 20"];
    installed.run(&resume).refused(&said);
    installed.run(&format!("{resume} --accept-changed-plugins")).ok();
}
