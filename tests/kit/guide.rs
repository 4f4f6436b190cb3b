//! `docs/plugin-guide.md`, followed by the letter.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    page::{Step, answers, steps},
    workshop::{Workshop, root},
};

/// Each block is a shell of its own, which goes on where the last one was and with what it exported. A new crate gets the
/// versions that the workspace has tested: newer ones may not be on this machine.
const BEGIN: &str = r#"
if [ -f "$GUIDE_STATE/cwd" ]; then . "$GUIDE_STATE/env"; cd "$(cat "$GUIDE_STATE/cwd")"; fi
cargo() { if [ ! -f Cargo.lock ]; then cp "$GUIDE_LOCK" Cargo.lock; fi; command cargo "$@"; }
trap 'pwd > "$GUIDE_STATE/cwd"; export -p > "$GUIDE_STATE/env"' EXIT
"#;

struct Reader {
    workshop: Workshop,
    state: TempDir,
}

impl Reader {
    /// What the shell says to a block on both its outputs.
    #[track_caller]
    fn types(&self, line: usize, text: &str) -> String {
        let mut command = Command::new("sh");
        self.workshop.prepare(&mut command);
        command.env("GUIDE_STATE", self.state.path()).env("GUIDE_LOCK", root().join("Cargo.lock"));
        let output = command.arg("-ec").arg(format!("exec 2>&1\n{BEGIN}\n{text}")).stdin(Stdio::null()).output();
        let output = output.expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "the block at line {line} fails:\n{text}\n{said}");
        said
    }
}

#[test]
fn the_guide_can_be_followed() {
    let page = fs::read_to_string(root().join("docs/plugin-guide.md")).expect("the guide");
    let steps = steps(&page).unwrap_or_else(|e| panic!("docs/plugin-guide.md: {e}"));
    let reader = Reader { workshop: Workshop::new(), state: TempDir::new().expect("a temporary folder") };
    let mut compared = 0;
    for step in &steps {
        match step {
            Step::File { path, text, .. } => {
                let path = reader.workshop.path(path);
                fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("folders");
                fs::write(path, text).expect("a file");
            }
            Step::Shell { line, text, answer } => {
                let said = reader.types(*line, text);
                if let Some(shown) = answer {
                    assert!(answers(shown, &said), "line {line} of the guide shows\n{shown}\nand it says\n{said}");
                    compared += 1;
                }
            }
        }
    }
    assert!(steps.len() >= 10 && compared >= 4, "{} steps, {compared} compared: is this the guide?", steps.len());
}
