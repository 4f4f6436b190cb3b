//! Plugins' own ops, by the CUDA sources that come with them. Each is a unit of its own, for one op with one list of types.

use std::sync::Arc;

use fer_engine::{
    EngineError, Result,
    kernel::{Checked, CudaFunction, CustomKernel, Memory, Wrong, compare_dense},
};
use fer_graph::{Graph, Node};

use super::{Lowering, call::Kernel};
use crate::{
    CudaEngine, Element, Options,
    device::{Address, Command, Device, DeviceError, Launch, Parameter, Unit},
    store::{self, data},
    write::hash,
};

/// Pointers that a launch has room for: its parameters are at most 4 KiB.
const MOST_POINTERS: usize = 512;
/// Blocks along the axis on which they are launched.
const MOST_BLOCKS: usize = i32::MAX as usize;

/// Whether a kernel can be launched for a node.
pub(super) fn fits(kernel: &CustomKernel<CudaFunction>, graph: &Graph, node: &Node) -> bool {
    node.operands.len() + node.results.len() <= MOST_POINTERS && kernel.function.blocks(graph, node) <= MOST_BLOCKS
}

/// A kernel as it is compiled and launched for a node.
struct Program {
    unit: Unit,
    /// The function's name in the unit. A plan may have a source several times, for other shapes.
    name: Arc<str>,
    blocks: usize,
    threads: u32,
}

impl Program {
    fn of(kernel: &CustomKernel<CudaFunction>, graph: &Graph, node: &Node) -> Program {
        let function = &kernel.function;
        let name = |text: &str| format!("{}_{:016x}", function.entry, hash(text));
        let name = name(&function.text(graph, node, &function.entry));
        Program {
            unit: Unit { name: node.op.name().into(), source: function.text(graph, node, &name).into() },
            name: name.into(),
            blocks: function.blocks(graph, node),
            threads: function.threads,
        }
    }

    /// Calls the kernel alone, on copies of the memory, and brings back what it left there.
    ///
    /// # Errors
    /// What the compiler or the device says.
    fn call(
        &self,
        device: &Arc<dyn Device>,
        inputs: &mut [Memory],
        outputs: &mut [Memory],
    ) -> std::result::Result<(), Wrong> {
        let mut all: Vec<&mut Memory> = inputs.iter_mut().chain(outputs).collect();
        self.launched(device, &mut all).map_err(|error| match error {
            DeviceError::Compile { log, .. } => Wrong::Source(log),
            other => Wrong::Device(other.to_string()),
        })
    }

    fn launched(&self, device: &Arc<dyn Device>, all: &mut [&mut Memory]) -> std::result::Result<(), DeviceError> {
        let (mut places, mut parameters) = (vec![], vec![]);
        for memory in &*all {
            let bytes: Vec<u8> = memory.numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            let place = store::Memory::new(device, bytes.len())?;
            device.upload(place.address, &bytes)?;
            parameters.push(Parameter::Pointer(place.address, memory.first * Element::F32.bytes()));
            places.push(place);
        }
        let launch: Launch<Address> = Launch {
            kernel: self.name.clone(),
            grid: [self.blocks as u32, 1, 1],
            block: [self.threads, 1, 1],
            shared: 0,
            parameters,
        };
        device.record(std::slice::from_ref(&self.unit), &[Command::Launch(launch)])?.replay()?;
        for (memory, place) in all.iter_mut().zip(&places) {
            let mut bytes = vec![0; place.bytes];
            device.download(place.address, &mut bytes)?;
            if let fer_engine::Data::F32(numbers) = data(Element::F32, &bytes) {
                memory.numbers = numbers;
            }
        }
        Ok(())
    }
}

/// Compares every plugin's kernel that the graph will run with the op's meaning, as this engine computes it without that kernel.
///
/// # Errors
/// [`EngineError::Kernel`] for the first that differs, or does not compile.
pub(crate) fn check(checked: &Checked, device: &Arc<dyn Device>, options: &Options, graph: &Graph) -> Result<()> {
    checked.check(&options.kernels, graph, |kernel, node| {
        // In f32 even where numbers are rounded: a kernel is held to the meaning.
        let plain = CudaEngine::new(device.clone(), Options::default());
        let program = Program::of(kernel, graph, node);
        let mut call = |inputs: &mut [Memory], outputs: &mut [Memory]| program.call(device, inputs, outputs);
        compare_dense(&kernel.library, graph, node, &plain, &mut call).map_err(EngineError::Kernel)
    })
}

impl Lowering<'_> {
    /// All that the kernel reads and writes is dense, and f32 in every precision.
    pub(super) fn custom(&mut self, node: &Node, kernel: &CustomKernel<CudaFunction>) {
        let reads: Vec<_> = node.operands.iter().map(|&v| self.dense_as(v, Element::F32)).collect();
        let writes: Vec<_> = node.results.iter().map(|&v| self.output_as(v, Element::F32)).collect();
        let Program { unit, name, blocks, threads } = Program::of(kernel, self.graph, node);
        self.instances.alone(name.clone(), unit);
        let launch = Kernel::named(name).grid([blocks, 1, 1], threads as usize);
        let launch = reads.into_iter().fold(launch, Kernel::read);
        self.launch(writes.into_iter().fold(launch, Kernel::write));
    }
}
