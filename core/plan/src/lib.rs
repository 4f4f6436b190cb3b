//! Passes over a graph, each of which keeps its meaning and leaves it verified.
//!
//! `inline` replaces composites by their decompositions, `simplify` merges equal nodes and drops what nothing uses, `join` writes sums
//! of padded pieces as joins, `recompute` lets cheap values be computed twice instead of kept, `lifetimes` says when a value is used last, `arena` gives values that live at different times one place,
//! and `view` follows slices, transpositions and reshapes into the memory that they read. What is absent: engines; a pass is told what
//! an engine supports.

mod arena;
mod inline;
mod join;
mod lifetimes;
mod recompute;
mod simplify;
mod view;
#[cfg(test)]
mod view_tests;

pub use arena::{Arena, Life, pack};
pub use inline::inline;
pub use join::join;
pub use lifetimes::last_uses;
pub use recompute::recompute;
pub use simplify::simplify;
pub use view::{RowMap, Starts, View};
