//! Passes over a graph, each of which keeps its meaning and leaves it verified.
//!
//! `inline` replaces composites by their decompositions, `simplify` merges equal nodes and drops what nothing uses, `join` writes sums
//! of padded pieces as joins, `recompute` lets cheap values be computed twice instead of kept, `lifetimes` says when a value is used
//! last, `arena` gives pieces that live at different times one place, `allot` does so for the buffers of a step, `view` follows
//! slices, transpositions and reshapes into the memory that they read, `matrices` sees matrices there, `place` says where values
//! stand, `joined` where joined ones do, `targets` which are written where they will be joined, `uses` who reads a value when views
//! are looked through, `clusters` which elementwise operations run together, `absorb` what becomes of a value that another kernel can
//! compute on its way, `arranged` values of which another order of rows is read,
//! `squares` which squares are only summed, and `whole` which composites have kernels. What is absent: engines; a
//! pass is told what an engine supports.

mod absorb;
mod allot;
mod arena;
mod arranged;
mod clusters;
mod inline;
mod join;
mod joined;
mod lifetimes;
mod matrices;
mod place;
mod recompute;
mod simplify;
mod squares;
mod targets;
mod uses;
mod view;
#[cfg(test)]
mod view_tests;
mod whole;

pub use absorb::Absorb;
pub use allot::{Touched, allot};
pub use arena::{Arena, Life, pack};
pub use arranged::{Arranged, arranged};
pub use clusters::{Cluster, Clusters, is_elementwise};
pub use inline::inline;
pub use join::join;
pub use joined::{Joining, joined};
pub use lifetimes::last_uses;
pub use matrices::MatrixMap;
pub use place::Place;
pub use recompute::recompute;
pub use simplify::simplify;
pub use squares::{Squares, squares};
pub use targets::{Targets, targets};
pub use uses::{Uses, follow, is_view, root, sources};
pub use view::{RowMap, Starts, View};
pub use whole::{KERNELS, takes_whole};
