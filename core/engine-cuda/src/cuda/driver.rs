//! The driver's handles, each owned, each giving itself back.
//!
//! A drop after the device is lost fails, and that is ignored: the driver frees what a dead context held with the process.

use std::{
    ffi::{CString, c_int, c_uint, c_void},
    ptr::null_mut,
    sync::Arc,
    time::Duration,
};

use cudarc::driver::sys;

use super::fault::{Result, check};
use crate::device::{Address, DeviceError, MemoryInfo};

/// Every entry point of the driver that this engine calls. They are looked for before the first call, because the bindings panic
/// where one is missing. All are in drivers for CUDA 12.0.
pub(super) const ENTRY_POINTS: [&str; 41] = [
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// Tells the sizes of a kernel's parameters; drivers for CUDA 12.4 and later have it.
const PARAMETER_INFO: &str = "cuFuncGetParamInfo";

/// Whether the driver has an entry point. Only behind a check that the library is there.
pub(super) fn has(entry: &str) -> bool {
    // SAFETY: the library is there and stays loaded; the symbol is looked for and not called.
    unsafe { sys::culib().get::<unsafe extern "C" fn()>(entry.as_bytes()).is_ok() }
}

/// The primary context of a device.
#[derive(Debug)]
pub(super) struct Context {
    raw: sys::CUcontext,
    device: sys::CUdevice,
}

// SAFETY: the driver lets any thread use a context that it has made current; `bind` does so before each use.
unsafe impl Send for Context {}
// SAFETY: as above; the driver's own locks guard what threads share.
unsafe impl Sync for Context {}

impl Context {
    pub fn new(device: sys::CUdevice) -> Result<Arc<Context>> {
        let mut raw = null_mut();
        // SAFETY: the device is one that the driver named; the driver writes the handle.
        check("opening the device", unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) })?;
        let context = Arc::new(Context { raw, device });
        context.bind()?;
        Ok(context)
    }

    /// Makes it the calling thread's.
    pub fn bind(&self) -> Result<()> {
        // SAFETY: the handle is retained until this is dropped.
        check("using the device", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }

    pub fn memory(&self) -> Result<MemoryInfo> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the driver writes two numbers.
        check("asking for the free memory", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok(MemoryInfo { free, total })
    }

    /// Memory of the device; the driver aligns it to 256 bytes at least.
    pub fn allocate(&self, bytes: usize) -> Result<Address> {
        let mut address = 0;
        // SAFETY: the driver writes the address. It refuses to give no bytes, so one is asked for.
        let code = unsafe { sys::cuMemAlloc_v2(&mut address, bytes.max(1)) };
        if code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            let MemoryInfo { free, total } = self.memory()?;
            return Err(DeviceError::OutOfMemory { wanted: bytes, free, total });
        }
        check("an allocation", code)?;
        Ok(address)
    }

    /// What `allocate` gave.
    pub fn free(&self, address: Address) {
        // SAFETY: the caller owns the allocation, and nothing that was asked of the device uses it any more.
        let _ = unsafe { sys::cuMemFree_v2(address) };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `new`.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// A handle of a kind, destroyed with its owner.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $destroy:path) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name {
            raw: $raw,
            context: Arc<Context>,
        }

        // SAFETY: the driver's handles belong to a context and not to a thread.
        unsafe impl Send for $name {}
        // SAFETY: the driver guards streams, events and modules by locks of its own.
        unsafe impl Sync for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                let _ = self.context.bind();
                // SAFETY: made by the driver, owned by this alone.
                let _ = unsafe { $destroy(self.raw) };
            }
        }
    };
}

owned!(
    /// Work that is done in order.
    Stream, sys::CUstream, sys::cuStreamDestroy_v2
);
owned!(
    /// A point in a stream.
    Event, sys::CUevent, sys::cuEventDestroy_v2
);
owned!(
    /// Loaded kernels.
    Module, sys::CUmodule, sys::cuModuleUnload
);

impl Stream {
    /// One that does not wait for the default stream.
    pub fn new(context: &Arc<Context>) -> Result<Stream> {
        let mut raw = null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
        // SAFETY: the context is current; the driver writes the handle.
        check("making a stream", unsafe { sys::cuStreamCreate(&mut raw, flags) })?;
        Ok(Stream { raw, context: context.clone() })
    }

    pub fn raw(&self) -> sys::CUstream {
        self.raw
    }

    /// What follows waits for the event.
    pub fn wait(&self, event: &Event) -> Result<()> {
        // SAFETY: both handles live.
        check("waiting for an event", unsafe { sys::cuStreamWaitEvent(self.raw, event.raw, 0) })
    }

