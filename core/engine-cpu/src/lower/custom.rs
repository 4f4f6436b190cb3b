//! Plugins' own ops, by the kernels that come with them.

use std::sync::{Mutex, PoisonError};

use fer_engine::{
    EngineError, Result,
    kernel::{CustomKernel, KernelPlan, Refused, compare},
};
use fer_graph::{Attributes, Graph, Node, Op};

use super::Lowering;
use crate::{CpuEngine, Options};

/// The ops, adjoints with what is wanted of them, whose kernels do what the op means. Operand types belong to the op.
#[derive(Debug, Default)]
pub(crate) struct Checked(Mutex<Vec<(Op, Attributes)>>);

impl Checked {
    /// Compares every kernel that the graph will run with the op's meaning, as this engine computes it without that kernel.
    ///
    /// # Errors
    /// [`EngineError::Kernel`] for the first that differs.
    pub(crate) fn check(&self, options: &Options, graph: &Graph) -> Result<()> {
        if options.kernels.is_empty() {
            return Ok(());
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for node in &graph.nodes {
            let Some(kernel) = options.kernels.of(graph, node) else { continue };
            if known.iter().any(|(op, attributes)| *op == node.op && attributes.same(&node.attributes)) {
                continue;
            }
            // In f32 even where products are rounded: a kernel is held to the meaning.
            let plain = CpuEngine::new(Options { isa: options.isa, ..Options::default() });
            compare(kernel, graph, node, &plain).map_err(EngineError::Kernel)?;
            known.push((node.op, node.attributes.clone()));
        }
        Ok(())
    }
}

impl Lowering<'_> {
    pub(super) fn custom(&mut self, node: &Node, kernel: &CustomKernel) {
        let reads: Vec<_> = node.operands.iter().map(|&v| self.dense(v)).collect();
        let writes: Vec<_> = node.results.iter().map(|&v| self.output(v)).collect();
        let plan = KernelPlan::dense(kernel, self.graph, node);
        let (read, written) = (reads.len(), writes.len());
        self.emit(reads, writes, move |a| {
            let inputs: Vec<*const f32> = (0..read).map(|i| a.read::<f32>(i).as_ptr()).collect();
            let outputs: Vec<*mut f32> = (0..written).map(|i| a.write::<f32>(i).as_mut_ptr()).collect();
            // SAFETY: every buffer holds its value densely and as f32, and those written share no memory with others.
            if let Err(Refused(code)) = unsafe { plan.run(&inputs, &outputs) } {
                a.complain(format!("the kernel {:?} answers error {code}", plan.kernel));
            }
        });
    }
}
