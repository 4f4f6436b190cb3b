//! Memory for elements, used again. A step makes and drops the same sizes each time, and fresh pages cost more than the arithmetic
//! done on them: large buffers go back to a pool instead of to the system.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
};

use crate::element::Item;

/// Smaller buffers come from the allocator, which is quick with them.
const LEAST: usize = 1 << 13;
/// Idle bytes above which a dropped buffer is given back to the system.
const MOST_IDLE: usize = 2 << 30;

/// Elements that return to the pool when dropped.
#[derive(Debug)]
pub struct Buffer<T: Item>(Vec<T>);

impl<T: Item> Buffer<T> {
    /// `count` elements of whatever value: for those who write them all.
    pub fn scratch(count: usize) -> Buffer<T> {
        let pooled = if count < LEAST { None } else { T::pool().take(count) };
        Buffer(pooled.unwrap_or_else(|| vec![T::default(); count]))
    }

    pub fn filled(count: usize, value: T) -> Buffer<T> {
        let mut buffer = Buffer::scratch(count);
        buffer.fill(value);
        buffer
    }

    pub fn copy_of(values: &[T]) -> Buffer<T> {
        let mut buffer = Buffer::scratch(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// `count` elements, in order.
    pub fn collect(count: usize, values: impl Iterator<Item = T>) -> Buffer<T> {
        let mut buffer = Buffer::scratch(count);
        buffer.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
        buffer
    }
}

impl<T: Item> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Buffer::copy_of(self)
    }
}

impl<T: Item> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Item> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Item> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.0.len() >= LEAST {
            T::pool().put(std::mem::take(&mut self.0));
        }
    }
}

/// Idle buffers by length.
pub struct Pool<T> {
    idle: Mutex<Idle<T>>,
}

struct Idle<T> {
    by_length: BTreeMap<usize, Vec<Vec<T>>>,
    bytes: usize,
}

impl<T> Pool<T> {
    pub const fn new() -> Pool<T> {
        Pool { idle: Mutex::new(Idle { by_length: BTreeMap::new(), bytes: 0 }) }
    }

    fn take(&self, count: usize) -> Option<Vec<T>> {
        // A thread that panicked left the pool whole: nothing in between can fail.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.by_length.get_mut(&count)?.pop()?;
        idle.bytes -= size_of_val(found.as_slice());
        Some(found)
    }

    fn put(&self, values: Vec<T>) {
        let bytes = size_of_val(values.as_slice());
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.bytes + bytes <= MOST_IDLE {
            idle.bytes += bytes;
            idle.by_length.entry(values.len()).or_default().push(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again() {
        // A length that no other test has.
        let count = LEAST + 12_345;
        let first = Buffer::filled(count, 7i32);
        let place = first.as_ptr();
        drop(first);
        let second = Buffer::<i32>::scratch(count);
        assert_eq!(second.as_ptr(), place);
        assert_eq!(Buffer::collect(3, 1..4).to_vec(), [1, 2, 3]);
    }
}
