//! Elements that change places and nothing else: transposes, broadcasts, slices and padding.

mod pad;
mod permute;
#[cfg(test)]
mod tests;

pub use pad::pad;
pub use permute::{permute, transfer};

/// Elements of a task, about.
const TASK: usize = 1 << 15;
