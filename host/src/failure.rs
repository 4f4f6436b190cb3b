//! What ends a command: one error to show, and the exit code.

use fer_config::ConfigError;
use fer_engine::EngineError;
use fer_graph::ADJOINT_SUFFIX;

/// An error as the user sees it. Wrong input and everything else that went wrong exits with 1, a run stopped by the user with 130.
#[derive(Debug)]
pub struct Failure {
    pub error: Box<ConfigError>,
    pub exit: u8,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A sentence, in lower case and without a full stop.
    pub fn new(message: impl Into<String>) -> Failure {
        ConfigError::new(message).into()
    }

    /// What the user can do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        *self.error = self.error.help(help);
        self
    }

    /// A fact in a line of its own.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Failure {
        *self.error = self.error.note(note);
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure { error: Box::new(error), exit: 1 }
    }
}

impl From<fer_weights::WeightError> for Failure {
    fn from(error: fer_weights::WeightError) -> Failure {
        let failure = error.notes.into_iter().fold(Failure::new(error.message), Failure::note);
        match error.help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        let failure = Failure::new(error.to_string());
        match error {
            EngineError::Kernel(fault) => {
                let op = fault.op.strip_suffix(ADJOINT_SUFFIX).unwrap_or(&fault.op).to_owned();
                failure.help(format!(
                    "this is a fault of the plugin; --no-fuse {op} computes the op by what it means, without the kernel"
                ))
            }
            _ => failure,
        }
    }
}

macro_rules! from_display {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::new(error.to_string())
            }
        })*
    };
}

from_display!(
    fer_data::DataError,
    fer_graph::GraphError,
    fer_train::FileError,
    fer_train::InitError,
    fer_train::MetricsError,
    fer_train::StepError,
    fer_train::checkpoint::CheckpointError,
    fer_train::weights::WeightsError,
);
