//! A compiled unit. `runtime/emulator.h` has the other side of what is `repr(C)` here.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fer_engine_cuda::device::{DeviceError, Parameter, Result};
use libloading::Library;

/// What `threadIdx` and its like read.
#[repr(C)]
pub(crate) struct Now {
    pub(crate) thread: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) block_size: [u32; 3],
    pub(crate) grid: [u32; 3],
    pub(crate) dynamic: *mut u8,
}

/// What a lane brings where lanes of a warp meet.
#[repr(C)]
pub(crate) struct Meeting {
    pub(crate) kind: u32,
    pub(crate) mask: u32,
    pub(crate) line: c_int,
    pub(crate) source: u32,
    pub(crate) value: u64,
    pub(crate) result: u64,
    pub(crate) c: *mut f32,
    pub(crate) a: *const u32,
    pub(crate) b: *const u32,
}

#[repr(C)]
pub(crate) struct Calls {
    pub(crate) barrier: extern "C" fn(kind: u32, predicate: c_int, line: c_int) -> c_int,
    pub(crate) meet: extern "C" fn(*mut Meeting),
    pub(crate) active: extern "C" fn() -> u32,
    pub(crate) fail: extern "C" fn(what: *const c_char, file: *const c_char, line: c_int),
    pub(crate) access: extern "C" fn(address: *const c_void, bytes: u64, kind: u32, at: *const c_void),
}

/// A parameter as a kernel declares it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    kind: u32,
    bytes: u32,
}

const POINTER: u32 = 0;
const INTEGER: u32 = 1;
const FLOAT: u32 = 2;
const STRUCTURE: u32 = 3;

#[repr(C)]
struct RawKernel {
    name: *const c_char,
    function: *mut c_void,
    call: extern "C" fn(*mut c_void, *const *mut c_void),
    parameters: *const Declared,
    count: u32,
    most_threads: u32,
}

#[repr(C)]
struct RawUnit {
    now: *mut Now,
    calls: *mut Calls,
    shared: *mut u8,
    shared_end: *mut u8,
    kernels: *const RawKernel,
    count: u32,
}

/// A unit in this process. Its variables are there once, so that one launch of it runs at a time.
#[derive(Debug)]
pub(crate) struct Loaded {
    kernels: Vec<Kernel>,
    running: Mutex<()>,
    raw: *const RawUnit,
    file: PathBuf,
    _library: Library,
}

// SAFETY: what `raw` leads to never moves while the library is there; it is read only, but for `now`, `calls` and shared memory, which
// are reached through `Running` alone, which holds the lock.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    function: *mut c_void,
    call: extern "C" fn(*mut c_void, *const *mut c_void),
    parameters: Vec<Declared>,
    /// What `__launch_bounds__` says.
    pub(crate) most_threads: Option<u32>,
}

/// A unit whose variables are this thread's.
pub(crate) struct Running<'a> {
    raw: &'a RawUnit,
    _held: MutexGuard<'a, ()>,
}

impl Loaded {
    /// # Errors
    /// [`DeviceError::Missing`].
    pub(crate) fn open(path: &Path) -> Result<Loaded> {
        let missing = |e: libloading::Error| DeviceError::Missing(format!("{}: {e}", path.display()));
        // SAFETY: the file is what `compile` made; a unit has no code that runs when it is loaded.
        let library = unsafe { Library::new(path) }.map_err(missing)?;
        // SAFETY: `compile` ends every unit with a variable of this name and type.
        let raw = unsafe { *library.get::<*const RawUnit>(b"fer_unit\0").map_err(missing)? };
        // SAFETY: the table and what it points to are constants of the library.
        let kernels = unsafe {
            let raw = &*raw;
            (0..raw.count as usize).map(|i| Kernel::read(&*raw.kernels.add(i))).collect()
        };
        Ok(Loaded { kernels, running: Mutex::new(()), raw, file: path.to_owned(), _library: library })
    }

    pub(crate) fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The lines of the unit that places in its code come from, where a program that knows is at hand: for each place from the innermost
    /// function that was inlined there to the kernel.
    pub(crate) fn lines(&self, places: &[usize]) -> Vec<Vec<String>> {
        let base = self.base();
        // A call's place is where it comes back to: the instruction before is the call.
        let offsets = places.iter().map(|at| format!("{:#x}", at.saturating_sub(base + 1)));
        let output = Command::new("addr2line").args(["-a", "-i", "-e"]).arg(&self.file).args(offsets).output();
        let Ok(output) = output else { return vec![vec![]; places.len()] };
        let mut lines: Vec<Vec<String>> = vec![];
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match lines.last_mut() {
                _ if line.starts_with("0x") => lines.push(vec![]),
                Some(last) if !line.starts_with('?') => {
                    let name = line.rsplit('/').next().and_then(|name| name.split_whitespace().next());
                    last.extend(name.map(str::to_owned));
                }
                _ => {}
            }
        }
        lines.resize(places.len(), vec![]);
        lines
    }

    /// Where the library lies; 0 where the system does not tell.
    fn base(&self) -> usize {
        // SAFETY: plain data, for which zeros are allowed.
        let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
        // SAFETY: asks where a variable of the library lies, and writes to `found` alone.
        unsafe { libc::dladdr(self.raw.cast(), &mut found) };
        found.dli_fbase as usize
    }

    /// Waits until no other launch of this unit runs.
    pub(crate) fn run(&self, calls: Calls) -> Running<'_> {
        let held = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: see `open`; `calls` is only written under the lock.
        let raw = unsafe {
            (*self.raw).calls.write(calls);
            &*self.raw
        };
        Running { raw, _held: held }
    }
}

