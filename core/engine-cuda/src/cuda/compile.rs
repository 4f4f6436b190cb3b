//! Units to code: from the cache, or by NVRTC, several at a time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    cache::{Cache, Key},
    library::{Opened, find},
    nvrtc::{Nvrtc, options},
};
use crate::device::{Result, Unit};

/// What a kernel takes of a multiprocessor, as the assembler says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub kernel: String,
    pub registers: u32,
    /// Bytes of shared memory, beside what a launch asks for.
    pub shared: u32,
    /// Bytes of registers that had to go to memory.
    pub spilled: u32,
}

/// Compiles a unit for cards of a capability, for what the assembler says of its kernels; no card is needed.
///
/// # Errors
/// Where NVRTC was looked for, or its log.
pub fn usage(unit: &Unit, capability: (u32, u32)) -> std::result::Result<Vec<Usage>, String> {
    let found = find::<Nvrtc>(None).map_err(|missing| {
        format!("NVRTC cannot be used: {}; looked in {}", missing.unusable.join("; "), missing.looked.join(", "))
    });
    let nvrtc = found?.part;
    let told = nvrtc.compile_telling(unit, capability, &["--ptxas-options=-v"]);
    let (_, log) = told.map_err(|error| error.to_string())?;
    Ok(read_usage(&log))
}

/// The assembler's lines: `Compiling entry function 'NAME'`, `N bytes spill stores`, `Used N registers, ..., N bytes smem`.
fn read_usage(log: &str) -> Vec<Usage> {
    let number = |line: &str, before: &str| -> Option<u32> {
        line.split(before).next()?.rsplit([' ', ',']).next()?.parse().ok()
    };
    let (mut all, mut kernel, mut spilled) = (vec![], String::new(), 0);
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            spilled = 0;
        } else if line.contains(" bytes spill stores") {
            spilled = number(line, " bytes spill stores").unwrap_or(0);
        } else if line.contains(" registers") {
            let registers = line.split("Used ").nth(1).and_then(|rest| number(rest, " registers")).unwrap_or(0);
            let shared = line.split(", ").find_map(|part| part.strip_suffix(" bytes smem")?.parse().ok()).unwrap_or(0);
            all.push(Usage { kernel: kernel.clone(), registers, shared, spilled });
        }
    }
    all
}

/// A compiler for one kind of card, with what it compiled before.
#[derive(Debug)]
pub(super) struct Compiler {
    nvrtc: Arc<Nvrtc>,
    cache: Cache,
    capability: (u32, u32),
}

impl Compiler {
    pub fn new(nvrtc: Arc<Nvrtc>, cache: Cache, capability: (u32, u32)) -> Compiler {
        Compiler { nvrtc, cache, capability }
    }

    /// What decides a unit's code.
    pub fn key(&self, unit: &Unit) -> Key {
        Key::of(&unit.source, &options(self.capability), self.nvrtc.version())
    }

    /// The code of each unit, in their order.
    ///
    /// # Errors
    /// Of the first unit that does not compile.
    pub fn codes(&self, units: &[&Unit]) -> Result<Vec<Vec<u8>>> {
        let next = AtomicUsize::new(0);
        let codes: Mutex<Vec<Option<Result<Vec<u8>>>>> = Mutex::new(units.iter().map(|_| None).collect());
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(unit) = units.get(at) else { return };
                let code = self.code(unit);
                codes.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(code);
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(units.len());
        thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        if !units.is_empty() {
            self.cache.shrink();
        }
        codes.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
    }

    fn code(&self, unit: &Unit) -> Result<Vec<u8>> {
        let key = self.key(unit);
        if let Some(code) = self.cache.get(&key) {
            return Ok(code);
        }
        let code = self.nvrtc.compile(unit, self.capability)?;
        self.cache.put(&key, &code);
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceError;

    const SOURCE: &str = "extern \"C\" __global__ void twice(float* x) { x[threadIdx.x] *= 2.0f; }";

    #[test]
    fn the_assembler_s_lines_are_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'one' for 'sm_80'\n\
            ptxas info    : Function properties for one\n\
            \x20   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 32 registers, used 1 barriers, 128 bytes smem\n\
            ptxas info    : Compiling entry function 'two' for 'sm_80'\n\
            \x20   16 bytes stack frame, 36 bytes spill stores, 40 bytes spill loads\n\
            ptxas info    : Used 128 registers";
        let usage =
            |kernel: &str, registers, shared, spilled| Usage { kernel: kernel.to_owned(), registers, shared, spilled };
        assert_eq!(read_usage(log), [usage("one", 32, 128, 0), usage("two", 128, 0, 36)]);
    }

    fn unit(name: &str, source: &str) -> Unit {
        Unit { name: name.into(), source: source.into() }
    }

    fn compiler(folder: &std::path::Path, capability: (u32, u32)) -> Compiler {
        let nvrtc = find::<Nvrtc>(None).expect("NVRTC").part;
        assert!(nvrtc.knows(capability));
        Compiler::new(Arc::new(nvrtc), Cache::new(Some(folder.to_owned())), capability)
    }

    #[test]
    #[ignore = "needs NVRTC (no card): set FER_NVRTC to its file or folder, and run with --ignored"]
    fn nvrtc_makes_code_that_the_cache_keeps() {
        let folder = tempfile::tempdir().expect("a folder");
        let compiler = compiler(folder.path(), (9, 0));
        let units: Vec<Unit> = (0..5).map(|i| unit(&format!("u{i}"), &format!("// {i}\n{SOURCE}"))).collect();
        let units: Vec<&Unit> = units.iter().collect();
        let codes = compiler.codes(&units).expect("compiles");
        assert!(codes.iter().all(|code| code.starts_with(b"\x7fELF")), "code for a card is an ELF file");
        assert_eq!(std::fs::read_dir(folder.path()).expect("is there").count(), 5);
        // What the cache has is taken as it is.
        compiler.cache.put(&compiler.key(units[3]), b"kept");
        assert_eq!(compiler.codes(&units).expect("is kept")[3], b"kept");
    }

    #[test]
    #[ignore = "needs NVRTC (no card): set FER_NVRTC to its file or folder, and run with --ignored"]
    fn a_unit_that_does_not_compile_is_named_with_the_compiler_s_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let wrong = unit("wrong", "extern \"C\" __global__ void f() { int x = nothing; }");
        match compiler(folder.path(), (8, 0)).codes(&[&unit("right", SOURCE), &wrong]) {
            Err(DeviceError::Compile { unit, log }) => {
                assert_eq!(unit, "wrong");
                assert!(log.contains("wrong.cu(1): error: identifier \"nothing\" is undefined"), "{log}");
            }
            other => panic!("{other:?}"),
        }
    }
}
