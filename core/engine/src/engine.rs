//! The traits every engine implements.

use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};

use fer_graph::{Graph, GraphError, Node, TensorType};

use crate::{Tensor, kernel::KernelFault};

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
    /// A plugin's kernel is not what its op means.
    #[error(transparent)]
    Kernel(#[from] Box<KernelFault>),
    /// The device that the engine computes on refuses, in its words.
    #[error("{0}")]
    Device(String),
    /// The engine cannot do something it was asked.
    #[error("{0}")]
    Unsupported(String),
}

pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Inputs of a step, by name.
pub type Feeds = BTreeMap<String, Tensor>;
/// Outputs of a step, by name; floats in the engine's precision.
pub type Outputs = BTreeMap<String, Tensor>;

/// What a device does at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Operations a second, a multiply-add two.
    pub flops: f64,
    /// Of what, e.g. `products of bf16`.
    pub of: &'static str,
    /// Bytes a second that are read and written where large blocks are copied.
    pub bandwidth: f64,
}

/// A device and a way of computing on it.
pub trait Engine: Send + Sync {
    /// The word users write: `dfdx`, `cpu`, `cuda`.
    fn name(&self) -> &'static str;

    /// What `f` is computed in.
    fn precision(&self) -> Precision;

    /// What is computed in, as users write it: `f32`, `f64`, or a mixture of its own.
    fn precision_name(&self) -> &'static str {
        self.precision().name()
    }

    /// What it computes on, where results depend on it: an instruction set, a card.
    fn device(&self) -> String {
        "any".to_owned()
    }

    /// Bytes of the device's memory that are in use at this moment, by whatever program; `None` where the engine computes in the
    /// host's.
    ///
    /// # Errors
    /// [`EngineError::Device`] from a device that does not answer any more.
    fn device_memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// What its device does at most, measured now, for some tenths of a second; `None` where nobody asks that of it.
    ///
    /// # Errors
    /// [`EngineError::Device`].
    fn limits(&self) -> Result<Option<Limits>> {
        Ok(None)
    }

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

    /// As [`Executable::run`], of steps that follow each other. `next` gives what the step after this one will be given, if it is known by
    /// then. An engine that computes beside the host asks for it once, while the step runs, and brings it to its device meanwhile; it is
    /// found there if that step is given the same `Arc`. Results are the same bits whatever is asked and given.
    ///
    /// `next` may wait, but not for anything of this engine, which is busy.
    ///
    /// # Errors
    /// Those of `run`; never for what is wrong with what comes next, which its own step says.
    fn run_ahead(
        &self,
        store: &mut dyn Store,
        inputs: &Arc<Feeds>,
        _next: &mut dyn FnMut() -> Option<Arc<Feeds>>,
    ) -> Result<Outputs> {
        self.run(store, inputs)
    }

    /// As [`Executable::run`]; each kernel call is shown with the time it took.
    ///
    /// # Errors
    /// Those of `run`; [`EngineError::Unsupported`] from an engine that does not tell calls apart.
    fn run_timed(
        &self,
        _store: &mut dyn Store,
        _inputs: &Feeds,
        _see: &mut dyn FnMut(&Call, Duration),
    ) -> Result<Outputs> {
        Err(EngineError::Unsupported("this engine does not tell its kernel calls apart".to_owned()))
    }

    /// Whether a step updates nothing when this output, a float scalar, is not finite: the store is then as it was, and outputs that
    /// were to be computed after the decision are NaN. Lets an engine that updates in place say what went wrong.
    fn stops_when_not_finite(&self, _output: &str) -> bool {
        false
    }

    /// What the plan needs, of an engine that plans.
    fn summary(&self) -> Option<Summary> {
        None
    }
}

/// One kernel call of an executable.
#[derive(Clone, Debug)]
pub struct Call {
    /// The op, or `elementwise` for several together.
    pub op: Arc<str>,
    /// Where in the model.
    pub scope: Arc<str>,
    pub flops: u64,
    /// Read and written, each buffer once.
    pub bytes: u64,
}

/// A plan in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Kernel calls in a step.
    pub calls: usize,
    /// Memory of a step beside inputs, parameters and states.
    pub arena_bytes: usize,
}
