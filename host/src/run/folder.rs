//! A run folder, `<out>/<name>/<time>`: what is in it, and how it is found again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fer_train::{LineLog, write_atomically};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Failure, Result};

/// Paths of a run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    pub root: PathBuf,
}

impl RunFolder {
    /// A new folder, named by the UTC second; a second run within it gets `-2`.
    ///
    /// # Errors
    /// A place that cannot be written to.
    pub fn create(out: &Path, name: &str) -> Result<RunFolder> {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        let parent = out.join(name);
        let fail = |path: &Path, e: std::io::Error| {
            Failure::new(format!("cannot create the run folder {}: {e}", path.display()))
                .help("--out FOLDER, or out: \"folder\" in the config, puts runs elsewhere")
        };
        fs::create_dir_all(&parent).map_err(|e| fail(&parent, e))?;
        for ordinal in 1..1000 {
            let suffix = if ordinal == 1 { String::new() } else { format!("-{ordinal}") };
            let root = parent.join(format!("{time}{suffix}"));
            match fs::create_dir(&root) {
                Ok(()) => {
                    let folder = RunFolder { root };
                    fs::create_dir(folder.checkpoints()).map_err(|e| fail(&folder.checkpoints(), e))?;
                    return Ok(folder);
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(fail(&root, e)),
            }
        }
        Err(Failure::new(format!("{} holds a thousand runs of this second", parent.display())))
    }

    /// An existing run folder, or the newest one below `<out>/<name>`.
    ///
    /// # Errors
    /// A path that holds no run.
    pub fn open(path: &Path) -> Result<RunFolder> {
        let is_run = |p: &Path| p.join("config.ron").is_file();
        if is_run(path) {
            return Ok(RunFolder { root: path.to_owned() });
        }
        let mut runs: Vec<PathBuf> = fs::read_dir(path)
            .map(|entries| entries.flatten().map(|e| e.path()).filter(|p| is_run(p)).collect())
            .unwrap_or_default();
        runs.sort();
        match runs.pop() {
            Some(newest) => Ok(RunFolder { root: newest }),
            None => Err(Failure::new(format!("{} is no run folder: it holds no config.ron", path.display()))
                .help("a run folder looks like runs/NAME/2026-01-31T12-00-00Z; fer-host run prints it")),
        }
    }

    /// Removes checkpoints that were half written when the program was killed; each is as large as a whole one.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn tidy(&self) -> Result<()> {
        let entries = fs::read_dir(self.checkpoints()).into_iter().flatten().flatten();
        for path in entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "tmp")) {
            fs::remove_file(&path).map_err(|e| Failure::new(format!("cannot remove {}: {e}", path.display())))?;
        }
        Ok(())
    }

    pub fn config(&self) -> PathBuf {
        self.root.join("config.ron")
    }

    pub fn environment(&self) -> PathBuf {
        self.root.join("environment.json")
    }

    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    pub fn results(&self) -> PathBuf {
        self.root.join("results.json")
    }

    /// Loss and accuracy by epoch, for people.
    pub fn curve(&self) -> PathBuf {
        self.root.join("curve.svg")
    }

    /// The test split's confusion matrix, for people.
    pub fn confusion(&self) -> PathBuf {
        self.root.join("confusion.svg")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The state after the last saved step.
    pub fn last(&self) -> PathBuf {
        self.checkpoints().join("last.safetensors")
    }

    /// The state of the epoch that validation chose.
    pub fn best(&self) -> PathBuf {
        self.checkpoints().join("best.safetensors")
    }

    /// The log of steps and epochs, cut back to what `keep` accepts.
    pub fn log(&self, keep: impl FnMut(&str) -> bool) -> Result<LineLog> {
        Ok(LineLog::resume(&self.metrics(), keep)?)
    }
}

/// Writes indented JSON, all or nothing.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
    text.push(b'\n');
    Ok(write_atomically(path, &text)?)
}

/// Reads a file that [`write_json`] wrote.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))?;
    serde_json::from_slice(&text).map_err(|e| {
        Failure::new(format!("{} cannot be read: {e}", path.display()))
            .help("it is damaged, or another version of fer-host wrote it")
    })
}
