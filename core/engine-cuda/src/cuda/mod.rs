//! The real device: NVIDIA's driver through cudarc, kernels by NVRTC, products by cublasLt.
//!
//! Read in this order: `probe` (what of CUDA is there), `search` and `library` (where NVRTC and cublasLt come from), this file,
//! `compile` and `cache` (kernels), `layout` and `product` (matrices), `recording` (a step). What needs no card is apart from what
//! does, and tested without one.
//!
//! Two streams: everything happens in order on one; what is staged comes in on the other, and events order the two.

mod arguments;
mod ask;
mod cache;
mod compile;
mod driver;
mod fault;
mod layout;
mod library;
mod lt;
mod nvrtc;
mod probe;
mod product;
mod recording;
mod search;
mod staging;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

pub use cache::{FOLDER_VARIABLE, standard_folder};
pub use compile::{Usage, usage};
use cudarc::driver::sys::CUdevice_attribute as Attribute;
pub use library::Version;
pub use probe::{Card, Companion, Driver, NoCuda, Survey, probe, survey};
pub use search::Part;

use self::{
    cache::{Cache, Key},
    compile::Compiler,
    driver::{Context, Event, Function, Module, Stream},
    lt::CublasLt,
    nvrtc::Nvrtc,
    probe::companion,
    product::Products,
    recording::Recorded,
    staging::{PIECE, Staging},
};
use crate::device::{Address, Command, Device, DeviceError, DeviceInfo, MemoryInfo, Recording, Result, Unit};

/// A card.
pub struct CudaDevice(Arc<Inner>);

/// What recordings share with the device. Fields are dropped in this order, the context last.
struct Inner {
    info: DeviceInfo,
    compiler: Compiler,
    modules: Mutex<HashMap<Key, Module>>,
    products: Mutex<Products>,
    uploads: Mutex<Staging>,
    staging: Mutex<Staged>,
    stream: Stream,
    context: Arc<Context>,
    /// The first error after which nothing works.
    lost: OnceLock<DeviceError>,
}

/// The way in beside what is running.
struct Staged {
    buffers: Staging,
    stream: Stream,
    /// All that was staged is there.
    arrived: Event,
    /// All that was fetched has left.
    fetched: Event,
}

impl CudaDevice {
    /// Opens the card of a number, as [`Survey::card`] counts them. Compiled kernels are kept in `cache`, if it is given.
    ///
    /// # Errors
    /// Why CUDA, or this card, cannot be used.
    pub fn open(index: usize, cache: Option<std::path::PathBuf>) -> Result<CudaDevice, NoCuda> {
        let survey = survey();
        let card = survey.card(index)?;
        let version = survey.driver.as_ref().ok().map(|driver| driver.cuda);
        let nvrtc = Arc::new(companion::<Nvrtc>(version)?.part);
        let lt = Arc::new(companion::<CublasLt>(version)?.part);
        let name = card.name.clone();
        Inner::open(card, nvrtc, lt, Cache::new(cache)).map(|inner| CudaDevice(Arc::new(inner))).map_err(|error| {
            NoCuda {
                message: format!("{name} (cuda:{index}) cannot be opened: {error}"),
                notes: vec![],
                help: "nvidia-smi shows whether it works and what else uses it".to_owned(),
            }
        })
    }
}

impl Inner {
    fn open(card: Card, nvrtc: Arc<Nvrtc>, lt: Arc<CublasLt>, cache: Cache) -> Result<Inner> {
        let asked = |what: &str, (_, why): (u32, String)| DeviceError::Failed { what: what.to_owned(), why };
        let device = ask::device(card.index).map_err(|e| asked("finding the card", e))?;
        let shared = ask::attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
        let context = Context::new(device)?;
        let (stream, beside) = (Stream::new(&context)?, Stream::new(&context)?);
        let staged = Staged {
            buffers: Staging::new(&context)?,
            stream: beside,
            arrived: Event::new(&context)?,
            fetched: Event::new(&context)?,
        };
        Ok(Inner {
            compiler: Compiler::new(nvrtc, cache, card.capability),
            modules: Mutex::default(),
            products: Mutex::new(Products::new(lt, &context)?),
            uploads: Mutex::new(Staging::new(&context)?),
            staging: Mutex::new(staged),
            stream,
            context,
            lost: OnceLock::new(),
            info: DeviceInfo {
                name: card.name,
                capability: card.capability,
                total_memory: card.memory,
                multiprocessors: card.multiprocessors,
                shared_memory: shared.map_err(|e| asked("asking for the shared memory", e))?,
            },
        })
    }

