//! Plugins' own ops, by the kernels that come with them.

use fer_engine::{
    EngineError, Result,
    kernel::{Checked, CustomKernel, KernelPlan, Refused, compare},
};
use fer_graph::{Graph, Node};

use super::Lowering;
use crate::{CpuEngine, Options};

/// Compares every kernel that the graph will run, once, with the op's meaning, as this engine computes it without that kernel.
///
/// # Errors
/// [`EngineError::Kernel`] for the first that differs.
pub(crate) fn check(checked: &Checked, options: &Options, graph: &Graph) -> Result<()> {
    checked.check(&options.kernels, graph, |kernel, node| {
        // In f32 even where products are rounded: a kernel is held to the meaning.
        let plain = CpuEngine::new(Options { isa: options.isa, ..Options::default() });
        compare(kernel, graph, node, &plain).map_err(EngineError::Kernel)
    })
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
