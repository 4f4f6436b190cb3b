//! Blocks of memory for tensors: aligned, zeroed, in large pages where they pay.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ptr::NonNull,
};

/// A cache line; no kernel asks for more.
const ALIGN: usize = 64;

/// Memory that belongs to one owner. What it holds is bytes: any element type of a graph may stand in it.
#[derive(Debug)]
pub(crate) struct Block {
    data: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block owns its memory, as a `Box<[u8]>` does.
unsafe impl Send for Block {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Block {}

impl Block {
    /// Zeros. The system gives pages when they are first touched.
    pub(crate) fn zeroed(bytes: usize) -> Block {
        let layout = Block::layout(bytes);
        // SAFETY: the layout is not empty.
        let data = unsafe { alloc_zeroed(layout) };
        let Some(data) = NonNull::new(data) else { handle_alloc_error(layout) };
        Block { data, bytes }
    }

    pub(crate) fn of<T: Copy>(numbers: &[T]) -> Block {
        let mut block = Block::zeroed(size_of_val(numbers));
        // SAFETY: the block is as long, and aligned for any element; bytes of plain numbers may be copied.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr().cast(), block.pointer(), size_of_val(numbers)) };
        block
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes.max(ALIGN), ALIGN).expect("the graph's sizes were checked")
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
        unsafe { dealloc(self.data.as_ptr(), Block::layout(self.bytes)) };
    }
}

/// What any bytes are a value of.
///
/// # Safety
/// Every pattern of bits must be valid.
pub(crate) unsafe trait Number: Copy {}
// SAFETY: plain numbers.
unsafe impl Number for f32 {}
// SAFETY: plain numbers.
unsafe impl Number for i32 {}
// SAFETY: plain numbers.
unsafe impl Number for u8 {}
