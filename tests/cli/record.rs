//! What a run leaves in its folder, for comparing one with another.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::host::Host;

/// A run folder.
#[derive(Clone, Debug)]
pub struct Record(pub PathBuf);

/// All that must not depend on when a run was stopped, on threads, or on the clock: checkpoints bit by bit, results, every line.
#[derive(PartialEq)]
pub struct Outcome {
    pub last: Vec<u8>,
    pub best: Vec<u8>,
    pub results: Value,
    pub lines: Vec<Value>,
}

impl Record {
    /// The only run of a folder that was given as `--out`.
    #[track_caller]
    pub fn only(host: &Host, out: &str) -> Record {
        let names = children(&host.path(out));
        assert_eq!(names.len(), 1, "{names:?}");
        let runs = children(&names[0]);
        assert_eq!(runs.len(), 1, "{runs:?}");
        Record(runs[0].clone())
    }

    /// As [`Record::only`], once there is one.
    pub fn awaited(host: &Host, out: &str) -> Option<Record> {
        let [name] = &children(&host.path(out))[..] else { return None };
        let [run] = &children(name)[..] else { return None };
        Some(Record(run.clone()))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn last(&self) -> PathBuf {
        self.file("checkpoints/last.safetensors")
    }

    #[track_caller]
    pub fn json(&self, name: &str) -> Value {
        let path = self.file(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The lines of the log.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file("metrics.jsonl")).expect("metrics.jsonl");
        text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l:?}: {e}"))).collect()
    }

    /// How many whole lines the log has by now.
    pub fn length(&self) -> usize {
        fs::read(self.file("metrics.jsonl")).map_or(0, |text| text.iter().filter(|b| **b == b'\n').count())
    }

    #[track_caller]
    pub fn outcome(&self) -> Outcome {
        let bytes = |name: &str| fs::read(self.file(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut results = self.json("results.json");
        let mut lines = self.lines();
        lines.iter_mut().chain([&mut results]).for_each(without_speed);
        Outcome {
            last: bytes("checkpoints/last.safetensors"),
            best: bytes("checkpoints/best.safetensors"),
            results,
            lines,
        }
    }
}

impl Outcome {
    /// The parts that differ are named; their contents are megabytes.
    #[track_caller]
    pub fn same_as(&self, other: &Outcome, what: &str) {
        assert_eq!(self.lines.len(), other.lines.len(), "{what}: other numbers of lines in metrics.jsonl");
        for (ours, theirs) in self.lines.iter().zip(&other.lines) {
            assert_eq!(ours, theirs, "{what}: metrics.jsonl");
        }
        assert_eq!(self.results, other.results, "{what}: results.json");
        assert!(self.last == other.last, "{what}: last.safetensors differs");
        assert!(self.best == other.best, "{what}: best.safetensors differs");
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|e| e.path()).collect()
}

/// The one number that the clock decides.
pub fn without_speed(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.remove("images_per_second");
    }
}
