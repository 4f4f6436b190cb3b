//! An experiment as RON: schema, spans, `extends`, overrides, provenance.
//!
//! The way of a config: [`load()`] reads a file into a tree whose every node and key remembers where it was written,
//! lays it over the files it extends, applies the `--set` arguments, turns the tree into a typed [`Experiment`]
//! and checks what types cannot say. What can go wrong on the way is a [`ConfigError`] that points at the written text.
//! [`Resolved::text`] is the whole experiment, defaults included, as RON that reads back to the same [`Experiment`].

mod check;
mod component;
mod data_root;
mod de;
mod error;
mod fault;
mod load;
mod merge;
mod nearest;
mod print;
mod read;
mod render;
mod resolve;
mod scan;
mod schema;
mod set;
mod shorthand;
mod source;
mod tree;

pub use component::{Component, OptionValue, Pretrained};
pub use error::{ConfigError, Label};
pub use load::{load, load_text};
pub use nearest::nearest;
pub use print::{print, print_inline};
pub use read::read;
pub use render::{render_coloured, render_plain};
pub use resolve::{Origin, Provenance, Resolved};
pub use schema::{ClassWeights, Engine, Experiment, Head, Model, Normalise, Plugins, Precision, Prior};
pub use source::{Source, Span};
pub use tree::{Field, Name, Node, Value};
