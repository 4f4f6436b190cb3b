//! The built program, run in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fer-host");

/// Libraries that the tests' configs name.
pub const PLUGINS: [&str; 15] = [
    "backbone_convit",
    "backbone_resnet",
    "backbone_swin",
    "backbone_vgg",
    "backbone_vit",
    "backbone_xcit",
    "loss_cross_entropy",
    "loss_example_brier",
    "loss_example_focal",
    "loss_f_pdls",
    "loss_pdls",
    "resizer_bilinear",
    "resizer_ltr",
    "resizer_sr",
    "resizer_stn",
];

/// Settings of the user's own, which tests do without.
const SETTINGS: [&str; 12] = [
    "FER_PLUGIN_PATH",
    "FER_LOG",
    "RAYON_NUM_THREADS",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "FER_CACHE",
    "FER_CUBLASLT",
    "FER_NVRTC",
];

/// An empty folder in which the program is run; gone with its owner.
pub struct Host {
    folder: TempDir,
}

/// What a finished program left.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Host {
    pub fn new() -> Host {
        let beside = Path::new(PROGRAM).parent().expect("the program lies in a folder");
        for plugin in PLUGINS {
            let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
            let library = beside.join(format!("{prefix}{plugin}{suffix}"));
            assert!(library.is_file(), "{} is missing: run `cargo build --workspace` first", library.display());
        }
        Host { folder: TempDir::new().expect("a temporary folder") }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders");
        fs::write(&path, content).expect("a file");
    }

    /// The program with arguments separated by spaces, in this folder, as on a machine without settings.
    pub fn command(&self, arguments: &str) -> Command {
        self.prepare(Command::new(PROGRAM), arguments)
    }

    /// Text without what differs from run to run: this folder, the program's, times, hashes, speeds.
    pub fn plain(&self, text: &str) -> String {
        let beside = Path::new(PROGRAM).parent().expect("the program lies in a folder");
        let mut text = text.to_owned();
        for (folder, name) in [(self.folder.path(), "[folder]"), (beside, "[program]")] {
            // macOS shows a temporary folder by another name than it gives.
            for path in [folder.canonicalize().expect("a folder"), folder.to_owned()] {
                text = text.replace(&path.display().to_string(), name);
            }
        }
        text.split('\n').map(plain_line).collect::<Vec<_>>().join("\n")
    }

    /// A shell line in which `$HOST` is the program.
    pub fn shell(&self, line: &str) -> Answer {
        let mut command = self.prepare(Command::new("sh"), "-c");
        Answer::of(command.arg(line).env("HOST", PROGRAM))
    }

    /// With a hub of the test's own, and a cache in this folder.
    pub fn run_with_hub(&self, endpoint: &str, arguments: &str) -> Answer {
        Answer::of(self.command(arguments).env("HF_ENDPOINT", endpoint))
    }

    pub fn run(&self, arguments: &str) -> Answer {
        Answer::of(&mut self.command(arguments))
    }

    fn prepare(&self, mut command: Command, arguments: &str) -> Command {
        command.args(arguments.split_whitespace()).current_dir(self.folder.path()).stdin(Stdio::null());
        for name in SETTINGS {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.path("hf"));
        // The same numbers wherever the tests run: also where there is a card, nothing is computed on it.
        command.env("CUDA_VISIBLE_DEVICES", "");
        command
    }
}

impl Answer {
    pub fn of(command: &mut Command) -> Answer {
        let output = command.output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
        Answer { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output of a program that did what it was asked.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "it failed:\n{}{}", self.out, self.err);
        self.out
    }

    /// The error of a program that refused: one that begins so, says all of `parts`, and is no panic.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) -> String {
        assert!(!self.err.contains("panicked"), "a panic:\n{}", self.err);
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert!(self.err.lines().any(|l| l.starts_with("error: ")), "no error was told:\n{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in:\n{}", self.err);
        }
        self.err
    }
}

/// A line without times, hashes and speeds.
fn plain_line(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for i in 0..words.len() {
        let number = words[i].parse::<f64>().is_ok();
        let unit = words.get(i + 1).map_or("", |w| w.trim_end_matches(','));
        if number && (unit == "images/s" || (unit == "s" && i > 0 && words[i - 1] == "in")) {
            words[i] = "[number]".into();
        }
        words[i] = words[i].split('/').map(plain_name).collect::<Vec<_>>().join("/");
    }
    words.join(" ")
}

/// A run folder's name is a time, a library's differs between systems, its hash has 64 digits.
fn plain_name(name: &str) -> String {
    let shape: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape.starts_with("0000-00-00T00-00-00Z") {
        return format!("[time]{}", &name["0000-00-00T00-00-00Z".len()..]);
    }
    if let Some(stem) = name.strip_suffix(std::env::consts::DLL_SUFFIX) {
        return format!("[library {}]", stem.trim_start_matches(std::env::consts::DLL_PREFIX));
    }
    let hash = name.trim_matches(|c: char| !c.is_ascii_hexdigit());
    if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return name.replace(hash, "[sha256]");
    }
    name.to_owned()
}
