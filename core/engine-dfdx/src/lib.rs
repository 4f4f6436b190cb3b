//! The reference engine: it says what a graph means, and the other engines are held against it.
//!
//! Every composite is inlined; what is left are primitives (and the adjoint-only ops that differentiation emits), each with one
//! kernel in `kernels`, in f32 or f64. Where [dfdx](https://docs.rs/dfdx) 0.13 is right it computes: arithmetic,
//! `exp ln sqrt tanh`, sums, matrix products. Where it lacks an op or is wrong (convolution and pooling without a nightly compiler,
//! run-time axes, `erf`, maxima with NaN) the primitive is written out over the elements.
//!
//! Read in this order: `element` (all that dfdx is asked for), `value` and `buffer` (what flows between kernels), `kernels`,
//! `executable`.
//!
//! What holds for every run: the same bits, whatever the number of threads; NaN passes through `maximum`, `reduce_max` and
//! `max_pool`; a `bf16` value is a float rounded to bfloat16 after each op; a failed run leaves the store as it was.

mod buffer;
mod chunks;
mod diagnose;
mod element;
mod executable;
mod kernels;
mod memory;
mod store;
mod value;

use fer_engine::{Engine, Executable, Feeds, Precision, Result, Store};
use fer_graph::{Graph, Node};

pub use diagnose::NonFinite;
pub use memory::peak_bytes;

use crate::{executable::DfdxExecutable, store::DfdxStore};

/// The engine that users call `dfdx`.
#[derive(Clone, Copy, Debug)]
pub struct DfdxEngine {
    precision: Precision,
}

impl DfdxEngine {
    pub fn new(precision: Precision) -> DfdxEngine {
        DfdxEngine { precision }
    }

    /// Runs the graph without updating the store (of any engine) and names the first value that is not finite although what it
    /// was computed from is: an infinity out of finite numbers, or a NaN out of none. `None` when there is no such value.
    ///
    /// # Errors
    /// Those of [`Engine::compile`] and of [`Executable::run`].
    pub fn first_non_finite(&self, graph: &Graph, store: &dyn Store, inputs: &Feeds) -> Result<Option<NonFinite>> {
        match self.precision {
            Precision::F32 => diagnose::first_non_finite::<f32>(graph, store, inputs),
            Precision::F64 => diagnose::first_non_finite::<f64>(graph, store, inputs),
        }
    }
}

impl Engine for DfdxEngine {
    fn name(&self) -> &'static str {
        "dfdx"
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    /// Never: this engine knows a composite only by its decomposition.
    fn supports(&self, _: &Graph, _: &Node) -> bool {
        false
    }

    fn store(&self) -> Box<dyn Store> {
        match self.precision {
            Precision::F32 => Box::new(DfdxStore::<f32>::new()),
            Precision::F64 => Box::new(DfdxStore::<f64>::new()),
        }
    }

    fn compile(&self, graph: &Graph) -> Result<Box<dyn Executable>> {
        Ok(match self.precision {
            Precision::F32 => Box::new(DfdxExecutable::<f32>::compile(graph)?),
            Precision::F64 => Box::new(DfdxExecutable::<f64>::compile(graph)?),
        })
    }
}
