//! Blocks of memory for tensors: aligned, zeroed, in large pages where they pay.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ptr::NonNull,
};

use fer_cpu_kernels::elementwise::Element;

/// A cache line; no kernel asks for more.
const LINE: usize = 64;
/// A large page. Blocks of several are laid out so that the system may use such pages: fewer faults at first, fewer misses later.
const PAGE: usize = 2 << 20;

/// Memory that belongs to one owner. What it holds is bytes: any element type of a graph may stand in it.
#[derive(Debug)]
pub(crate) struct Block {
    data: NonNull<u8>,
    bytes: usize,
    /// What was allocated, of which the block is a part.
    whole: (NonNull<u8>, Layout),
}

// SAFETY: a block owns its memory, as a `Box<[u8]>` does.
unsafe impl Send for Block {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Block {}

impl Block {
    /// Zeros. The system gives pages when they are first touched: that is why the allocator is not asked for the alignment, since
    /// then it would write the zeros itself.
    pub(crate) fn zeroed(bytes: usize) -> Block {
        let align = if bytes >= 2 * PAGE { PAGE } else { LINE };
        let layout = Layout::from_size_align(bytes + align, 16).expect("the graph's sizes were checked");
        // SAFETY: the layout is not empty.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let skip = start.as_ptr().align_offset(align);
        // SAFETY: the allocation is longer than the block by the alignment.
        let data = unsafe { start.add(skip) };
        if align == PAGE {
            advise(data, bytes);
        }
        Block { data, bytes, whole: (start, layout) }
    }

    pub(crate) fn of<T: Copy>(numbers: &[T]) -> Block {
        let mut block = Block::zeroed(size_of_val(numbers));
        // SAFETY: the block is as long, and aligned for any element; bytes of plain numbers may be copied.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr().cast(), block.pointer(), size_of_val(numbers)) };
        block
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it begins, for those who only read.
    pub(crate) fn address(&self) -> *mut u8 {
        self.data.as_ptr()
    }

    pub(crate) fn pointer(&mut self) -> *mut u8 {
        self.data.as_ptr()
    }

    /// The block as numbers.
    pub(crate) fn read<T: Number>(&self) -> &[T] {
        // SAFETY: the block is aligned and initialised; every pattern of bits is one of `T`'s values.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.whole.0.as_ptr(), self.whole.1) };
    }
}

/// Asks for large pages; a system that has none goes on as before.
#[cfg(target_os = "linux")]
fn advise(data: NonNull<u8>, bytes: usize) {
    // SAFETY: the range belongs to the block; the advice changes how it is backed, not what it holds.
    unsafe { libc::madvise(data.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: NonNull<u8>, _: usize) {}

/// What any bytes are a value of.
///
/// # Safety
/// Every pattern of bits must be valid.
pub(crate) unsafe trait Number: Copy {
    /// Whether a buffer of such elements holds these.
    fn is(element: Element) -> bool;
}

// SAFETY: plain numbers.
unsafe impl Number for f32 {
    fn is(element: Element) -> bool {
        element == Element::F32
    }
}

// SAFETY: plain numbers.
unsafe impl Number for i32 {
    fn is(element: Element) -> bool {
        element == Element::I32
    }
}

// SAFETY: plain numbers.
unsafe impl Number for u16 {
    fn is(element: Element) -> bool {
        element == Element::Bf16
    }
}

// SAFETY: plain numbers.
unsafe impl Number for u8 {
    fn is(element: Element) -> bool {
        matches!(element, Element::U8 | Element::Bool)
    }
}