    pub fn synchronise(&self) -> Result<()> {
        // SAFETY: the handle lives.
        check("waiting for the device", unsafe { sys::cuStreamSynchronize(self.raw) })
    }

    /// # Safety
    /// `bytes` must stay as they are until the copy is done, unless they are pageable: those the driver takes before it returns.
    /// `to` must have room for them.
    pub unsafe fn upload(&self, to: Address, bytes: *const u8, length: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        check("a copy to the device", unsafe { sys::cuMemcpyHtoDAsync_v2(to, bytes.cast(), length, self.raw) })
    }

    /// Returns when the bytes are there.
    pub fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        let to: *mut c_void = bytes.as_mut_ptr().cast();
        // SAFETY: `bytes` has room for its length, and is borrowed until the stream is through.
        check("a copy from the device", unsafe { sys::cuMemcpyDtoHAsync_v2(to, from, bytes.len(), self.raw) })?;
        self.synchronise()
    }

    pub fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: addresses and length are of the device's own memory: the contract of `Command::Copy` and `Device::fetch`.
        check("a copy on the device", unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, self.raw) })
    }

    /// Runs a kernel.
    ///
    /// # Safety
    /// `arguments` point to values of the sizes that the kernel declares, and pointers among them lead to memory of the device.
    pub unsafe fn launch(
        &self,
        what: &str,
        function: Function,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &mut [*mut c_void],
    ) -> Result<()> {
        let ([gx, gy, gz], [bx, by, bz]) = (grid, block);
        let arguments = arguments.as_mut_ptr();
        // SAFETY: the function's module is loaded; the arguments are the caller's promise.
        check(what, unsafe {
            sys::cuLaunchKernel(function.0, gx, gy, gz, bx, by, bz, shared, self.raw, arguments, null_mut())
        })
    }

    /// What `body` asks of the stream becomes a graph, and is not run.
    ///
    /// Relaxed, because a kernel of cublasLt may be loaded where it is first asked for, which other modes forbid. Nothing else uses
    /// this stream.
    pub fn capture(&self, body: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the handle lives.
        check("recording a step", unsafe { sys::cuStreamBeginCapture_v2(self.raw, mode) })?;
        let asked = body();
        let mut raw = null_mut();
        // SAFETY: the capture began on this stream. It is ended whatever became of the body.
        let ended = check("recording a step", unsafe { sys::cuStreamEndCapture(self.raw, &mut raw) });
        let template = Template(raw);
        asked.and(ended)?;
        let mut raw = null_mut();
        // SAFETY: the graph was captured without an error.
        check("making a step ready", unsafe { sys::cuGraphInstantiateWithFlags(&mut raw, template.0, 0) })?;
        let graph = Graph { raw, context: self.context.clone() };
        // SAFETY: graph and stream live.
        check("making a step ready", unsafe { sys::cuGraphUpload(graph.raw, self.raw) })?;
        self.synchronise()?;
        Ok(graph)
    }
}

/// A graph that is not yet executable.
struct Template(sys::CUgraph);

impl Drop for Template {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by the driver, owned by this alone.
            let _ = unsafe { sys::cuGraphDestroy(self.0) };
        }
    }
}

/// A step that can be run again and again.
#[derive(Debug)]
pub(super) struct Graph {
    raw: sys::CUgraphExec,
    context: Arc<Context>,
}

// SAFETY: graphs may not be used by two threads at a time, which `Send` without `Sync` says.
unsafe impl Send for Graph {}

