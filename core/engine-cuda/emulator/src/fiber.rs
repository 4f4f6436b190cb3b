//! Stacks of their own for CUDA threads, and the way from one to another.

use std::arch::naked_asm;

use crate::memory::Pages;

/// Where a fiber that does not run goes on.
pub(crate) type Pointer = *mut u8;

/// Bytes of a stack. What a kernel keeps for a thread is registers and small arrays.
const STACK: usize = 64 << 10;

/// At the far end of a stack: a kernel that needs more writes over it.
const MARK: u64 = 0x0ff5_7ac4_0ff5_7ac4;

/// Leaves the fiber that runs, which goes on later at what is written to `save`, and goes on at `to`.
///
/// # Safety
/// `to` is from [`Stacks::start`] or an earlier `save`, and is used once; `save` may be written.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn switch(save: *mut Pointer, to: Pointer) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// See above; what a function must keep is x19 to x30 and the lower halves of v8 to v15.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn switch(save: *mut Pointer, to: Pointer) {
    naked_asm!(
        "sub sp, sp, #160",
        "stp x19, x20, [sp, #0]",
        "stp x21, x22, [sp, #16]",
        "stp x23, x24, [sp, #32]",
        "stp x25, x26, [sp, #48]",
        "stp x27, x28, [sp, #64]",
        "stp x29, x30, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mov x9, sp",
        "str x9, [x0]",
        "mov sp, x1",
        "ldp x19, x20, [sp, #0]",
        "ldp x21, x22, [sp, #16]",
        "ldp x23, x24, [sp, #32]",
        "ldp x25, x26, [sp, #48]",
        "ldp x27, x28, [sp, #64]",
        "ldp x29, x30, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "add sp, sp, #160",
        "ret",
    )
}

/// Words that `switch` takes off a stack, and among them the place of the address it returns to.
#[cfg(target_arch = "x86_64")]
const FRAME: (usize, usize) = (8, 6);
#[cfg(target_arch = "aarch64")]
const FRAME: (usize, usize) = (20, 11);

/// The stacks of a block's threads.
pub(crate) struct Stacks(Pages);

impl Stacks {
    pub(crate) fn new(count: usize) -> std::io::Result<Stacks> {
        let stacks = Stacks(Pages::new(count * STACK)?);
        for i in 0..count {
            // SAFETY: the stack's first word, which is in the mapping and aligned as its pages are.
            unsafe { stacks.begin(i).cast::<u64>().write(MARK) };
        }
        Ok(stacks)
    }

    fn begin(&self, i: usize) -> *mut u8 {
        self.0.begin().wrapping_add(i * STACK)
    }

    /// Makes stack `i` one that begins with `entry`, which never returns.
    pub(crate) fn start(&self, i: usize, entry: extern "C" fn() -> !) -> Pointer {
        // Tops that are the same modulo 4096 would share the cache's sets.
        let top = self.begin(i).wrapping_add(STACK - (i % 32) * 192);
        let (words, back) = FRAME;
        let frame = top.wrapping_sub(words * 8).cast::<usize>();
        // SAFETY: the frame is in the mapping, aligned, and belongs to a fiber that does not run.
        unsafe {
            frame.write_bytes(0, words);
            frame.add(back).write(entry as usize);
        }
        frame.cast()
    }

    /// Whether no fiber has used more than its stack `i`.
    pub(crate) fn whole(&self, i: usize) -> bool {
        // SAFETY: see `new`.
        unsafe { self.begin(i).cast::<u64>().read() == MARK }
    }
}
