//! The threads of a block: one fiber each, that runs until it has to wait for others or is done.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::{
    fault::{Fault, active},
    fiber::{Pointer, Stacks, switch},
    unit::{Calls, Kernel, Meeting, Now},
    warp::Warp,
    watch::{Kind, Race, Watch},
};

/// Numbers that look random and are the same for the same seed: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Why a launch ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The kernel does what CUDA does not allow.
    Misuse(String),
    /// Found at this place in the code.
    Race {
        race: Race,
        at: usize,
    },
    Fault(Fault),
}

/// Threads at a barrier.
#[derive(Default)]
struct Barrier {
    arrived: usize,
    kind: u32,
    line: i32,
    count: i32,
    /// What the threads that go on are told.
    result: i32,
}

const PLAIN: u32 = 0;
const AND: u32 = 2;
const OR: u32 = 3;

/// A block that runs; used again for the next one of the launch.
pub(crate) struct Block {
    kernel: *const Kernel,
    arguments: *const *mut c_void,
    now: *mut Now,
    places: Vec<[u32; 3]>,
    fibers: Vec<Pointer>,
    warps: Vec<Warp>,
    /// Where the scheduler goes on while a thread runs.
    scheduler: Pointer,
    /// The thread that runs.
    current: Option<usize>,
    finished: usize,
    barrier: Barrier,
    failure: Option<Failure>,
    watch: Watch,
}

/// What units get.
pub(crate) fn calls() -> Calls {
    Calls { barrier, meet, active: alive, fail, access }
}

impl Block {
    /// Threads that will run `kernel`, which, like what the other pointers lead to, is there as long as the block is used.
    pub(crate) fn new(
        kernel: &Kernel,
        arguments: *const *mut c_void,
        now: *mut Now,
        size: [u32; 3],
        watch: Watch,
    ) -> Block {
        let [x, y, z] = size;
        let places = (0..z).flat_map(|k| (0..y).flat_map(move |j| (0..x).map(move |i| [i, j, k]))).collect();
        Block {
            kernel,
            arguments,
            now,
            places,
            fibers: vec![],
            warps: vec![],
            scheduler: std::ptr::null_mut(),
            current: None,
            finished: 0,
            barrier: Barrier::default(),
            failure: None,
            watch,
        }
    }

    /// Gives back what it was given, after the last block of a launch.
    pub(crate) fn watch(&mut self) -> Watch {
        std::mem::take(&mut self.watch)
    }

    fn begin(&mut self, stacks: &Stacks) {
        let threads = self.places.len();
        self.fibers.clear();
        self.fibers.extend((0..threads).map(|i| stacks.start(i, thread)));
        self.warps.clear();
        self.warps.extend((0..threads.div_ceil(32)).map(|w| Warp::of(threads - w * 32)));
        self.finished = 0;
        self.barrier = Barrier::default();
        self.watch.begin(self.warps.len());
    }

    /// Runs all threads to their ends, in an order of chance.
    ///
    /// # Safety
    /// `block` is this thread's active one, and its unit is this thread's; `stacks` has one for each thread.
    pub(crate) unsafe fn run(block: *mut Block, stacks: &Stacks, random: &mut Random) -> Result<(), Failure> {
        // SAFETY: `block` is valid; no reference to it lives over a switch to a thread, here and in all that follows.
        let b = unsafe { &mut *block };
        b.begin(stacks);
        let mut order: Vec<usize> = (0..b.warps.len()).collect();
        loop {
            let mut went_on = false;
            for i in (1..order.len()).rev() {
                order.swap(i, random.below(i + 1));
            }
            for &warp in &order {
                // SAFETY: as above.
                let ready = || unsafe { (&(*block).warps)[warp].ready };
                // Now and then a warp runs far ahead of the others: until it waits for them.
                let ahead = random.below(4) == 0;
                while ready() != 0 {
                    went_on = true;
                    let chance = random.next() as usize;
                    let (first, step) = (chance & 31, chance >> 32 & 31 | 1);
                    for lane in (0..32).map(|k| (first + k * step) & 31) {
                        if ready() >> lane & 1 == 0 {
                            continue;
                        }
                        // SAFETY: the thread is ready, so its fiber waits to go on.
                        unsafe { Block::resume(block, warp * 32 + lane) };
                        // SAFETY: as above.
                        if let Some(failure) = unsafe { (*block).failure.take() } {
                            return Err(failure);
                        }
                    }
                    if !ahead {
                        break;
                    }
                }
            }
            // SAFETY: as above.
            let b = unsafe { &mut *block };
            if b.finished == b.places.len() {
                b.watch.end();
                return match (0..b.places.len()).all(|i| stacks.whole(i)) {
                    true => Ok(()),
                    false => Err(Failure::Misuse("a thread keeps more than its stack holds".into())),
                };
            }
            if !went_on {
                return Err(Failure::Misuse(b.stuck()));
            }
        }
    }