impl Running<'_> {
    pub(crate) fn now(&self) -> *mut Now {
        self.raw.now
    }

    /// Where static shared memory begins and ends.
    pub(crate) fn shared(&self) -> (usize, usize) {
        (self.raw.shared as usize, self.raw.shared_end as usize)
    }

    /// Fills all static shared memory with bits that are a NaN.
    pub(crate) fn poison(&self) {
        let bytes = self.raw.shared_end as usize - self.raw.shared as usize;
        // SAFETY: the library's own variables, which no thread uses between two blocks.
        unsafe { self.raw.shared.write_bytes(0xff, bytes) };
    }
}

impl Kernel {
    /// # Safety
    /// What `raw` points to is there.
    unsafe fn read(raw: &RawKernel) -> Kernel {
        // SAFETY: see above; a name ends with a zero, and `parameters` has `count` entries.
        let (name, parameters) = unsafe {
            let parameters = std::slice::from_raw_parts(raw.parameters, raw.count as usize);
            (CStr::from_ptr(raw.name).to_string_lossy().into_owned(), parameters.to_vec())
        };
        let most_threads = (raw.most_threads > 0).then_some(raw.most_threads);
        Kernel { name, function: raw.function, call: raw.call, parameters, most_threads }
    }

    /// What it declares.
    pub(crate) fn declared(&self) -> &[Declared] {
        &self.parameters
    }

    /// What the kernel is called with, checked against what it declares.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    pub(crate) fn arguments(&self, given: &[Parameter<u64>]) -> Result<Arguments> {
        let fail = |why: String| DeviceError::Failed { what: format!("kernel {}", self.name), why };
        if given.len() != self.parameters.len() {
            return Err(fail(format!("{} parameters are given, it has {}", given.len(), self.parameters.len())));
        }
        let mut arguments = Arguments { words: vec![], starts: vec![] };
        for (i, (given, declared)) in given.iter().zip(&self.parameters).enumerate() {
            let (kind, bytes) = encode(given);
            let same = declared.kind == kind && declared.bytes as usize == bytes.len();
            if !same {
                return Err(fail(format!(
                    "parameter {i} is {} of {} bytes, given is {given:?}",
                    name_of(declared.kind),
                    declared.bytes,
                )));
            }
            arguments.push(&bytes);
        }
        Ok(arguments)
    }

    /// Calls the kernel as one CUDA thread.
    ///
    /// # Safety
    /// The arguments are this kernel's; its unit runs, with what `Now` and `Calls` need.
    pub(crate) unsafe fn call(&self, arguments: *const *mut c_void) {
        (self.call)(self.function, arguments);
    }
}

impl Declared {
    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// The parameter that has these bytes.
    ///
    /// # Panics
    /// If they are fewer than [`Declared::bytes`].
    pub fn parameter(&self, bytes: &[u8]) -> Parameter<u64> {
        let four = || u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let eight = || u64::from_ne_bytes(std::array::from_fn(|i| bytes[i]));
        match (self.kind, self.bytes) {
            (POINTER, _) => Parameter::Pointer(eight(), 0),
            (INTEGER, 4) => Parameter::U32(four()),
            (INTEGER, _) => Parameter::U64(eight()),
            (FLOAT, 4) => Parameter::F32(f32::from_bits(four())),
            (FLOAT, _) => Parameter::F64(f64::from_bits(eight())),
            _ => Parameter::Words(bytes.chunks(4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()),
        }
    }
}

fn name_of(kind: u32) -> &'static str {
    match kind {
        POINTER => "a pointer",
        INTEGER => "an integer",
        FLOAT => "a floating-point number",
        _ => "a structure",
    }
}

fn encode(parameter: &Parameter<u64>) -> (u32, Vec<u8>) {
    match parameter {
        Parameter::Pointer(address, offset) => (POINTER, (address + *offset as u64).to_ne_bytes().to_vec()),
        Parameter::Null => (POINTER, vec![0; 8]),
        Parameter::I32(x) => (INTEGER, x.to_ne_bytes().to_vec()),
        Parameter::U32(x) => (INTEGER, x.to_ne_bytes().to_vec()),
        Parameter::U64(x) => (INTEGER, x.to_ne_bytes().to_vec()),
        Parameter::F32(x) => (FLOAT, x.to_ne_bytes().to_vec()),
        Parameter::F64(x) => (FLOAT, x.to_ne_bytes().to_vec()),
        Parameter::Pointers(all) => (STRUCTURE, all.iter().flat_map(|x| x.to_ne_bytes()).collect()),
        Parameter::Words(all) => (STRUCTURE, all.iter().flat_map(|x| x.to_ne_bytes()).collect()),
    }
}

/// Arguments of a kernel, each at a multiple of 16 bytes.
#[derive(Debug)]
pub(crate) struct Arguments {
    words: Vec<u128>,
    starts: Vec<usize>,
}

impl Arguments {
    fn push(&mut self, bytes: &[u8]) {
        self.starts.push(self.words.len());
        for part in bytes.chunks(16) {
            let mut word = [0; 16];
            word[..part.len()].copy_from_slice(part);
            self.words.push(u128::from_ne_bytes(word));
        }
    }

    /// As a kernel takes them; while `self` is there.
    pub(crate) fn pointers(&self) -> Vec<*mut c_void> {
        self.starts.iter().map(|&i| std::ptr::from_ref(&self.words[i]).cast_mut().cast()).collect()
    }
}
