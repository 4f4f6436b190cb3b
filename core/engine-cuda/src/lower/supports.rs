//! Which composites and adjoints the engine takes whole.

use fer_graph::{Graph, Node};
pub(crate) use fer_plan::KERNELS;
use fer_plan::takes_whole;

use crate::Options;

/// Whether there is a kernel for a composite or the adjoint of one, on these operands, that is not switched off.
pub(crate) fn supports(options: &Options, graph: &Graph, node: &Node) -> bool {
    let name = node.op.def.name;
    if options.is_off(name) || options.is_off(&node.op.name()) {
        return false;
    }
    takes_whole(graph, node)
}
