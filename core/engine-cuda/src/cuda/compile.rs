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
    library::Opened,
    nvrtc::{Nvrtc, options},
};
use crate::device::{Result, Unit};

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
    use crate::{cuda::library::find, device::DeviceError};

    const SOURCE: &str = "extern \"C\" __global__ void twice(float* x) { x[threadIdx.x] *= 2.0f; }";

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
