//! What an engine is: it compiles a verified graph into an executable and runs steps of it.
//!
//! Parameters and states live in a [`Store`], so that several executables (training, evaluation, other batch sizes) share them.
//! Engines know no plugin, no config and no file.

#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
pub mod kernel;
mod philox;
mod tensor;

pub use engine::{Call, Engine, EngineError, Executable, Feeds, Limits, Outputs, Precision, Result, Store, Summary};
pub use philox::{Philox, uniform};
pub use tensor::{Data, Tensor};