impl Graph {
    pub fn launch(&self, stream: &Stream) -> Result<()> {
        // SAFETY: both handles live and are of one context.
        check("a step", unsafe { sys::cuGraphLaunch(self.raw, stream.raw) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.context.bind();
        // SAFETY: made by the driver, owned by this alone; the driver keeps it until a launch under way is done.
        let _ = unsafe { sys::cuGraphExecDestroy(self.raw) };
    }
}

impl Event {
    /// To order streams by.
    pub fn new(context: &Arc<Context>) -> Result<Event> {
        Event::with(context, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// That knows when it happened.
    pub fn timed(context: &Arc<Context>) -> Result<Event> {
        Event::with(context, sys::CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn with(context: &Arc<Context>, flags: sys::CUevent_flags) -> Result<Event> {
        let mut raw = null_mut();
        // SAFETY: the context is current; the driver writes the handle.
        check("making an event", unsafe { sys::cuEventCreate(&mut raw, flags as c_uint) })?;
        Ok(Event { raw, context: context.clone() })
    }

    /// The end of what was asked of the stream so far. An event that was never recorded has happened.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        // SAFETY: both handles live.
        check("recording an event", unsafe { sys::cuEventRecord(self.raw, stream.raw) })
    }

    pub fn synchronise(&self) -> Result<()> {
        // SAFETY: the handle lives.
        check("waiting for the device", unsafe { sys::cuEventSynchronize(self.raw) })
    }

    /// How long after `earlier`; both have happened.
    pub fn since(&self, earlier: &Event) -> Result<Duration> {
        let mut milliseconds = 0.0;
        // SAFETY: both handles live; the driver writes a number.
        check("timing", unsafe { sys::cuEventElapsedTime(&mut milliseconds, earlier.raw, self.raw) })?;
        Ok(Duration::try_from_secs_f32(milliseconds / 1e3).unwrap_or_default())
    }
}

/// A kernel of a module that stays loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function(sys::CUfunction);

// SAFETY: the driver's handles belong to a context and not to a thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Module {
    /// Loads the code that a compiler made.
    pub fn load(context: &Arc<Context>, name: &str, code: &[u8]) -> Result<Module> {
        let mut raw = null_mut();
        // SAFETY: the code is an ELF file as the compiler made it, which says its own length.
        let answer = unsafe { sys::cuModuleLoadData(&mut raw, code.as_ptr().cast()) };
        check(&format!("loading the kernels of {name}"), answer)?;
        Ok(Module { raw, context: context.clone() })
    }

    /// Its kernel of this name. Asking loads it, so that nothing is left to load while a step is recorded.
    pub fn function(&self, name: &str) -> Result<Option<Function>> {
        let Ok(text) = CString::new(name) else { return Ok(None) };
        let mut raw = null_mut();
        // SAFETY: the module lives; the name ends with a zero.
        match unsafe { sys::cuModuleGetFunction(&mut raw, self.raw, text.as_ptr()) } {
            sys::CUresult::CUDA_ERROR_NOT_FOUND => Ok(None),
            answer => check(&format!("looking for the kernel {name}"), answer).map(|()| Some(Function(raw))),
        }
    }
}

impl Function {
    /// Allows it more dynamic shared memory than the 48 KiB that every kernel may have.
    pub fn allow_shared(self, name: &str, bytes: u32) -> Result<()> {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let most = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        // SAFETY: the function's module is loaded.
        let answer = unsafe { sys::cuFuncSetAttribute(self.0, attribute, most) };
        check(&format!("giving the kernel {name} {bytes} bytes of shared memory"), answer)
    }

    /// The sizes of its parameters, where the driver tells them.
    pub fn parameter_sizes(self) -> Option<Vec<usize>> {
        if !has(PARAMETER_INFO) {
            return None;
        }
        let mut sizes = vec![];
        let (mut offset, mut size) = (0, 0);
        // SAFETY: the entry point is there and the function's module is loaded; past the last parameter the driver refuses.
        while unsafe { sys::cuFuncGetParamInfo(self.0, sizes.len(), &mut offset, &mut size) }
            == sys::CUresult::CUDA_SUCCESS
        {
            sizes.push(size);
        }
        Some(sizes)
    }
}

/// Memory of the host that the device reads by itself.
#[derive(Debug)]
pub(super) struct Pinned {
    start: *mut u8,
    pub bytes: usize,
    context: Arc<Context>,
}

// SAFETY: it is memory of the process, owned by this alone.
unsafe impl Send for Pinned {}

impl Pinned {
    pub fn new(context: &Arc<Context>, bytes: usize) -> Result<Pinned> {
        let mut start = null_mut();
        // SAFETY: the driver writes the address of that many bytes.
        check("pinning memory of the host", unsafe { sys::cuMemHostAlloc(&mut start, bytes, 0) })?;
        Ok(Pinned { start: start.cast(), bytes, context: context.clone() })
    }

    /// Takes a copy of the bytes, which must fit, and returns where it lies.
    pub fn fill(&mut self, bytes: &[u8]) -> *const u8 {
        assert!(bytes.len() <= self.bytes, "{} bytes for {} pinned ones", bytes.len(), self.bytes);
        // SAFETY: there is room, this owns it, and the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start, bytes.len()) };
        self.start
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.context.bind();
        // SAFETY: made by the driver, owned by this alone.
        let _ = unsafe { sys::cuMemFreeHost(self.start.cast()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry point that is called but not looked for would be a panic on some machine.
    #[test]
    fn every_call_of_the_driver_is_on_the_list() {
        let mut called = vec![];
        for source in [include_str!("ask.rs"), include_str!("driver.rs"), include_str!("fault.rs")] {
            for part in source.split("sys::cu").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                called.push(format!("cu{name}"));
            }
        }
        called.retain(|name| name != "cu" && name != "culib" && name != PARAMETER_INFO);
        called.sort();
        called.dedup();
        assert_eq!(called, ENTRY_POINTS);
    }
}
