//! Why a component cannot be built.

use fer_abi::BuildError;
use fer_graph::GraphError;

/// A phrase that fits "error: ...", the option at fault where there is one, and what the user can do.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub message: String,
    pub option: String,
    pub help: String,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), option: String::new(), help: String::new() }
    }

    /// The user's value of this option is at fault; the host points at it in the config.
    pub fn option(option: &str, message: impl Into<String>) -> Error {
        Error { message: message.into(), option: option.to_owned(), help: String::new() }
    }

    /// What the user can do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Error {
        self.help = help.into();
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<GraphError> for Error {
    fn from(error: GraphError) -> Error {
        Error::new(error.to_string())
    }
}

impl From<Error> for BuildError {
    fn from(error: Error) -> BuildError {
        BuildError {
            message: error.message.into(),
            option: error.option.into(),
            help: error.help.into(),
            panicked: false,
        }
    }
}
