//! Kernels that a plugin ships for its own ops: what an engine is handed, how one is called, and how it is held to what the op means.
//!
//! The engine does not know where they come from: `library` is a word for messages.

mod call;
mod check;
mod checked;
mod cuda;
mod layout;

use std::{fmt, sync::Arc};

pub use call::{KernelPlan, Refused};
pub use check::{KernelFault, Memory, TOLERANCE, Wrong, compare, compare_dense};
pub use checked::Checked;
pub use cuda::{CudaFunction, Each};
use fer_abi::KernelFunction;
use fer_graph::{DType, Graph, Node};

/// Code for an op or its adjoint, for the CPU unless said otherwise.
#[derive(Clone)]
pub struct CustomKernel<F = KernelFunction> {
    /// The library it comes from, as messages name it.
    pub library: String,
    /// The op, `focal.terms`, and its version.
    pub op: String,
    pub version: u32,
    pub adjoint: bool,
    pub function: F,
}

/// What computes an op on a kind of device.
pub trait Code: Sized {
    /// A kernel's code, if it is for this kind of device.
    fn of(kernel: &fer_abi::Kernel) -> Option<Self>;
}

impl Code for KernelFunction {
    fn of(kernel: &fer_abi::Kernel) -> Option<KernelFunction> {
        kernel.function.as_ref().into_option().filter(|_| kernel.device == fer_abi::device::CPU).copied()
    }
}

impl<F: Code> CustomKernel<F> {
    /// A kernel of a library, if it is one for this kind of device.
    pub fn of_library(library: &str, kernel: &fer_abi::Kernel) -> Option<CustomKernel<F>> {
        Some(CustomKernel {
            library: library.to_owned(),
            op: kernel.op.to_string(),
            version: kernel.version,
            adjoint: kernel.adjoint,
            function: F::of(kernel)?,
        })
    }
}

impl<F> fmt::Debug for CustomKernel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} of {}", self.op, if self.adjoint { fer_graph::ADJOINT_SUFFIX } else { "" }, self.library)
    }
}

/// The kernels of a run, all for one kind of device.
#[derive(Clone, Debug)]
pub struct Kernels<F = KernelFunction>(Arc<[CustomKernel<F>]>);

impl<F> Default for Kernels<F> {
    fn default() -> Kernels<F> {
        Kernels(Arc::new([]))
    }
}

impl<F> Kernels<F> {
    pub fn new(kernels: Vec<CustomKernel<F>>) -> Kernels<F> {
        Kernels(kernels.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kernel that computes a node: one for its op and version, if all it reads and writes is float.
    pub fn of(&self, graph: &Graph, node: &Node) -> Option<&CustomKernel<F>> {
        node.op.body()?;
        let floats = node.operands.iter().chain(&node.results).all(|&v| graph.ty(v).dtype == DType::Float);
        let offered = |k: &&CustomKernel<F>| {
            k.op == node.op.def.name && k.version == node.op.def.version && k.adjoint == node.op.adjoint
        };
        self.0.iter().find(offered).filter(|_| floats)
    }
}
