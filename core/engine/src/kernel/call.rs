//! Calls a kernel on strided memory.

use fer_abi::{KernelCall, KernelInput, KernelOutput};
use fer_graph::{Graph, Node};

use super::{CustomKernel, layout::Layout};

/// A kernel could not compute what it was given: the number it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub i32);

/// What stays the same in every call of a node's kernel.
#[derive(Clone, Debug)]
pub struct KernelPlan {
    pub kernel: CustomKernel,
    /// Shapes and strides of what is read and of what is written.
    inputs: Vec<Layout>,
    outputs: Vec<Layout>,
    wrt: Vec<usize>,
    cotangents: Vec<usize>,
}

impl KernelPlan {
    /// A node's kernel on dense tensors.
    pub fn dense(kernel: &CustomKernel, graph: &Graph, node: &Node) -> KernelPlan {
        let layouts = |values: &[fer_graph::Value]| values.iter().map(|&v| Layout::dense(graph.shape(v))).collect();
        KernelPlan::new(kernel, node, layouts(&node.operands), layouts(&node.results))
    }

    pub(super) fn new(kernel: &CustomKernel, node: &Node, inputs: Vec<Layout>, outputs: Vec<Layout>) -> KernelPlan {
        let list = |name| if node.op.adjoint { node.attributes.sizes(name) } else { vec![] };
        KernelPlan { kernel: kernel.clone(), inputs, outputs, wrt: list("wrt"), cotangents: list("cotangents") }
    }

    /// Computes the outputs from the inputs, each given by its first element's place.
    ///
    /// # Errors
    /// [`Refused`] when the kernel answers anything but 0.
    ///
    /// # Safety
    /// Behind each pointer lie the elements that its layout reaches; nobody writes to them meanwhile, and outputs overlap nothing.
    pub unsafe fn run(&self, inputs: &[*const f32], outputs: &[*mut f32]) -> Result<(), Refused> {
        let inputs: Vec<KernelInput> = self
            .inputs
            .iter()
            .zip(inputs)
            .map(|(layout, &data)| KernelInput {
                data,
                rank: layout.shape.len(),
                shape: layout.shape.as_ptr(),
                strides: layout.strides.as_ptr(),
            })
            .collect();
        let outputs: Vec<KernelOutput> = self
            .outputs
            .iter()
            .zip(outputs)
            .map(|(layout, &data)| KernelOutput {
                data,
                rank: layout.shape.len(),
                shape: layout.shape.as_ptr(),
                strides: layout.strides.as_ptr(),
            })
            .collect();
        let call = KernelCall {
            size: size_of::<KernelCall>(),
            input_count: inputs.len(),
            inputs: inputs.as_ptr(),
            output_count: outputs.len(),
            outputs: outputs.as_ptr(),
            wrt_count: self.wrt.len(),
            wrt: self.wrt.as_ptr(),
            cotangent_count: self.cotangents.len(),
            cotangents: self.cotangents.as_ptr(),
        };
        // SAFETY: the call holds what it says for as long as it lasts; that the code keeps to its side is the trust that a plugin
        // is given.
        match unsafe { (self.kernel.function.run)(&raw const call) } {
            0 => Ok(()),
            code => Err(Refused(code)),
        }
    }
}