    /// Does something with the context current. After a loss nothing is asked of the device any more.
    fn guard<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(lost) = self.lost.get() {
            return Err(lost.clone());
        }
        self.context.bind().and_then(|()| body()).inspect_err(|error| {
            if matches!(error, DeviceError::Lost { .. }) {
                let _ = self.lost.set(error.clone());
            }
        })
    }

    fn products(&self) -> Result<MutexGuard<'_, Products>> {
        self.products.lock().map_err(|_| DeviceError::Failed {
            what: "a product".to_owned(),
            why: "another thread panicked while it asked for one".to_owned(),
        })
    }

    /// Compiles and loads what is not loaded yet.
    fn prepare(&self, units: &[Unit]) -> Result<()> {
        // Held meanwhile: two threads that want the same kernels compile them once.
        let mut modules = lock(&self.modules);
        let mut keys = vec![];
        for unit in units {
            let key = self.compiler.key(unit);
            if !modules.contains_key(&key) && !keys.iter().any(|(other, _)| *other == key) {
                keys.push((key, unit));
            }
        }
        let codes = self.compiler.codes(&keys.iter().map(|(_, unit)| *unit).collect::<Vec<_>>())?;
        for ((key, unit), code) in keys.into_iter().zip(codes) {
            modules.insert(key, Module::load(&self.context, &unit.name, &code)?);
        }
        Ok(())
    }

    /// The kernel of a name in any of the units. Modules stay loaded as long as the device is open.
    fn function(&self, units: &[Unit], kernel: &str) -> Result<Function> {
        let modules = lock(&self.modules);
        for module in units.iter().filter_map(|unit| modules.get(&self.compiler.key(unit))) {
            if let Some(function) = module.function(kernel)? {
                return Ok(function);
            }
        }
        let names: Vec<&str> = units.iter().map(|unit| &*unit.name).collect();
        Err(DeviceError::Missing(format!("no kernel {kernel} is in the units {}", names.join(", "))))
    }

    fn synchronise(&self) -> Result<()> {
        lock(&self.staging).stream.synchronise()?;
        self.stream.synchronise()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Pinned memory may be read and memory used until the streams are through. A lost device has nothing under way.
        let _ = self.guard(|| self.synchronise());
    }
}

/// What a thread that panicked left is as good as before: nothing is changed in several steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CudaDevice").field(&self.0.info).finish()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Device for CudaDevice {
    fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.0.guard(|| self.0.context.memory())
    }

    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.0.guard(|| self.0.context.allocate(bytes))
    }

    /// Waits, because the driver's own way to free in order takes only memory of its pools.
    fn release(&self, address: Address) {
        // With a lost device its memory is gone, too.
        let _ = self.0.guard(|| {
            self.0.synchronise()?;
            self.0.context.free(address);
            Ok(())
        });
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.0.guard(|| {
            let mut buffers = lock(&self.0.uploads);
            let pieces = (to..).step_by(PIECE).zip(bytes.chunks(PIECE));
            pieces.into_iter().try_for_each(|(to, piece)| buffers.send(&self.0.stream, to, piece))
        })
    }

    fn stage(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.0.guard(|| {
            let Staged { buffers, stream, arrived, fetched } = &mut *lock(&self.0.staging);
            stream.wait(fetched)?;
            buffers.send(stream, to, bytes)?;
            arrived.record(stream)
        })
    }

    fn fetch(&self, from: Address, to: Address, bytes: usize) -> Result<()> {
        self.0.guard(|| {
            let staged = lock(&self.0.staging);
            self.0.stream.wait(&staged.arrived)?;
            self.0.stream.copy(from, to, bytes)?;
            staged.fetched.record(&self.0.stream)
        })
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.0.guard(|| {
            lock(&self.0.staging).stream.synchronise()?;
            match bytes {
                [] => self.0.stream.synchronise(),
                bytes => self.0.stream.download(from, bytes),
            }
        })
    }

    fn synchronise(&self) -> Result<()> {
        self.0.guard(|| self.0.synchronise())
    }

    fn prepare(&self, units: &[Unit]) -> Result<()> {
        self.0.guard(|| self.0.prepare(units))
    }

    fn record(&self, units: &[Unit], commands: &[Command<Address>]) -> Result<Box<dyn Recording>> {
        self.0.guard(|| {
            self.0.prepare(units)?;
            Ok(Box::new(Recorded::new(self.0.clone(), units, commands)?) as Box<dyn Recording>)
        })
    }
}
