//! The device that tests make.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use fer_engine_cuda::device::{Address, Command, Device, DeviceError, DeviceInfo, MemoryInfo, Recording, Result, Unit};

use crate::{
    compile,
    launch::Machine,
    memory::Memory,
    recording::Recorded,
    traffic::Traffic,
    unit::{Declared, Loaded},
};

/// A card of compute capability 8.0 that does not exist.
///
/// Its memory is the process's: an address is a pointer. What a card would take as a lost context is an error here, and the device
/// refuses everything afterwards, as a card does.
pub struct EmulatedDevice {
    info: DeviceInfo,
    seed: u64,
    lost_after: Option<usize>,
    refused: Option<String>,
    state: Arc<Mutex<State>>,
}

/// What changes while a device is used.
pub(crate) struct State {
    pub memory: Memory,
    pub machine: Machine,
    /// Replays that it still does.
    pub left: Option<usize>,
    /// Why it is lost.
    pub lost: Option<String>,
}

impl State {
    /// # Errors
    /// [`DeviceError::Lost`].
    pub(crate) fn alive(&self, what: &str) -> Result<()> {
        match &self.lost {
            Some(why) => Err(DeviceError::Lost { what: what.to_owned(), why: why.clone() }),
            None => Ok(()),
        }
    }
}

impl Default for EmulatedDevice {
    fn default() -> EmulatedDevice {
        EmulatedDevice::new()
    }
}

impl EmulatedDevice {
    pub fn new() -> EmulatedDevice {
        let info = DeviceInfo {
            name: "emulator".to_owned(),
            capability: (8, 0),
            total_memory: 8 << 30,
            // Few, so that grids made for a card's multiprocessors are small.
            multiprocessors: 4,
            // What cards of 8.6, 8.9 and 12.0 give.
            shared_memory: 99 << 10,
        };
        EmulatedDevice::of(info, 1, None)
    }

    fn of(info: DeviceInfo, seed: u64, lost_after: Option<usize>) -> EmulatedDevice {
        let state = State {
            memory: Memory::new(info.total_memory),
            machine: Machine::new(seed, info.shared_memory as usize),
            left: lost_after,
            lost: None,
        };
        EmulatedDevice { info, seed, lost_after, refused: None, state: Arc::new(Mutex::new(state)) }
    }

    /// With so many bytes of memory.
    #[must_use]
    pub fn memory(self, bytes: usize) -> EmulatedDevice {
        EmulatedDevice::of(DeviceInfo { total_memory: bytes, ..self.info }, self.seed, self.lost_after)
    }

    /// With another order of blocks and threads.
    #[must_use]
    pub fn seed(self, seed: u64) -> EmulatedDevice {
        EmulatedDevice::of(self.info, seed, self.lost_after)
    }

    /// That is lost when a step is replayed once more than so many times.
    #[must_use]
    pub fn lost_after(self, replays: usize) -> EmulatedDevice {
        EmulatedDevice::of(self.info, self.seed, Some(replays))
    }

    /// That does not compile units of this name. Said last.
    #[must_use]
    pub fn refusing(mut self, unit: &str) -> EmulatedDevice {
        self.refused = Some(unit.to_owned());
        self
    }

    /// That runs no more than so many blocks of each launch, and nothing else, and records how they reach memory: what is computed is of
    /// no use then. Said last.
    #[must_use]
    pub fn sampling(self, blocks: u64) -> EmulatedDevice {
        self.state().machine.sample = Some(blocks.max(1));
        self
    }

    /// What was recorded since this was last asked, launch by launch.
    pub fn traffic(&self) -> Vec<Traffic> {
        std::mem::take(&mut self.state().machine.traffic)
    }

    /// The parameters of a unit's kernel; `None` where it has no such kernel.
    ///
    /// # Errors
    /// Those of [`Device::prepare`].
    pub fn declared(&self, unit: &Unit, kernel: &str) -> Result<Option<Vec<Declared>>> {
        let unit = compile::load(unit)?;
        Ok(unit.kernels().iter().find(|known| known.name == kernel).map(|known| known.declared().to_vec()))
    }

    /// Compiles a few side by side.
    fn load(&self, units: &[Unit]) -> Result<Vec<Arc<Loaded>>> {
        if let Some(unit) = units.iter().find(|unit| Some(&*unit.name) == self.refused.as_deref()) {
            let log = "this device was to refuse it".to_owned();
            return Err(DeviceError::Compile { unit: unit.name.to_string(), log });
        }
        let few = thread::available_parallelism().map_or(1, usize::from);
        let mut loaded = vec![];
        for units in units.chunks(few) {
            let these: Vec<_> = thread::scope(|scope| {
                let workers: Vec<_> = units.iter().map(|unit| scope.spawn(|| compile::load(unit))).collect();
                workers.into_iter().map(thread::ScopedJoinHandle::join).collect()
            });
            for unit in these {
                loaded.push(unit.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
        }
        Ok(loaded)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for EmulatedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatedDevice").field("info", &self.info).field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// What the host was asked about memory, in words.
fn refused(what: &str) -> impl Fn(String) -> DeviceError {
    move |why| DeviceError::Failed { what: what.to_owned(), why }
}

impl Device for EmulatedDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn memory(&self) -> Result<MemoryInfo> {
        Ok(self.state().memory.info())
    }

    fn allocate(&self, bytes: usize) -> Result<Address> {
        let mut state = self.state();
        state.alive("allocate")?;
        state.memory.allocate(bytes)
    }

    fn release(&self, address: Address) {
        let mut state = self.state();
        // What was overrun, or never allocated, is told by whatever is asked next.
        if let Err(why) = state.memory.release(address) {
            state.lost.get_or_insert(why);
        }
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<()> {
        let state = self.state();
        state.alive("upload")?;
        let place = state.memory.place(to, bytes.len()).map_err(refused("upload"))?;
        // SAFETY: `place` found so many bytes there; nothing of the caller's lies in a device's memory.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn stage(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.upload(to, bytes)
    }

    fn fetch(&self, from: Address, to: Address, bytes: usize) -> Result<()> {
        let state = self.state();
        state.alive("fetch")?;
        crate::recording::copy(&state.memory, from, to, bytes).map_err(refused("fetch"))
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        let state = self.state();
        state.alive("download")?;
        let place = state.memory.place(from, bytes.len()).map_err(refused("download"))?;
        // SAFETY: as in `upload`.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(place, bytes.len()) };
        Ok(())
    }

    fn synchronise(&self) -> Result<()> {
        self.state().alive("synchronise")
    }

    fn prepare(&self, units: &[Unit]) -> Result<()> {
        self.state().alive("prepare")?;
        self.load(units).map(drop)
    }

    fn record(&self, units: &[Unit], commands: &[Command<Address>]) -> Result<Box<dyn Recording>> {
        self.state().alive("record")?;
        let units = self.load(units)?;
        Ok(Box::new(Recorded::new(&units, commands, &self.info, self.state.clone())?))
    }
}

/// How long a command took, by its place.
pub(crate) type See<'a> = &'a mut dyn FnMut(usize, Duration);
