//! How looking at one case can end.

use fer_engine::EngineError;
use fer_graph::GraphError;
use fer_train::InitError;

/// Why a property could not be seen to hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The component refuses the case with a clear word: another one is drawn.
    Skipped(String),
    /// The property has nothing to look at here: a loss has no parameters to train.
    Idle(String),
    /// The property does not hold.
    Broken(String),
}

pub type Outcome<T = ()> = Result<T, Trouble>;

/// # Errors
/// [`Trouble::Broken`] unless `holds`.
pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Trouble::Broken(what())) }
}

impl From<GraphError> for Trouble {
    fn from(error: GraphError) -> Trouble {
        Trouble::Broken(error.to_string())
    }
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Trouble {
        Trouble::Broken(error.to_string())
    }
}

impl From<InitError> for Trouble {
    fn from(error: InitError) -> Trouble {
        Trouble::Broken(error.to_string())
    }
}
