//! The traits every engine implements.

use std::{any::Any, collections::BTreeMap};

use fer_graph::{Graph, GraphError, Node, TensorType};

use crate::Tensor;

/// What the graph's `f` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    F32,
    F64,
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F64 => "f64",
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F64 => 8,
        }
    }
}

/// Why a graph cannot be compiled or run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An input was not given.
    #[error("input {name:?} ({expected}) was not given")]
    MissingInput { name: String, expected: TensorType },
    /// An input, parameter or state has another type than the graph's.
    #[error("{name:?} must be {expected}, found {found}")]
    WrongType { name: String, expected: TensorType, found: TensorType },
    /// The store does not hold a parameter or state of the graph.
    #[error("{name:?} ({expected}) is not in the store")]
    MissingState { name: String, expected: TensorType },
    /// The engine cannot do something it was asked.
    #[error("{0}")]
    Unsupported(String),
}

pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Inputs of a step, by name.
pub type Feeds = BTreeMap<String, Tensor>;
/// Outputs of a step, by name; floats in the engine's precision.
pub type Outputs = BTreeMap<String, Tensor>;

/// A device and a way of computing on it.
pub trait Engine: Send + Sync {
    /// The word users write: `dfdx`, `cpu`, `cuda`.
    fn name(&self) -> &'static str;

    /// What `f` is computed in.
    fn precision(&self) -> Precision;

    /// Whether a composite or adjoint node is taken whole; primitives always are.
    fn supports(&self, graph: &Graph, node: &Node) -> bool;

    /// An empty store on this engine's device.
    fn store(&self) -> Box<dyn Store>;

    /// Prepares a verified graph. Its arguments are the inputs of [`Executable::run`] and what the store must hold.
    ///
    /// # Errors
    /// [`EngineError::Graph`] or [`EngineError::Unsupported`].
    fn compile(&self, graph: &Graph) -> Result<Box<dyn Executable>>;
}

/// Parameters and states, by name, on an engine's device.
pub trait Store: Send {
    fn names(&self) -> Vec<String>;
    /// A copy on the host, in the engine's precision.
    fn read(&self, name: &str) -> Option<Tensor>;
    /// Creates or replaces an entry; floats are converted to the engine's precision.
    fn write(&mut self, name: &str, value: &Tensor);
    /// The store as it stands, where that costs next to nothing (shared storage); `None` where it would be a copy. Lets the
    /// trainer say which value of a diverged step was the first that was not finite.
    fn snapshot(&self) -> Option<Box<dyn Store>> {
        None
    }
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// A compiled graph.
pub trait Executable: Send {
    /// Runs one step: reads inputs and the store, gives the outputs, then applies all updates to the store at once.
    ///
    /// # Errors
    /// [`EngineError::MissingInput`], [`EngineError::WrongType`], [`EngineError::MissingState`]; the store is then unchanged.
    fn run(&self, store: &mut dyn Store, inputs: &Feeds) -> Result<Outputs>;
}
