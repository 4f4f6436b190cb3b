//! The typed graph: what a model, its loss and a whole training step are made of.
//!
//! Single assignment, concrete shapes, f64 attributes. Read in this order: [`types`](TensorType), [`attributes`](Attributes),
//! [`op`](OpDef), [`graph`](Graph), [`builder`](Builder), then the op families under [`ops`].
//!
//! What is absent: engines, plugins, files. This crate knows what a computation means, not how it is run.

mod assemble;
mod attributes;
mod builder;
mod custom;
mod error;
mod graph;
mod init;
mod interchange;
mod numbering;
mod op;
pub mod ops;
mod positions;
mod reference;
mod text;
mod types;
mod verify;

pub use attributes::{Attribute, AttributeKind, Attributes};
pub use builder::{Builder, LayerGuard, ScopeGuard};
pub use custom::{Body, MAX_DEPTH, OpenBody, define, is_custom_name};
pub use error::{GraphError, Result};
pub use graph::{Argument, Definition, Graph, Node, Role, Value};
pub use init::Init;
pub use interchange::{INNER, MAX_ARGUMENTS, MAX_DEFINITIONS, MAX_INTEGERS, MAX_NODES, MAX_NUMBERS, export, import};
pub use numbering::renumber;
pub use op::{ADJOINT_SUFFIX, AttributeDef, Call, Class, Decomposition, Meaning, Op, OpDef, Operands, Vjp, VjpRule};
pub use positions::Positions;
pub use reference::{GENERAL_CONSTRAINTS, example, reference_markdown};
pub use text::{PrintOptions, parse, print};
pub use types::{DType, MAX_ELEMENTS, MAX_RANK, TensorType};
pub use verify::verify;
