//! Which composites and adjoints the engine takes whole.

use fer_graph::{Graph, Node};
pub(crate) use fer_plan::KERNELS;
use fer_plan::takes_whole;

use super::custom;
use crate::Options;

/// Whether there is a kernel for a composite or the adjoint of one, on these operands, that is not switched off.
pub(crate) fn supports(options: &Options, graph: &Graph, node: &Node) -> bool {
    let name = node.op.def.name;
    if options.is_off(name) || options.is_off(&node.op.name()) {
        return false;
    }
    if node.op.body().is_some() {
        return options.kernels.of(graph, node).is_some_and(|kernel| custom::fits(kernel, graph, node));
    }
    takes_whole(graph, node)
}
