//! Which kernels were found good, so that each is compared once.

use std::sync::{Mutex, PoisonError};

use fer_graph::{Attributes, Graph, Node, Op};

use super::{CustomKernel, Kernels};
use crate::Result;

/// The ops, adjoints with what is wanted of them, whose kernels do what the op means. Operand types belong to the op.
#[derive(Debug, Default)]
pub struct Checked(Mutex<Vec<(Op, Attributes)>>);

impl Checked {
    /// Has every kernel that a graph will run compared, if it was not yet.
    ///
    /// # Errors
    /// The first of the comparison's.
    pub fn check<F>(
        &self,
        kernels: &Kernels<F>,
        graph: &Graph,
        mut compare: impl FnMut(&CustomKernel<F>, &Node) -> Result<()>,
    ) -> Result<()> {
        if kernels.is_empty() {
            return Ok(());
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for node in &graph.nodes {
            let Some(kernel) = kernels.of(graph, node) else { continue };
            if known.iter().any(|(op, attributes)| *op == node.op && attributes.same(&node.attributes)) {
                continue;
            }
            compare(kernel, node)?;
            known.push((node.op, node.attributes.clone()));
        }
        Ok(())
    }
}
