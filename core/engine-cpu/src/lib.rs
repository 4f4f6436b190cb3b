//! The fast CPU engine: a graph becomes one plan of fused kernels in one arena.
//!
//! Read in this order: `lower` (from nodes to kernel calls on views of
//! buffers), `step` and `memory` (how a call reaches its numbers), `executable` (the run). The kernels themselves are in
//! `fer-cpu-kernels` and know nothing of graphs.
//!
//! What holds for every run: the same bits, whatever the number of threads, on one instruction set; a failed run leaves the store
//! as it was; after the first step tensors take no new memory but for outputs and for inputs that come in f64.

mod executable;
mod lower;
mod memory;
mod step;
mod store;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use fer_cpu_kernels::peak;
pub use fer_cpu_kernels::{product::Factors, simd::Isa};
use fer_engine::{
    Engine, Executable, Limits, Precision, Result, Store,
    kernel::{Checked, Kernels},
};
use fer_graph::{Graph, Node};

use crate::{
    executable::{Arena, CpuExecutable},
    store::CpuStore,
};

/// How the engine computes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The instruction set; the best of the processor by default.
    pub isa: Isa,
    /// What the factors of matrix products are rounded to. Sums, statistics and weights are f32.
    pub factors: Factors,
    /// Ops that are computed by their decomposition, and other things that are switched off: see [`switches`].
    pub no_fuse: BTreeSet<String>,
    /// Kernels for ops that are in no table.
    pub kernels: Kernels,
}

impl Default for Options {
    fn default() -> Options {
        Options { isa: Isa::best(), factors: Factors::F32, no_fuse: BTreeSet::new(), kernels: Kernels::default() }
    }
}

impl Options {
    /// What numbers are computed in.
    fn name(&self) -> &'static str {
        match self.factors {
            Factors::F32 => "f32",
            Factors::Bf16 => "bf16",
        }
    }

    pub(crate) fn is_off(&self, name: &str) -> bool {
        self.no_fuse.contains(name) || self.no_fuse.contains("all")
    }
}

/// What [`Options::no_fuse`] may name.
pub fn switches() -> Vec<String> {
    let general = [
        "all",
        "elementwise",
        "epilogue",
        "concatenate",
        "absorb",
        "sum_of_squares",
        "recompute",
        "patches",
        "bf16_storage",
    ];
    let general = general.map(str::to_owned);
    general.into_iter().chain(lower::KERNELS.iter().map(|&op| op.to_owned())).collect()
}

/// Whether [`Options::no_fuse`] may name it: a kernel, the adjoint of one, or one of the general switches.
pub fn can_switch_off(name: &str) -> bool {
    let op = name.strip_suffix(fer_graph::ADJOINT_SUFFIX).unwrap_or(name);
    switches().iter().any(|s| s == name) || lower::KERNELS.contains(&op)
}

/// For how long each limit is measured.
const MEASURING: Duration = Duration::from_millis(300);

/// The engine that users call `cpu`.
#[derive(Clone, Debug, Default)]
pub struct CpuEngine {
    options: Options,
    arena: Arc<Mutex<Arena>>,
    /// The plugins' kernels that were found good.
    checked: Arc<Checked>,
}

impl CpuEngine {
    pub fn new(options: Options) -> CpuEngine {
        CpuEngine { options, arena: Arc::default(), checked: Arc::default() }
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn precision_name(&self) -> &'static str {
        self.options.name()
    }

    fn device(&self) -> String {
        self.options.isa.name().to_owned()
    }

    fn limits(&self) -> Result<Option<Limits>> {
        let (flops, bandwidth) = (peak::flops(Isa::best(), MEASURING), peak::bandwidth(MEASURING));
        Ok(Some(Limits { flops, of: "f32", bandwidth }))
    }

    fn supports(&self, graph: &Graph, node: &Node) -> bool {
        lower::supports(&self.options, graph, node)
    }

    fn store(&self) -> Box<dyn Store> {
        Box::new(CpuStore::default())
    }

    fn compile(&self, graph: &Graph) -> Result<Box<dyn Executable>> {
        Ok(Box::new(CpuExecutable::compile(graph, &self.options, &self.checked, self.arena.clone())?))
    }
}
