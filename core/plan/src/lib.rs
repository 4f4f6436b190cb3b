//! Passes over a graph, each of which keeps its meaning and leaves it verified.
//!
//! `inline` replaces composites by their decompositions, `simplify` merges equal nodes and drops what nothing uses,
//! `lifetimes` says when a value is used last. What is absent: engines; a pass is told what an engine supports.

mod inline;
mod lifetimes;
mod simplify;

pub use inline::inline;
pub use lifetimes::last_uses;
pub use simplify::simplify;
