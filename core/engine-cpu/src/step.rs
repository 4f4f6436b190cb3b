//! One kernel call of a plan, and how it reaches its memory.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use fer_cpu_kernels::{
    elementwise::Element,
    numbers::{Numbers, NumbersMut},
};
use fer_engine::Call;

use crate::memory::Number;

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

/// A kernel call: buffers it reads and writes, and what to do with them.
pub(crate) struct Step {
    pub run: Box<dyn Fn(&Access<'_>) + Send + Sync>,
    pub reads: Vec<BufferId>,
    pub writes: Vec<BufferId>,
    /// Pairs of a read and a written buffer that may be one: each element is read before it is written, by one task.
    pub in_place: Vec<(BufferId, BufferId)>,
    pub call: Call,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} -> {:?}", self.call.op, self.reads, self.writes)
    }
}

/// Where every buffer stands during a run.
pub(crate) struct Memory<'a> {
    pub buffers: &'a [Buffer],
    pub pointers: &'a [*mut u8],
}

/// The buffers of one step. Each written one is handed out once.
pub(crate) struct Access<'a> {
    memory: &'a Memory<'a>,
    reads: &'a [BufferId],
    writes: &'a [BufferId],
    taken: Cell<u64>,
    /// Why a plugin's kernel could not do its work.
    complaint: RefCell<Option<String>>,
}

impl<'a> Access<'a> {
    /// # Safety
    /// The pointers are valid for their buffers, nobody else touches those of the step meanwhile, and written buffers share no memory
    /// with each other or with read ones, unless the step says that they may.
    pub(crate) unsafe fn new(memory: &'a Memory<'a>, step: &'a Step) -> Access<'a> {
        Access { memory, reads: &step.reads, writes: &step.writes, taken: Cell::new(0), complaint: RefCell::default() }
    }

    /// Ends the run with an error.
    pub(crate) fn complain(&self, message: String) {
        *self.complaint.borrow_mut() = Some(message);
    }

    /// The error that ends the run.
    pub(crate) fn complaint(self) -> Option<String> {
        self.complaint.into_inner()
    }

    /// The i-th buffer that is read.
    pub(crate) fn read<T: Number>(&self, i: usize) -> &'a [T] {
        let (pointer, buffer) = self.at(self.reads[i]);
        assert!(T::is(buffer.element), "a buffer of {:?} is read as something else", buffer.element);
        // SAFETY: `new`'s promises: the pointer is valid, and nobody writes to what is read.
        unsafe { std::slice::from_raw_parts(pointer.cast(), buffer.elements) }
    }

    /// The i-th buffer that is read, as the numbers that it is made of.
    ///
    /// # Panics
    /// When it holds no floats.
    pub(crate) fn numbers(&self, i: usize) -> Numbers<'a> {
        match self.at(self.reads[i]).1.element {
            Element::Bf16 => Numbers::Bf16(self.read(i)),
            _ => Numbers::F32(self.read(i)),
        }
    }

    /// The i-th buffer that is written, as [`Access::numbers`].
    ///
    /// # Panics
    /// When it was handed out before, or holds no floats.
    pub(crate) fn write_numbers(&self, i: usize) -> NumbersMut<'a> {
        match self.at(self.writes[i]).1.element {
            Element::Bf16 => self.write::<u16>(i).into(),
            _ => self.write::<f32>(i).into(),
        }
    }

    /// The i-th buffer that is written.
    ///
    /// # Panics
    /// When it was handed out before.
    pub(crate) fn write<T: Number>(&self, i: usize) -> &'a mut [T] {
        assert!(i < 64 && self.taken.get() & (1 << i) == 0, "a buffer is lent twice");
        self.taken.set(self.taken.get() | (1 << i));
        let (pointer, buffer) = self.at(self.writes[i]);
        assert!(T::is(buffer.element), "a buffer of {:?} is written as something else", buffer.element);
        // SAFETY: `new`'s promises; it is lent once.
        unsafe { std::slice::from_raw_parts_mut(pointer.cast(), buffer.elements) }
    }

    /// Memory, elements and their type of a read buffer, for kernels that work in place.
    pub(crate) fn read_raw(&self, i: usize) -> (*mut u8, usize, Element) {
        let (pointer, buffer) = self.at(self.reads[i]);
        (pointer, buffer.elements, buffer.element)
    }

    /// As [`Access::read_raw`], of a written one.
    pub(crate) fn write_raw(&self, i: usize) -> (*mut u8, usize, Element) {
        let (pointer, buffer) = self.at(self.writes[i]);
        (pointer, buffer.elements, buffer.element)
    }

    fn at(&self, buffer: BufferId) -> (*mut u8, &'a Buffer) {
        (self.memory.pointers[buffer], &self.memory.buffers[buffer])
    }
}
