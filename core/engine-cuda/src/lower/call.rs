//! A launch that is being put together.

use std::sync::Arc;

use super::Lowering;
use crate::{
    device::{Command, Launch, Parameter},
    kernels::Family,
    plan::{BufferId, Step},
};

/// A kernel with its parameters, given in the order in which it declares them.
#[must_use]
pub(crate) struct Kernel {
    name: Arc<str>,
    grid: [u32; 3],
    block: u32,
    shared: u32,
    parameters: Vec<Parameter<BufferId>>,
    reads: Vec<BufferId>,
    writes: Vec<BufferId>,
    in_place: Vec<(BufferId, BufferId)>,
}

impl Kernel {
    /// A kernel that a unit has under this name.
    pub(crate) fn named(name: Arc<str>) -> Kernel {
        Kernel {
            name,
            grid: [1, 1, 1],
            block: 1,
            shared: 0,
            parameters: vec![],
            reads: vec![],
            writes: vec![],
            in_place: vec![],
        }
    }

    /// Blocks, and threads in each.
    ///
    /// # Panics
    /// When a grid is larger than a card's may be: shapes are bounded by the graph's rules.
    pub(crate) fn grid(mut self, blocks: [usize; 3], threads: usize) -> Kernel {
        self.grid = blocks.map(|n| u32::try_from(n).expect("a grid's size fits 32 bits"));
        self.block = threads as u32;
        self
    }

    /// One thread for each of `count` things, `threads` in a block.
    pub(crate) fn each(self, count: usize, threads: usize) -> Kernel {
        self.grid([count.div_ceil(threads).max(1), 1, 1], threads)
    }

    /// Bytes of dynamic shared memory.
    pub(crate) fn shared(mut self, bytes: usize) -> Kernel {
        self.shared = bytes as u32;
        self
    }

    pub(crate) fn read(self, buffer: BufferId) -> Kernel {
        self.read_at(buffer, 0)
    }

    /// A pointer this many bytes into a buffer that is read.
    pub(crate) fn read_at(mut self, buffer: BufferId, bytes: usize) -> Kernel {
        self.reads.push(buffer);
        self.parameters.push(Parameter::Pointer(buffer, bytes));
        self
    }

    pub(crate) fn write(self, buffer: BufferId) -> Kernel {
        self.write_at(buffer, 0)
    }

    /// A pointer this many bytes into a buffer that is written.
    pub(crate) fn write_at(mut self, buffer: BufferId, bytes: usize) -> Kernel {
        self.writes.push(buffer);
        self.parameters.push(Parameter::Pointer(buffer, bytes));
        self
    }

    /// A buffer that is read and written.
    pub(crate) fn update(mut self, buffer: BufferId) -> Kernel {
        self.reads.push(buffer);
        self.write(buffer)
    }

    /// A buffer that is read, where there is one; else a null pointer.
    pub(crate) fn read_if(self, buffer: Option<BufferId>) -> Kernel {
        match buffer {
            Some(buffer) => self.read(buffer),
            None => self.null(),
        }
    }

    /// A buffer that is written, where there is one; else a null pointer.
    pub(crate) fn write_if(self, buffer: Option<BufferId>) -> Kernel {
        match buffer {
            Some(buffer) => self.write(buffer),
            None => self.null(),
        }
    }

    pub(crate) fn null(mut self) -> Kernel {
        self.parameters.push(Parameter::Null);
        self
    }

    pub(crate) fn int(mut self, number: usize) -> Kernel {
        self.parameters.push(Parameter::I32(i32::try_from(number).expect("sizes that kernels are given fit 31 bits")));
        self
    }

    pub(crate) fn signed(mut self, number: i32) -> Kernel {
        self.parameters.push(Parameter::I32(number));
        self
    }

    pub(crate) fn long(mut self, number: usize) -> Kernel {
        self.parameters.push(Parameter::U64(number as u64));
        self
    }

    pub(crate) fn float(mut self, number: f32) -> Kernel {
        self.parameters.push(Parameter::F32(number));
        self
    }

    pub(crate) fn double(mut self, number: f64) -> Kernel {
        self.parameters.push(Parameter::F64(number));
        self
    }

    /// A structure of 32-bit words.
    pub(crate) fn words(mut self, words: Vec<u32>) -> Kernel {
        self.parameters.push(Parameter::Words(words));
        self
    }

    /// A structure of pointers to what is read (`written` false) or read and written.
    pub(crate) fn pointers(mut self, buffers: Vec<BufferId>, written: bool) -> Kernel {
        self.reads.extend(&buffers);
        if written {
            self.writes.extend(&buffers);
        }
        self.parameters.push(Parameter::Pointers(buffers));
        self
    }

    /// The written buffer may be the read one: each element is read before it is written, by one thread.
    pub(crate) fn in_place(mut self, from: BufferId, to: BufferId) -> Kernel {
        self.in_place.push((from, to));
        self
    }
}

impl Lowering<'_> {
    /// A kernel of a family: `MACRO(name, arguments)` in its source.
    pub(crate) fn kernel(&mut self, family: Family, kernel: &str, arguments: &[&str]) -> Kernel {
        Kernel::named(self.instances.of(family, kernel, arguments))
    }

    /// Adds a launch to the plan.
    pub(crate) fn launch(&mut self, kernel: Kernel) {
        let Kernel { name, grid, block, shared, parameters, reads, writes, in_place } = kernel;
        let launch = Launch { kernel: name, grid, block: [block, 1, 1], shared, parameters };
        self.emit(Command::Launch(launch), reads, writes, in_place);
    }

    pub(super) fn emit(
        &mut self,
        command: Command<BufferId>,
        reads: Vec<BufferId>,
        writes: Vec<BufferId>,
        in_place: Vec<(BufferId, BufferId)>,
    ) {
        // A buffer that is read in two ways stands among the reads twice: so its place is given to no result, which would be written where
        // the other way is still to be read.
        let mut seen = reads.clone();
        seen.extend(&writes);
        seen.sort_unstable();
        seen.dedup();
        let bytes = seen.iter().map(|&b| self.buffers[b].bytes() as u64).sum();
        let call = fer_engine::Call { bytes, ..self.label.clone() };
        // The first call of a node counts its operations.
        self.label.flops = 0;
        self.steps.push(Step { command, reads, writes, in_place, call });
    }
}
