//! What a plugin author writes with.
//!
//! A plugin is a struct of options, one trait ([`Backbone`], [`Resizer`] or [`Loss`]) and [`export_plugin!`]. Building gives a
//! graph: the [`GraphBuilder`] has one checked method an op, and [`nn`] the layers that models are made of, with PyTorch's names,
//! shapes and initialisation. A plugin never sees tensor data, a device or an engine.
//!
//! An op of the plugin's own is a node of [`GraphBuilder::composite`]; [`kernel`] is how it brings code for one.
//!
//! A plugin depends on this crate alone; what it needs of the others is re-exported here.
#![allow(clippy::missing_errors_doc)] // every builder call fails for one reason: what it is given does not fit

// The derive macros name this crate from outside.
extern crate self as fer_sdk;

mod builder;
mod component;
mod error;
#[doc(hidden)]
pub mod export;
pub mod kernel;
mod law;
mod layout;
pub mod nn;
pub mod options;

pub use builder::{GraphBuilder, OpName};
pub use component::{Backbone, Loss, LossInputs, Resizer};
pub use error::{Error, Result};
pub use fer_abi as abi;
pub use fer_graph as graph;
pub use fer_sdk_derive::{OptionEnum, Options};
pub use law::{Law, Size};
pub use layout::Layout;

/// Everything a plugin usually needs.
pub mod prelude {
    pub use crate::{
        Backbone, Error, GraphBuilder, Law, Layout, Loss, LossInputs, OptionEnum, Options, Resizer, Result, Size,
        export_plugin, kernel, nn, options::Options as _,
    };
    pub use fer_graph::{
        DType, Init, Positions, TensorType, Value,
        ops::{DotAxes, Window},
    };
}
