//! A launch: what a card would refuse is refused, then block after block runs.

use std::sync::Arc;

use fer_engine_cuda::device::{DeviceError, DeviceInfo, Launch, Result};

use crate::{
    block::{self, Block, Failure, Random},
    fault::Active,
    fiber::Stacks,
    memory::{Memory, Pages},
    traffic::{Recorder, Traffic},
    unit::{Arguments, Kernel, Loaded},
    watch::Watch,
};

/// What lies before dynamic shared memory, to notice who writes there.
const PATTERN: [u8; 64] = [0xa5; 64];

/// Dynamic shared memory begins at a multiple of this.
const ALIGNMENT: usize = 16;

/// A launch that was checked.
pub(crate) struct Prepared {
    unit: Arc<Loaded>,
    kernel: usize,
    grid: [u32; 3],
    block: [u32; 3],
    shared: usize,
    arguments: Arguments,
}

impl Prepared {
    /// # Errors
    /// [`DeviceError::Missing`] for a kernel that no unit has, [`DeviceError::Failed`] for what a card refuses.
    pub(crate) fn new(launch: &Launch<u64>, units: &[Arc<Loaded>], info: &DeviceInfo) -> Result<Prepared> {
        let Launch { kernel: name, grid, block, shared, parameters } = launch;
        let found = units.iter().find_map(|unit| {
            let kernel = unit.kernels().iter().position(|kernel| *kernel.name == **name)?;
            Some((unit.clone(), kernel))
        });
        let Some((unit, kernel)) = found else {
            return Err(DeviceError::Missing(format!("no unit has a kernel {name}")));
        };
        let declared = &unit.kernels()[kernel];
        let refuse = |why: String| Err(DeviceError::Failed { what: format!("kernel {name}"), why });
        if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
            return refuse(format!("a grid of {grid:?} blocks"));
        }
        let threads = block.iter().map(|&n| u64::from(n)).product::<u64>();
        if threads == 0 || threads > 1024 || block[2] > 64 {
            return refuse(format!("blocks of {block:?} threads"));
        }
        if let Some(most) = declared.most_threads.filter(|&most| threads > u64::from(most)) {
            return refuse(format!("blocks of {threads} threads, its launch bounds say {most}"));
        }
        if *shared > info.shared_memory {
            let most = info.shared_memory;
            return refuse(format!("{shared} bytes of shared memory, a block has {most}"));
        }
        let arguments = declared.arguments(parameters)?;
        Ok(Prepared { unit, kernel, grid: *grid, block: *block, shared: *shared as usize, arguments })
    }

    fn kernel(&self) -> &Kernel {
        &self.unit.kernels()[self.kernel]
    }
}

/// What runs launches.
pub(crate) struct Machine {
    random: Random,
    /// For as many threads as a block has had.
    stacks: Option<(usize, Stacks)>,
    shared: Option<Pages>,
    /// Bytes of shared memory that a block can have.
    most_shared: usize,
    watch: Watch,
    /// Runs so many blocks of each launch, and records how they reach memory.
    pub(crate) sample: Option<u64>,
    pub(crate) traffic: Vec<Traffic>,
    /// The place of the command that runs.
    pub(crate) command: usize,
}

impl Machine {
    pub(crate) fn new(seed: u64, most_shared: usize) -> Machine {
        Machine {
            random: Random(seed),
            stacks: None,
            shared: None,
            most_shared,
            watch: Watch::default(),
            sample: None,
            traffic: vec![],
            command: 0,
        }
    }

