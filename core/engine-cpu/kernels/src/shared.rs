//! Memory that tasks of one kernel write side by side.

use std::{
    cell::RefCell,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

/// A slice whose disjoint parts are written by several threads.
#[derive(Clone, Copy, Debug)]
pub struct SharedMut<'a, T> {
    data: *mut T,
    len: usize,
    _lent: PhantomData<&'a mut [T]>,
}

// SAFETY: whoever takes parts promises that they are disjoint.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub fn new(slice: &'a mut [T]) -> SharedMut<'a, T> {
        SharedMut { data: slice.as_mut_ptr(), len: slice.len(), _lent: PhantomData }
    }

    /// # Safety
    /// `data` is valid for `len` elements for as long as `'a`, and nobody else touches those that are taken.
    pub unsafe fn from_raw(data: *mut T, len: usize) -> SharedMut<'a, T> {
        SharedMut { data, len, _lent: PhantomData }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A pointer to element `at`, from which `count` elements are there.
    ///
    /// # Panics
    /// When they are not.
    #[inline(always)]
    pub fn at(&self, at: usize, count: usize) -> *mut T {
        assert!(at <= self.len && count <= self.len - at, "{count} elements from {at} on of {}", self.len);
        // SAFETY: within the slice.
        unsafe { self.data.add(at) }
    }

    /// # Safety
    /// Nobody else touches these elements while the part lives.
    ///
    /// # Panics
    /// When they are not all there.
    #[inline(always)]
    pub unsafe fn part(&self, at: usize, count: usize) -> &'a mut [T] {
        // SAFETY: within the slice; the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at(at, count), count) }
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

/// Floats that a thread keeps for the next time; what they hold at first is anyone's guess. Several may be held at once.
#[derive(Debug)]
pub struct Scratch {
    memory: Vec<f32>,
    skip: usize,
    len: usize,
}

impl Scratch {
    /// `len` floats, the first where a cache line begins.
    pub fn new(len: usize) -> Scratch {
        // Of those that are free the largest: sizes repeat from step to step, so soon nothing is allocated.
        let free = SCRATCH.with_borrow_mut(|all| {
            let best = (0..all.len()).max_by_key(|&i| all[i].len());
            best.map(|i| all.swap_remove(i))
        });
        let mut memory = free.unwrap_or_default();
        let wanted = len + 16;
        if memory.len() < wanted {
            memory.resize(wanted, 0.0);
        }
        let skip = memory.as_ptr().align_offset(64).min(16);
        Scratch { memory, skip, len }
    }
}

impl Deref for Scratch {
    type Target = [f32];
    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.memory[self.skip..self.skip + self.len]
    }
}

impl DerefMut for Scratch {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.skip..self.skip + self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        // A thread that ends keeps nothing.
        let _ = SCRATCH.try_with(|all| all.borrow_mut().push(memory));
    }
}

/// Floats of a cache line.
pub const LINE: usize = 16;
/// Bytes of one.
pub const LINE_BYTES: usize = 64;

/// Asks for `count` floats from `at` on to be brought into the second cache, where the processor takes such wishes. Reads nothing:
/// any address will do.
#[inline(always)]
pub fn prefetch(at: *const f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for i in (0..count).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch of an address that is not there does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(i).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, count);
}

/// Asks for the line of `at` to be brought into the first cache, to be written: as [`prefetch`].
#[inline(always)]
pub fn ahead(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch of an address that is not there does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_nests_and_is_kept() {
        let place = |len| {
            let mut outer = Scratch::new(len);
            outer.fill(1.0);
            Scratch::new(8).fill(2.0);
            assert!(outer.len() == len && outer.iter().all(|&x| x == 1.0));
            outer.as_ptr() as usize
        };
        assert_eq!(place(1000), place(1000));
        assert_eq!(place(100) % 64, 0);
    }

    #[test]
    #[should_panic(expected = "4 elements from 5 on of 8")]
    fn parts_lie_within() {
        SharedMut::new(&mut [0.0; 8]).at(5, 4);
    }
}
