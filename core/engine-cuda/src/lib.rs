//! The CUDA engine: a graph becomes one plan of kernels for the card at hand, recorded once and replayed each step.
//!
//! Read in this order: `device` (what is asked of a card), `kernels` and `../kernels` (the sources), `storage` and the rest of `lower`
//! (from nodes to commands on buffers), `write` (kernels that are written for a plan), `executable` (the run), `cuda` (a card as
//! a device).
//!
//! What holds for every run: the same bits on the same kind of card; nothing is asked of the device while a step runs, which is one
//! recorded graph; a failed run leaves the store as it was, unless the device is lost.

mod ahead;
pub mod cuda;
pub mod device;
mod element;
mod executable;
mod kernels;
mod limits;
mod lower;
mod peak;
mod plan;
pub mod report;
mod store;
mod write;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

pub use element::Element;
use fer_engine::{
    Engine, Executable, Limits, Result, Store,
    kernel::{Checked, CudaFunction, Kernels},
};
use fer_graph::{Graph, Node};
pub use kernels::Family;

use crate::{
    device::{Device, Unit},
    executable::{Arena, CudaExecutable},
    store::{CudaStore, refused},
};

/// What is computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    #[default]
    F32,
    /// Factors of matrix products, of convolutions that are not depthwise, and of attention up to 64 wide are rounded to ten bits of mantissa
    /// for the tensor cores.
    Tf32,
    /// Factors of products and the activations between layers are bfloat16; weights, their gradients, statistics, sums, softmax and
    /// losses are f32.
    Bf16,
}

/// How the engine computes.
#[derive(Clone, Debug)]
pub struct Options {
    pub precision: Precision,
    /// Ops that are computed by their decomposition, and other things that are switched off: see [`switches`].
    pub no_fuse: BTreeSet<String>,
    /// In bf16, values of fewer elements stay f32: what is small costs nothing, and losses are small.
    pub smallest_rounded: usize,
    /// Gives every buffer memory of its own, so that a device that watches its memory sees one overrun into another.
    pub separate: bool,
    /// Plugins' CUDA sources for ops that are in no table.
    pub kernels: Kernels<CudaFunction>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            precision: Precision::F32,
            no_fuse: BTreeSet::new(),
            smallest_rounded: 1 << 16,
            separate: false,
            kernels: Kernels::default(),
        }
    }
}

impl Options {
    fn name(&self) -> &'static str {
        match self.precision {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    pub(crate) fn is_off(&self, name: &str) -> bool {
        self.no_fuse.contains(name) || self.no_fuse.contains("all")
    }
}

/// What [`Options::no_fuse`] may name.
pub fn switches() -> Vec<String> {
    let general = ["all", "elementwise", "concatenate", "absorb", "sum_of_squares", "recompute"].map(str::to_owned);
    general.into_iter().chain(lower::KERNELS.iter().map(|&op| op.to_owned())).collect()
}

/// Whether [`Options::no_fuse`] may name it: a kernel, the adjoint of one, or one of the general switches.
pub fn can_switch_off(name: &str) -> bool {
    let op = name.strip_suffix(fer_graph::ADJOINT_SUFFIX).unwrap_or(name);
    switches().iter().any(|s| s == name) || lower::KERNELS.contains(&op)
}

/// The kernels that a graph needs, as they are compiled: what a compiler without a card is asked.
///
/// # Errors
/// Those of [`Engine::compile`].
pub fn units(graph: &Graph, options: &Options) -> Result<Vec<Unit>> {
    Ok(executable::plan(graph, options)?.units)
}

/// The outputs that a step of a graph looks at before it updates anything: see [`Executable::stops_when_not_finite`].
///
/// # Errors
/// Those of [`Engine::compile`].
pub fn guarded(graph: &Graph, options: &Options) -> Result<Vec<String>> {
    let plan = executable::plan(graph, options)?;
    Ok(plan.guard.looked.iter().map(|&i| graph.outputs[i].0.clone()).collect())
}

/// The engine that users call `cuda`.
#[derive(Clone, Debug)]
pub struct CudaEngine {
    device: Arc<dyn Device>,
    options: Options,
    arena: Arc<Mutex<Arena>>,
    /// The plugins' kernels that were found good.
    checked: Arc<Checked>,
}

impl CudaEngine {
    pub fn new(device: Arc<dyn Device>, options: Options) -> CudaEngine {
        CudaEngine { device, options, arena: Arc::default(), checked: Arc::default() }
    }
}

impl Engine for CudaEngine {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn precision(&self) -> fer_engine::Precision {
        fer_engine::Precision::F32
    }

    fn precision_name(&self) -> &'static str {
        self.options.name()
    }

    fn device(&self) -> String {
        self.device.info().name.clone()
    }

    fn device_memory(&self) -> Result<Option<u64>> {
        let memory = self.device.memory().map_err(|error| refused(&error))?;
        Ok(Some(memory.total.saturating_sub(memory.free) as u64))
    }

    fn limits(&self) -> Result<Option<Limits>> {
        limits::measure(&self.device, self.options.precision).map(Some).map_err(|error| refused(&error))
    }

    fn supports(&self, graph: &Graph, node: &Node) -> bool {
        lower::supports(&self.options, graph, node)
    }

    fn store(&self) -> Box<dyn Store> {
        Box::new(CudaStore::new(self.device.clone()))
    }

    fn compile(&self, graph: &Graph) -> Result<Box<dyn Executable>> {
        Ok(Box::new(CudaExecutable::compile(graph, &self.device, &self.options, &self.checked, self.arena.clone())?))
    }
}
