//! Kernels that a plugin ships for its own ops: what an engine is handed, how one is called, and how it is held to what the op means.
//!
//! The engine does not know where they come from: `library` is a word for messages.

mod call;
mod check;
mod layout;

use std::{fmt, sync::Arc};

pub use call::{KernelPlan, Refused};
pub use check::{KernelFault, TOLERANCE, Wrong, compare};
use fer_abi::KernelFunction;
use fer_graph::{DType, Graph, Node};

/// Code for an op or its adjoint, on the CPU.
#[derive(Clone)]
pub struct CustomKernel {
    /// The library it lives in, as messages name it.
    pub library: String,
    /// The op, `focal.terms`, and its version.
    pub op: String,
    pub version: u32,
    pub adjoint: bool,
    pub function: KernelFunction,
}

impl CustomKernel {
    /// A kernel of a library, if it is one for the CPU.
    pub fn of_library(library: &str, kernel: &fer_abi::Kernel) -> Option<CustomKernel> {
        let function = kernel.function.as_ref().into_option().filter(|_| kernel.device == fer_abi::device::CPU)?;
        Some(CustomKernel {
            library: library.to_owned(),
            op: kernel.op.to_string(),
            version: kernel.version,
            adjoint: kernel.adjoint,
            function: *function,
        })
    }
}

impl fmt::Debug for CustomKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} of {}", self.op, if self.adjoint { fer_graph::ADJOINT_SUFFIX } else { "" }, self.library)
    }
}

/// The kernels of a run.
#[derive(Clone, Debug, Default)]
pub struct Kernels(Arc<[CustomKernel]>);

impl Kernels {
    pub fn new(kernels: Vec<CustomKernel>) -> Kernels {
        Kernels(kernels.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kernel that computes a node: one for its op and version, if all it reads and writes is float.
    pub fn of(&self, graph: &Graph, node: &Node) -> Option<&CustomKernel> {
        node.op.body()?;
        let floats = node.operands.iter().chain(&node.results).all(|&v| graph.ty(v).dtype == DType::Float);
        let offered = |k: &&CustomKernel| {
            k.op == node.op.def.name && k.version == node.op.def.version && k.adjoint == node.op.adjoint
        };
        self.0.iter().find(offered).filter(|_| floats)
    }
}
