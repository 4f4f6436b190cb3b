//! What is found, as data: between child and parent, and for `--json`.

use serde::{Deserialize, Serialize};

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// What was found.
    pub message: String,
    /// Options, inputs, mode and seed, a line each.
    pub case: String,
    /// RON for `fer-host trace`; empty where no case had begun.
    pub reproduction: String,
    /// Whether the case was made as small as it could be: not where the process had to end.
    pub shrunk: bool,
}

/// What came of a property.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Ok {
        cases: u32,
    },
    Failed(Box<Failed>),
    NotExamined {
        why: String,
        /// The component has nothing that the property is about. Otherwise it should have been examined and could not be.
        nothing_to_look_at: bool,
    },
}

/// A property and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub family: String,
    pub property: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A component and its findings, in the order of the contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    pub kind: String,
    pub id: String,
    pub version: String,
    pub findings: Vec<Finding>,
    /// What it says of itself and this program does not understand.
    pub notes: Vec<String>,
    pub seconds: f64,
}

impl Checked {
    pub fn failed(&self) -> usize {
        self.findings.iter().filter(|f| matches!(f.outcome, Outcome::Failed(_))).count()
    }

    /// Properties that should have been examined and could not be.
    pub fn unexamined(&self) -> usize {
        let missing = |o: &Outcome| matches!(o, Outcome::NotExamined { nothing_to_look_at: false, .. });
        self.findings.iter().filter(|f| missing(&f.outcome)).count()
    }
}

/// What the child says, one line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    Begins {
        family: String,
        property: String,
    },
    /// The case that is looked at next: as text, and as RON.
    Case {
        case: String,
        reproduction: String,
    },
    Ends(Finding),
    Done,
}

/// Starts every line of the child's answer, which a chatty plugin may write between.
pub(super) const MARK: &str = "fer-plugin-check:";
