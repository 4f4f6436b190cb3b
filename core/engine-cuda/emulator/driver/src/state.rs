//! What there is on the other side of the functions: one card, and what was made on it.

use std::{
    cell::Cell,
    collections::HashMap,
    ffi::c_void,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use fer_cuda_emulator::{Declared, EmulatedDevice};
use fer_engine_cuda::device::{DeviceError, Unit};

use crate::{
    product::Product,
    settings::Settings,
    work::{Event, Graph, Stream, Work},
};

/// Answers of the driver, by their numbers.
pub(crate) const SUCCESS: u32 = 0;
pub(crate) const INVALID_VALUE: u32 = 1;
pub(crate) const OUT_OF_MEMORY: u32 = 2;
pub(crate) const NOT_INITIALIZED: u32 = 3;
pub(crate) const INVALID_DEVICE: u32 = 101;
pub(crate) const INVALID_IMAGE: u32 = 200;
pub(crate) const INVALID_CONTEXT: u32 = 201;
pub(crate) const INVALID_HANDLE: u32 = 400;
pub(crate) const NOT_FOUND: u32 = 500;
pub(crate) const NOT_READY: u32 = 600;
pub(crate) const ILLEGAL_ADDRESS: u32 = 700;
pub(crate) const LAUNCH_FAILED: u32 = 719;
pub(crate) const CAPTURE_UNSUPPORTED: u32 = 900;
pub(crate) const UNKNOWN: u32 = 999;

pub(crate) const WORDS: [(u32, &std::ffi::CStr, &std::ffi::CStr); 14] = [
    (SUCCESS, c"CUDA_SUCCESS", c"no error"),
    (INVALID_VALUE, c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
    (OUT_OF_MEMORY, c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
    (NOT_INITIALIZED, c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
    (INVALID_DEVICE, c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
    (INVALID_IMAGE, c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
    (INVALID_CONTEXT, c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
    (INVALID_HANDLE, c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
    (NOT_FOUND, c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
    (NOT_READY, c"CUDA_ERROR_NOT_READY", c"device not ready"),
    (ILLEGAL_ADDRESS, c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"),
    (LAUNCH_FAILED, c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
    (
        CAPTURE_UNSUPPORTED,
        c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        c"operation not permitted when stream is capturing",
    ),
    (UNKNOWN, c"CUDA_ERROR_UNKNOWN", c"unknown error"),
];

/// An answer of a function: nothing, or the number of an error.
pub(crate) type Answer<T = ()> = Result<T, u32>;

/// A kernel that was looked up.
pub(crate) struct Function {
    pub(crate) module: usize,
    pub(crate) unit: Unit,
    pub(crate) name: Arc<str>,
    pub(crate) parameters: Vec<Declared>,
    /// Bytes of dynamic shared memory that a launch may ask for.
    pub(crate) most_shared: u32,
}

pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) device: EmulatedDevice,
    pub(crate) started: bool,
    /// How often the primary context is held.
    pub(crate) retained: u32,
    /// The error after which everything answers with it.
    pub(crate) lost: Option<u32>,
    pub(crate) steps: u64,
    pub(crate) streams: HashMap<usize, Stream>,
    pub(crate) events: HashMap<usize, Event>,
    pub(crate) graphs: HashMap<usize, Vec<Work>>,
    pub(crate) executables: HashMap<usize, Arc<Graph>>,
    pub(crate) modules: HashMap<usize, Unit>,
    pub(crate) functions: HashMap<usize, Function>,
    /// Memory of the host that is pinned: where it begins, and what it is.
    pub(crate) pinned: HashMap<usize, Vec<u128>>,
    pub(crate) products: crate::lt::Made,
    random: u64,
    last: usize,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| {
    let settings = Settings::read();
    Mutex::new(State {
        device: EmulatedDevice::new().memory(settings.memory).seed(settings.seed),
        random: settings.seed,
        settings,
        started: false,
        retained: 0,
        lost: None,
        steps: 0,
        streams: HashMap::new(),
        events: HashMap::new(),
        graphs: HashMap::new(),
        executables: HashMap::new(),
        modules: HashMap::new(),
        functions: HashMap::new(),
        pinned: HashMap::new(),
        products: crate::lt::Made::default(),
        last: 0,
    })
});

thread_local! {
    /// Whether this thread has made the context its own.
    static CURRENT: Cell<bool> = const { Cell::new(false) };
}

/// Everything; one function at a time.
pub(crate) fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn make_current(context: bool) {
    CURRENT.set(context);
}

/// What a function does that needs the driver started.
pub(crate) fn started(body: impl FnOnce(&mut State) -> Answer) -> u32 {
    let mut state = state();
    if !state.started {
        return say(NOT_INITIALIZED, "cuInit was not called");
    }
    body(&mut state).err().unwrap_or(SUCCESS)
}

/// What a function does that needs the thread's context, and a card that is not lost.
pub(crate) fn inside(body: impl FnOnce(&mut State) -> Answer) -> u32 {
    started(|state| {
        if !CURRENT.get() || state.retained == 0 {
            return Err(say(INVALID_CONTEXT, "this thread has no context"));
        }
        state.alive()?;
        let answer = body(state);
        state.perhaps_go_on();
        answer
    })
}

/// What a function does that gives something back, which a lost card allows.
pub(crate) fn giving_back(body: impl FnOnce(&mut State) -> Answer) -> u32 {
    started(|state| {
        if !CURRENT.get() || state.retained == 0 {
            return Err(say(INVALID_CONTEXT, "this thread has no context"));
        }
        body(state)?;
        state.alive()
    })
}

/// Writes an answer to the place that the caller gave for it.
pub(crate) fn give<T>(to: *mut T, answer: T) {
    // SAFETY: callers hold to NVIDIA's documentation (see the crate), by which `to` is a place for one `T`.
    unsafe { to.write(answer) };
}

/// Says what is wrong, for whoever reads the test's output, and gives the number back.
pub(crate) fn say(number: u32, what: &str) -> u32 {
    eprintln!("emulated driver: {what} (error {number})");
    number
}

impl State {
    pub(crate) fn alive(&self) -> Answer {
        self.lost.map_or(Ok(()), Err)
    }

    /// The card is lost: everything that was asked is gone, and everything answers so from here on.
    pub(crate) fn lose(&mut self, number: u32, what: &str) -> u32 {
        self.streams.values_mut().for_each(Stream::clear);
        self.lost.get_or_insert(number);
        say(number, what)
    }

    /// What the device's error is called by a driver; what is wrong with a kernel takes the card with it.
    pub(crate) fn refused(&mut self, error: &DeviceError) -> u32 {
        match error {
            DeviceError::OutOfMemory { .. } => OUT_OF_MEMORY,
            DeviceError::Lost { .. } => self.lose(ILLEGAL_ADDRESS, &error.to_string()),
            _ => self.lose(LAUNCH_FAILED, &error.to_string()),
        }
    }

    /// A handle that no other was.
    pub(crate) fn handle(&mut self) -> usize {
        self.last += 16;
        0x7000_0000 + self.last
    }

    /// Numbers that look random: splitmix64.
    pub(crate) fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn stream(&mut self, handle: *mut c_void) -> Answer<&mut Stream> {
        let unknown = || say(INVALID_HANDLE, "no stream has this handle; the default stream is none of the engine's");
        self.streams.get_mut(&handle.addr()).ok_or_else(unknown)
    }

    pub(crate) fn event(&mut self, handle: *mut c_void) -> Answer<&mut Event> {
        self.events.get_mut(&handle.addr()).ok_or_else(|| say(INVALID_HANDLE, "no event has this handle"))
    }

    /// The product that cublasLt was asked for, on a stream.
    pub(crate) fn multiply(&mut self, stream: *mut c_void, product: Product) -> Answer {
        self.ask(stream, Work::Product(Arc::new(product)))
    }
}