    /// Runs all blocks in an order of chance.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] for what CUDA does not allow, [`DeviceError::Lost`] for what takes a card's context with it.
    pub(crate) fn launch(&mut self, launch: &Prepared, memory: &Memory) -> Result<()> {
        let system = |e: std::io::Error| DeviceError::Failed { what: "the emulator".into(), why: e.to_string() };
        let threads = launch.block.iter().product::<u32>() as usize;
        if self.stacks.as_ref().is_none_or(|(count, _)| *count < threads) {
            self.stacks = Some((threads, Stacks::new(threads).map_err(system)?));
        }
        if self.shared.is_none() {
            self.shared = Some(Pages::new(self.most_shared + PATTERN.len()).map_err(system)?);
        }
        let (Some((_, stacks)), Some(shared)) = (&self.stacks, &self.shared) else { return Ok(()) };

        let running = launch.unit.run(block::calls());
        let dynamic = shared.end().wrapping_sub(launch.shared.next_multiple_of(ALIGNMENT));
        let before = dynamic.wrapping_sub(PATTERN.len());
        let now = running.now();
        // SAFETY: the variables of a unit that is this thread's, and pages of this machine.
        unsafe {
            (*now).block_size = launch.block;
            (*now).grid = launch.grid;
            (*now).dynamic = dynamic;
            before.cast::<[u8; 64]>().write_unaligned(PATTERN);
        }
        let arguments = launch.arguments.pointers();
        let mut watch = std::mem::take(&mut self.watch);
        watch.recorder = self.sample.map(|_| Recorder::default());
        watch.launch(memory, &[running.shared(), (dynamic as usize, shared.end() as usize)]);
        let mut block = Block::new(launch.kernel(), arguments.as_ptr(), now, launch.block, watch);
        let block = &raw mut block;
        let _active = Active::set(block);
        let [x, y, z] = launch.grid.map(u64::from);
        let blocks = self.sample.map_or(x * y * z, |sample| sample.min(x * y * z));
        for i in order(x * y * z, &mut self.random).take(blocks as usize) {
            running.poison();
            // SAFETY: as above.
            unsafe {
                (*now).block = [i % x, i / x % y, i / (x * y)].map(|n| n as u32);
                dynamic.write_bytes(0xff, shared.end() as usize - dynamic as usize);
            }
            // SAFETY: the active block, of a unit that is this thread's; the stacks are enough.
            let ran = unsafe { Block::run(block, stacks, &mut self.random) };
            // SAFETY: as above; the block does not run.
            let place = || unsafe { (*block).place() };
            ran.map_err(|failure| describe(launch, failure, &place, memory))?;
            // SAFETY: as above.
            if unsafe { before.cast::<[u8; 64]>().read_unaligned() } != PATTERN {
                let why = format!("writes before its dynamic shared memory; {}", place());
                return Err(DeviceError::Failed { what: launch.what(), why });
            }
        }
        // SAFETY: as above; no thread runs any more.
        self.watch = unsafe { (*block).watch() };
        if let Some(recorder) = &mut self.watch.recorder {
            self.traffic.extend(launch.traffic(recorder, self.command, (x * y * z) as f64 / blocks as f64));
        }
        memory.verify().map_err(|why| DeviceError::Failed { what: launch.what(), why })
    }
}

impl Prepared {
    /// What was recorded in some blocks, as one of `times` as many would have it.
    fn traffic(&self, recorder: &mut Recorder, launch: usize, times: f64) -> Vec<Traffic> {
        let (places, sites): (Vec<_>, Vec<_>) = recorder.end_launch().into_iter().unzip();
        let lines = self.unit.lines(&places);
        let all = sites.into_iter().zip(lines).map(|(site, lines)| Traffic {
            launch,
            kernel: self.kernel().name.clone(),
            lines,
            writes: site.writes,
            shared: site.shared,
            bytes: site.bytes,
            requests: site.requests as f64 * times,
            moved: site.moved as f64 * times,
            least: site.least as f64 * times,
        });
        all.collect()
    }

    fn what(&self) -> String {
        format!("kernel {}", self.kernel().name)
    }
}

fn describe(launch: &Prepared, failure: Failure, place: &dyn Fn() -> String, memory: &Memory) -> DeviceError {
    match failure {
        Failure::Race { race, at } => {
            let line = |at: usize| launch.unit.lines(&[at]).swap_remove(0).into_iter().next();
            let why = race.describe(at, line);
            let address = memory.describe(race.address as u64);
            let what = if address == "in no allocation" { String::from("shared memory") } else { address };
            DeviceError::Failed { what: launch.what(), why: format!("{why}: {what}; {}", place()) }
        }
        Failure::Misuse(why) => DeviceError::Failed { what: launch.what(), why },
        Failure::Fault(fault) => {
            let address = fault.address;
            let at = if fault.is_address() {
                format!(", {address:#x}: {}", memory.describe(address))
            } else {
                String::new()
            };
            DeviceError::Lost { what: launch.what(), why: format!("{}{at}; {}", fault.name(), place()) }
        }
    }
}

/// All numbers below `count`, in an order of chance: from somewhere on, in steps that share no divisor with `count`.
fn order(count: u64, random: &mut Random) -> impl Iterator<Item = u64> + use<> {
    let first = random.next() % count;
    let mut step = random.next() % count + 1;
    while gcd(step, count) != 1 {
        step += 1;
    }
    (0..count).map(move |i| ((u128::from(first) + u128::from(i) * u128::from(step)) % u128::from(count)) as u64)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_each_block_once() {
        let mut random = Random(1);
        for count in [1, 2, 6, 97, 360] {
            let mut all: Vec<u64> = order(count, &mut random).collect();
            all.sort();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn orders_differ() {
        let mut random = Random(1);
        let [a, b] = [0, 1].map(|_| order(97, &mut random).collect::<Vec<_>>());
        assert_ne!(a, b);
    }
}
