//! Notices races: two threads that touch the same byte, one of them to change it, and nothing between makes one wait for the other.
//!
//! What orders two threads of a block is a barrier of the block, or for two lanes of a warp `__syncwarp`, as CUDA has it: shuffles, votes
//! and products of matrices make lanes meet, and say nothing about memory. Nothing orders two blocks of a launch. Atomics are no race
//! with each other. Every access is looked at, so that what is found does not depend on the order in which threads happen to run.

use std::collections::HashMap;

use crate::{memory::Memory, traffic::Recorder};

/// How a byte is touched; `runtime/emulator.h` has the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Atomic,
}

impl Kind {
    pub(crate) fn of(code: u32) -> Kind {
        match code {
            0 => Kind::Read,
            1 => Kind::Write,
            _ => Kind::Atomic,
        }
    }

    fn says(self) -> &'static str {
        match self {
            Kind::Read => "reads",
            Kind::Write => "writes",
            Kind::Atomic => "changes atomically",
        }
    }
}

/// Who touched a byte last, in some way.
#[derive(Clone, Copy)]
struct Mark {
    /// Of [`Watch::epoch`]; 0 where nobody did.
    epoch: u32,
    /// The latest of the lanes' times.
    time: u32,
    lanes: u32,
    warp: u16,
    atomic: bool,
    /// The place in the code.
    at: usize,
}

const NONE: Mark = Mark { epoch: 0, time: 0, lanes: 0, warp: 0, atomic: false, at: 0 };

/// What is known of a byte.
#[derive(Clone, Copy)]
struct Cell {
    write: Mark,
    read: Mark,
    /// Another reader, of another warp or block than `read`: of whatever warp a thread is that writes, one of the two is not of it.
    other: Mark,
}

/// Bytes whose cells are made together.
const CHUNK: usize = 512;

/// An allocation, or a shared memory.
struct Region {
    begin: usize,
    end: usize,
    shared: bool,
    /// Each there once somebody has touched it.
    chunks: Vec<Option<Box<[Cell; CHUNK]>>>,
}

impl Region {
    fn new((begin, end): (usize, usize), shared: bool) -> Region {
        Region { begin, end, shared, chunks: (begin..end).step_by(CHUNK).map(|_| None).collect() }
    }

    fn cell(&mut self, i: usize) -> &mut Cell {
        let empty = || Box::new([Cell { write: NONE, read: NONE, other: NONE }; CHUNK]);
        &mut self.chunks[i / CHUNK].get_or_insert_with(empty)[i % CHUNK]
    }
}

/// What each lane of a warp knows of the others' times: a lane's own time goes on when it waits for others.
type Clocks = [[u32; 32]; 32];

/// A race, before anybody has put it into words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Race {
    /// What was done before, where in the code, and by whom.
    pub(crate) before: Kind,
    pub(crate) at: usize,
    pub(crate) who: Who,
    /// What is done now.
    pub(crate) now: Kind,
    pub(crate) address: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    /// By its place in the block.
    Thread(usize),
    AnotherBlock,
}

impl Race {
    /// In words; `line` finds the line of a place in the code.
    pub(crate) fn describe(&self, at: usize, line: impl Fn(usize) -> Option<String>) -> String {
        let place = |at: usize| line(at).map_or(String::new(), |line| format!(" at {line}"));
        let (now, before) = (self.now.says(), self.before.says());
        let (here, there) = (place(at), place(self.at));
        match self.who {
            Who::Thread(thread) => {
                format!(
                    "a race: it {now}{here} what thread number {thread} {before}{there}, and neither waits for the other"
                )
            }
            Who::AnotherBlock => format!("a race: it {now}{here} what another block {before}{there}"),
        }
    }
}

/// Shadows of all memory that kernels can touch, and what is known of who waited for whom.
#[derive(Default)]
pub(crate) struct Watch {
    regions: Vec<Region>,
    /// The region that was touched last.
    last: usize,
    /// Goes on with each block and each barrier.
    epoch: u32,
    /// Of the first block of this launch, and of this block.
    launch: u32,
    block: u32,
    warps: Vec<Clocks>,
    /// Where somebody wants to know how memory is reached.
    pub(crate) recorder: Option<Recorder>,
}

impl Watch {
    /// A launch begins. `shared` are the bounds of its shared memories.
    pub(crate) fn launch(&mut self, memory: &Memory, shared: &[(usize, usize)]) {
        let mut known: HashMap<_, Region> = self.regions.drain(..).map(|r| ((r.begin, r.end), r)).collect();
        let all = memory.bounds().map(|bounds| (bounds, false)).chain(shared.iter().map(|&bounds| (bounds, true)));
        let old_or_new = |(bounds, shared)| known.remove(&bounds).unwrap_or_else(|| Region::new(bounds, shared));
        self.regions.extend(all.map(old_or_new));
        self.regions.sort_by_key(|region| region.begin);
        self.last = 0;
        self.launch = self.epoch + 1;
    }