    /// # Safety
    /// `thread`'s fiber waits to go on.
    unsafe fn resume(block: *mut Block, thread: usize) {
        // SAFETY: see `run`; `now` belongs to the unit that runs.
        let (save, to) = unsafe {
            let b = &mut *block;
            b.current = Some(thread);
            (*b.now).thread = b.places[thread];
            (&raw mut (*block).scheduler, b.fibers[thread])
        };
        // SAFETY: `to` is where the fiber waits, and is written again when it leaves.
        unsafe {
            switch(save, to);
            (*block).current = None;
        }
    }

    /// Leaves the thread that runs, until it is resumed.
    fn leave(block: *mut Block) {
        // SAFETY: called by a thread of the active block. Vec's buffer does not move while a block runs.
        unsafe {
            let b = &mut *block;
            let thread = b.current.unwrap_or(0);
            let save = &raw mut b.fibers[thread];
            let to = b.scheduler;
            switch(save, to);
        }
    }

    /// Ends the launch for a fault of the thread that runs; comes back where it was not a thread's.
    ///
    /// # Safety
    /// `block` is the active one.
    pub(crate) unsafe fn fault(block: *mut Block, fault: Fault) {
        // SAFETY: see above.
        let b = unsafe { &mut *block };
        if b.current.is_some() {
            b.failure = Some(Failure::Fault(fault));
            Block::leave(block);
        }
    }

    /// `thread (1, 0, 0) of block (0, 0, 0)`, of the thread that ran last.
    pub(crate) fn place(&self) -> String {
        // SAFETY: the unit that runs; nobody else writes.
        let Now { thread: [x, y, z], block: [i, j, k], .. } = unsafe { &*self.now };
        format!("thread ({x}, {y}, {z}) of block ({i}, {j}, {k})")
    }

    fn misuse(&mut self, why: String) {
        self.failure.get_or_insert(Failure::Misuse(format!("{why}; {}", self.place())));
    }

    fn arrive(&mut self, kind: u32, predicate: bool, line: i32) {
        let threads = self.places.len();
        let Some(thread) = self.current else { return };
        self.warps[thread / 32].ready &= !(1 << (thread % 32));
        let barrier = &mut self.barrier;
        if barrier.arrived == 0 {
            (barrier.kind, barrier.line, barrier.count) = (kind, line, 0);
        }
        barrier.arrived += 1;
        barrier.count += i32::from(predicate);
        if (barrier.kind, barrier.line) != (kind, line) {
            let other = barrier.line;
            return self.misuse(format!("threads of a block wait at different barriers, at lines {other} and {line}"));
        }
        if self.finished > 0 {
            return self.misuse(format!("line {line}: a barrier that {} threads ended without", self.finished));
        }
        if barrier.arrived == threads {
            barrier.arrived = 0;
            barrier.result = match kind {
                PLAIN => 0,
                AND => i32::from(barrier.count as usize == threads),
                OR => i32::from(barrier.count > 0),
                _ => barrier.count,
            };
            // A barrier of all threads: none waits for lanes of its warp.
            self.warps.iter_mut().for_each(|warp| warp.ready = warp.alive);
            self.watch.barrier();
        }
    }

