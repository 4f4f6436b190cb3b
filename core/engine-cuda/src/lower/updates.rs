//! What a step leaves in the store, and when it leaves nothing there: where a loss is not finite.
//!
//! Whatever writes to the store looks at a number in the step's own memory before it does. A small kernel computes that number before the
//! first of them, so that the step stays one recorded graph that nobody waits within.

use fer_graph::DType;

use super::{Lowering, Place, bytes_of, label};
use crate::{
    Element,
    device::Command,
    kernels::Family,
    plan::{BufferId, Guard, Home, Step},
};

/// Entries in a launch: their pointers are parameters of the kernel, of which there is room for 4 KiB.
const MOST: usize = 64;
/// Numbers that a block stores.
const CHUNK: usize = 4096;

/// What an entry of the store becomes.
#[derive(Clone, Copy)]
enum New {
    Buffer(BufferId),
    /// The bits of a number that it holds everywhere.
    Fill(u32),
}

impl Lowering<'_> {
    /// The number that is not 0 when nothing may be updated: whoever writes to the store reads it.
    pub(super) fn stopped(&mut self) -> BufferId {
        if let Some(buffer) = self.stopped {
            return buffer;
        }
        let buffer = self.scratch(1, Element::I32);
        *self.stopped.insert(buffer)
    }

    /// A copy of a buffer.
    pub(super) fn kept(&mut self, from: BufferId) -> BufferId {
        let kept = self.scratch(self.buffers[from].elements, self.element(from));
        let bytes = self.buffers[from].bytes();
        self.emit(Command::Copy { from, to: kept, bytes }, vec![from], vec![kept], vec![]);
        kept
    }

    /// Whether a buffer is the store's.
    pub(super) fn is_stored(&self, buffer: BufferId) -> bool {
        matches!(self.buffers[buffer].home, Home::Argument(_))
    }

    /// Stores what was not computed in its place. An update may be another entry's old value, so all are read before any is written.
    pub(super) fn updates(&mut self) {
        let graph = self.graph;
        let mut moves: Vec<(New, BufferId)> = vec![];
        for (name, value) in &graph.updates {
            let argument = graph.arguments.iter().position(|a| a.name == *name);
            let to = self.arguments[argument.expect("a verified graph updates its arguments")];
            if let Place::Splat(number) = self.place(*value) {
                let mut bits = bytes_of(std::iter::once(number), self.element(to));
                bits.resize(4, 0);
                moves.push((New::Fill(u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]])), to));
                continue;
            }
            let mut from = self.dense_as(*value, self.element(to));
            if from == to {
                continue;
            }
            if self.is_stored(from) {
                from = self.kept(from);
            }
            moves.push((New::Buffer(from), to));
        }
        for (bytes, word) in [(4, "u32"), (1, "u8")] {
            let alike: Vec<_> = moves.iter().copied().filter(|&(_, to)| self.element(to).bytes() == bytes).collect();
            alike.chunks(MOST).for_each(|part| self.store_many(word, part));
        }
    }

    /// Entries whose elements are as wide as a `word`.
    fn store_many(&mut self, word: &str, moves: &[(New, BufferId)]) {
        let [mut before, mut sizes, mut filled, mut bits] = [const { Vec::<u32>::new() }; 4];
        let (mut from, mut to, mut blocks) = (vec![], vec![], 0);
        for &(new, entry) in moves {
            let count = self.buffers[entry].elements;
            before.push(blocks as u32);
            sizes.push(count as u32);
            blocks += count.div_ceil(CHUNK);
            to.push(entry);
            let (source, fill) = match new {
                New::Buffer(buffer) => (buffer, None),
                // Its own place stands for a source: nothing is read there.
                New::Fill(number) => (entry, Some(number)),
            };
            from.push(source);
            filled.push(u32::from(fill.is_some()));
            bits.push(fill.unwrap_or(0));
        }
        for list in [&mut before, &mut sizes, &mut filled, &mut bits] {
            list.resize(MOST, 0);
        }
        for list in [&mut from, &mut to] {
            list.resize(MOST, list[0]);
        }
        let stopped = self.stopped();
        let kernel = self
            .kernel(Family::Optimiser, "STORE_MANY", &[word])
            .grid([blocks, 1, 1], 256)
            .pointers(from, false)
            .pointers(to, true)
            .words([before, sizes, filled, bits].concat())
            .int(moves.len())
            .read(stopped);
        self.launch(kernel);
    }

    /// Puts the kernel that decides before the first that obeys it, where there is one. It looks at the outputs that are scalars and
    /// are there by then: the loss, and the gradient's norm if updates wait for it.
    pub(super) fn guard(&mut self, outputs: &[BufferId]) -> Guard {
        let Some(flag) = self.stopped else { return Guard::default() };
        let looks = |step: &Step| step.reads.contains(&flag);
        debug_assert!(self.steps.iter().all(|s| looks(s) || !s.writes.iter().any(|&b| self.is_stored(b))));
        let first = self.steps.iter().position(looks).unwrap_or(self.steps.len());
        let written = |buffer: BufferId| self.steps.iter().rposition(|s| s.writes.contains(&buffer));
        let is_scalar = |i: usize| {
            let ty = self.graph.ty(self.graph.outputs[i].1);
            ty.dtype == DType::Float && ty.rank() == 0
        };
        let (mut looked, mut later) = (vec![], vec![]);
        for (i, &buffer) in outputs.iter().enumerate() {
            match written(buffer) {
                Some(step) if step >= first => later.push(i),
                Some(_) if is_scalar(i) && looked.len() < MOST => looked.push(i),
                _ => {}
            }
        }
        let numbers: Vec<BufferId> = looked.iter().map(|&i| outputs[i]).collect();
        let mut pointers = numbers.clone();
        pointers.resize(MOST, numbers.first().copied().unwrap_or(flag));
        self.label = label("guard");
        let kernel = self.kernel(Family::Optimiser, "NOT_FINITE", &[]).grid([1, 1, 1], 32);
        self.launch(kernel.pointers(pointers, false).int(numbers.len()).write(flag));
        self.steps[first..].rotate_right(1);
        Guard { looked, later }
    }
}
