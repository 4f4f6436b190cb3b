//! What a kernel does that a processor refuses, most often to touch memory that is not there, ends its launch and not the program.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    ptr,
    sync::OnceLock,
};

use crate::block::Block;

/// A signal and the address that it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) signal: c_int,
    pub(crate) address: u64,
}

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

thread_local! {
    /// The block that this thread runs.
    static ACTIVE: Cell<*mut Block> = const { Cell::new(ptr::null_mut()) };
}

pub(crate) fn active() -> *mut Block {
    ACTIVE.get()
}

/// Says whose the faults of this thread are, until it is dropped.
pub(crate) struct Active;

impl Active {
    pub(crate) fn set(block: *mut Block) -> Active {
        install();
        ACTIVE.set(block);
        Active
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.set(ptr::null_mut());
    }
}

/// What was there before us, for faults that are not a kernel's.
static BEFORE: OnceLock<[libc::sigaction; 4]> = OnceLock::new();

fn install() {
    BEFORE.get_or_init(|| {
        // SAFETY: plain data, for which zeros are allowed.
        let mut before: [libc::sigaction; 4] = unsafe { std::mem::zeroed() };
        // SAFETY: as above; the handler does only what a handler may: it reads and writes memory of its own thread.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            // A fault leaves the handler by a switch of stacks, so that nothing would unblock its signal.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            for (signal, before) in SIGNALS.iter().zip(&mut before) {
                libc::sigaction(*signal, &action, before);
            }
        }
        before
    });
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let block = active();
    if !block.is_null() {
        // SAFETY: the system gives the information for these signals.
        let address = unsafe { (*info).si_addr() } as u64;
        // SAFETY: `active` is a block that this thread runs. Does not come back if the fault was a kernel's.
        unsafe { Block::fault(block, Fault { signal, address }) };
    }
    let before = BEFORE.get().and_then(|all| SIGNALS.iter().position(|&s| s == signal).map(|i| all[i]));
    // SAFETY: what was installed before, called as it asked to be called; or installed again, for the fault to happen again.
    unsafe {
        match before {
            Some(old) if old.sa_sigaction != libc::SIG_DFL && old.sa_sigaction != libc::SIG_IGN => {
                if old.sa_flags & libc::SA_SIGINFO != 0 {
                    type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                    std::mem::transmute::<usize, Handler>(old.sa_sigaction)(signal, info, context);
                } else {
                    std::mem::transmute::<usize, extern "C" fn(c_int)>(old.sa_sigaction)(signal);
                }
            }
            Some(old) => {
                libc::sigaction(signal, &old, ptr::null_mut());
            }
            None => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

impl Fault {
    pub(crate) fn name(&self) -> &'static str {
        match self.signal {
            libc::SIGSEGV => "an illegal address",
            libc::SIGBUS => "a bus error",
            libc::SIGFPE => "an integer divided by zero",
            _ => "an illegal instruction",
        }
    }

    /// Whether the address says something.
    pub(crate) fn is_address(&self) -> bool {
        self.signal == libc::SIGSEGV || self.signal == libc::SIGBUS
    }
}