    fn finish(&mut self) {
        let Some(thread) = self.current else { return };
        self.finished += 1;
        if self.barrier.arrived > 0 {
            let line = self.barrier.line;
            return self.misuse(format!("a thread ends while others wait at the barrier of line {line}"));
        }
        match self.warps[thread / 32].finish(thread % 32) {
            Ok(()) => self.synchronised(thread / 32),
            Err(why) => self.misuse(why),
        }
    }

    fn synchronised(&mut self, warp: usize) {
        self.warps[warp].synchronised.drain(..).for_each(|lanes| self.watch.together(warp, lanes));
    }

    /// Why no thread can go on.
    fn stuck(&self) -> String {
        let mut why = String::from("no thread can go on");
        if self.barrier.arrived > 0 {
            why += &format!("; {} wait at the barrier of line {}", self.barrier.arrived, self.barrier.line);
        }
        for (i, warp) in self.warps.iter().enumerate() {
            if let Some((line, mask)) = warp.waits().next() {
                let lanes = warp.waiting;
                why += &format!("; lanes {lanes:#010x} of warp {i} wait for {mask:#010x} at line {line}");
            }
        }
        why
    }
}

/// Where a fiber begins.
extern "C" fn thread() -> ! {
    let block = active();
    // SAFETY: a thread of the active block, whose launch gave a kernel with its arguments.
    unsafe {
        let (kernel, arguments) = ((*block).kernel, (*block).arguments);
        (*kernel).call(arguments);
        (*block).finish();
    }
    loop {
        // Nobody resumes a thread that has finished.
        Block::leave(block);
    }
}

extern "C" fn barrier(kind: u32, predicate: c_int, line: c_int) -> c_int {
    let block = active();
    // SAFETY: called by a thread of the active block; see `run`.
    unsafe { (*block).arrive(kind, predicate != 0, line) };
    Block::leave(block);
    // SAFETY: as above. No other barrier can be complete before this thread has gone on.
    unsafe { (*block).barrier.result }
}

extern "C" fn meet(meeting: *mut Meeting) {
    let block = active();
    // SAFETY: as above; the meeting is on the stack of a thread that waits from here on.
    unsafe {
        let b = &mut *block;
        if let Some(thread) = b.current {
            match b.warps[thread / 32].arrive(thread % 32, meeting) {
                Ok(()) => b.synchronised(thread / 32),
                Err(why) => b.misuse(why),
            }
        }
    }
    Block::leave(block);
}

extern "C" fn alive() -> u32 {
    // SAFETY: called by a thread of the active block.
    let b = unsafe { &*active() };
    b.current.map_or(0, |thread| b.warps[thread / 32].alive)
}

extern "C" fn fail(what: *const c_char, file: *const c_char, line: c_int) {
    let block = active();
    let text = |p: *const c_char| {
        // SAFETY: a literal of the unit, or null.
        (!p.is_null()).then(|| unsafe { CStr::from_ptr(p) }.to_string_lossy())
    };
    let what = text(what).unwrap_or_default();
    let why = text(file).map_or_else(|| what.to_string(), |file| format!("{file}:{line}: {what}"));
    // SAFETY: as above.
    unsafe { (*block).misuse(why) };
    loop {
        // The launch is over: nobody resumes this thread.
        Block::leave(block);
    }
}

extern "C" fn access(address: *const c_void, bytes: u64, kind: u32, at: *const c_void) {
    let block = active();
    // SAFETY: called by a thread of the active block.
    let race = unsafe {
        let b = &mut *block;
        let Some(thread) = b.current else { return };
        b.watch.access(thread, address as usize, bytes as usize, Kind::of(kind), at as usize)
    };
    if let Err(race) = race {
        // SAFETY: as above.
        unsafe { (*block).failure = Some(Failure::Race { race, at: at as usize }) };
        loop {
            // The launch is over: nobody resumes this thread.
            Block::leave(block);
        }
    }
}
