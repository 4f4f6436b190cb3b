//! A graph as text that a person can follow, and that parses back.
//!
//! ```text
//! graph train(images: u8[8,1,48,48], labels: i32[8]) {
//!   parameter conv1.weight: f[16,3,7,7] = uniform(-0.08, 0.08)
//!   state bn1.running_mean: f[16] = zeros
//!   %0 = convert(images) {dtype: "f"} : f[8,1,48,48]
//!   scope resizers.1
//!     %1 = convolution(%0, conv1.weight) {stride: [1, 1], ...} : f[8,16,384,384]   # 2.8 GFLOP
//!   output loss = %1
//!   update bn1.running_mean = %2
//!   name features = %1
//! }
//! ```
//!
//! Ops that a plugin brings along stand before the graph, each before its use: `op focal.terms version 1(x0: f[8,7]) { ... }`, the
//! results as outputs `0`, `1` ... Where several share a name, the second is used as `focal.terms/1`.
//!
//! Arguments go by their names, the nodes' results by numbers in the order of definition. `parameter` and `state` lines come
//! before the first node; after the type (and initialisation) of an argument stand `decay` or `no_decay` where it differs from
//! the rule (decay what has several axes), `frozen`, the layer it belongs to as `layer(3)`, and what positions a table is over as
//! `tokens(1, 14, 14)` (prefix, rows, columns) or `distances(7, 7)` (of a window). A `scope` line holds until the next; `scope ""` is the root. Names of
//! letters, digits and `_.-/` stand as they are, others in quotes. A node without results defines `_`. Everything from `#` to the
//! end of a line is a comment.
//!
//! Printing is canonical: text that was printed, parsed and printed again is the same text.

mod parse;
mod print;
mod scan;

pub use parse::parse;
pub use print::{PrintOptions, print};