    /// A block begins.
    pub(crate) fn begin(&mut self, warps: usize) {
        self.epoch += 1;
        self.block = self.epoch;
        let mut clocks = [[0; 32]; 32];
        (0..32).for_each(|lane| clocks[lane][lane] = 1);
        self.warps.clear();
        self.warps.resize(warps, clocks);
    }

    /// A block is over.
    pub(crate) fn end(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.end_block();
        }
    }

    /// All threads of the block have waited for each other.
    pub(crate) fn barrier(&mut self) {
        self.epoch += 1;
    }

    /// The lanes of a set have waited for each other.
    pub(crate) fn together(&mut self, warp: usize, lanes: u32) {
        let clocks = &mut self.warps[warp];
        let mut joint = [0; 32];
        for lane in crate::warp::lanes(lanes) {
            joint.iter_mut().zip(&clocks[lane]).for_each(|(joint, time)| *joint = (*joint).max(*time));
        }
        for lane in crate::warp::lanes(lanes) {
            clocks[lane] = joint;
            clocks[lane][lane] += 1;
        }
    }

    /// A thread touches `bytes` from `address` on.
    ///
    /// # Errors
    /// The race that it makes.
    pub(crate) fn access(
        &mut self,
        thread: usize,
        address: usize,
        bytes: usize,
        kind: Kind,
        at: usize,
    ) -> Result<(), Race> {
        let Some(region) = self.region(address) else { return Ok(()) };
        let (warp, lane) = (thread / 32, thread % 32);
        let mark = Mark {
            epoch: self.epoch,
            time: self.warps[warp][lane][lane],
            lanes: 1 << lane,
            warp: warp as u16,
            atomic: kind == Kind::Atomic,
            at,
        };
        let knows = &self.warps[warp][lane];
        let region = &mut self.regions[region];
        // Each block has shared memory of its own.
        let launch = if region.shared { self.block } else { self.launch };
        let now = Now { epoch: self.epoch, launch, block: self.block, warp: warp as u16, lane, knows };
        if let Some(recorder) = &mut self.recorder {
            recorder.note(thread, address, bytes, kind, at, region.shared);
        }
        let first = address - region.begin;
        let last = (first + bytes).min(region.end - region.begin);
        for i in first..last {
            let cell = region.cell(i);
            let race = |mark: &Mark, before: Kind| {
                let before = if mark.atomic { Kind::Atomic } else { before };
                Race { before, at: mark.at, who: now.who(mark), now: kind, address: address - first + i }
            };
            let both = kind == Kind::Atomic && cell.write.atomic;
            if !both && !now.after(&cell.write) {
                return Err(race(&cell.write, Kind::Write));
            }
            if kind == Kind::Read {
                now.read(cell, mark);
                continue;
            }
            for reader in [&cell.read, &cell.other] {
                if !now.after(reader) {
                    return Err(race(reader, Kind::Read));
                }
            }
            cell.write = mark;
        }
        Ok(())
    }

    /// The region that an address is in.
    fn region(&mut self, address: usize) -> Option<usize> {
        let inside = |region: &Region| (region.begin..region.end).contains(&address);
        if !self.regions.get(self.last).is_some_and(inside) {
            let next = self.regions.partition_point(|region| region.begin <= address);
            self.last = next.checked_sub(1).filter(|&i| inside(&self.regions[i]))?;
        }
        Some(self.last)
    }
}

/// The thread that touches something, and what it knows.
struct Now<'a> {
    epoch: u32,
    /// The first epoch that counts.
    launch: u32,
    block: u32,
    warp: u16,
    lane: usize,
    knows: &'a [u32; 32],
}

impl Now<'_> {
    /// Whether what was marked is over, as far as this thread is concerned.
    fn after(&self, mark: &Mark) -> bool {
        if mark.epoch < self.launch {
            return true;
        }
        if mark.epoch < self.block {
            return false;
        }
        let others = mark.lanes & !(1 << self.lane);
        mark.epoch < self.epoch
            || mark.warp == self.warp && crate::warp::lanes(others).all(|lane| self.knows[lane] >= mark.time)
    }

    fn read(&self, cell: &mut Cell, mark: Mark) {
        let before = cell.read;
        if before.epoch == self.epoch && before.warp == self.warp {
            cell.read = Mark { lanes: before.lanes | mark.lanes, time: before.time.max(mark.time), ..mark };
            return;
        }
        // Another block's reader is one that no barrier makes harmless.
        let kept = (self.launch..self.block).contains(&cell.other.epoch);
        if !kept && !self.after(&before) {
            cell.other = before;
        }
        cell.read = mark;
    }

    fn who(&self, mark: &Mark) -> Who {
        if mark.epoch < self.block {
            return Who::AnotherBlock;
        }
        let others = mark.lanes & !(1 << self.lane);
        let unknown = crate::warp::lanes(others).find(|&lane| mark.warp != self.warp || self.knows[lane] < mark.time);
        Who::Thread(usize::from(mark.warp) * 32 + unknown.unwrap_or(mark.lanes.trailing_zeros() as usize))
    }
}
