//! What lowering makes: commands on buffers.

use fer_engine::Call;

use crate::{
    Element,
    device::{Command, Unit},
};

/// A piece of memory that values stand in, by its place in the plan.
pub(crate) type BufferId = usize;

/// What a buffer is made of and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub elements: usize,
    pub element: Element,
    pub home: Home,
}

impl Buffer {
    pub(crate) fn bytes(&self) -> usize {
        self.elements * self.element.bytes()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// The step's own memory, shared by lifetimes.
    Arena,
    /// Argument of the graph: fed, or in the store.
    Argument(usize),
    /// A constant of the plan.
    Constant(usize),
}

/// A command with the buffers that it reads and writes.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub command: Command<BufferId>,
    pub reads: Vec<BufferId>,
    pub writes: Vec<BufferId>,
    /// Pairs of a read and a written buffer that may be one: each element is read before it is written, by one thread.
    pub in_place: Vec<(BufferId, BufferId)>,
    pub call: Call,
}

/// Outputs by what a step knows of them before it writes to the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Scalars that must be finite, or nothing is written.
    pub looked: Vec<usize>,
    /// Those that are computed afterwards.
    pub later: Vec<usize>,
}

/// A whole step.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub buffers: Vec<Buffer>,
    /// Bytes of constants.
    pub constants: Vec<Vec<u8>>,
    pub steps: Vec<Step>,
    /// Where each output of the graph stands, dense, in the element of its type.
    pub outputs: Vec<BufferId>,
    pub guard: Guard,
    pub units: Vec<Unit>,
}
