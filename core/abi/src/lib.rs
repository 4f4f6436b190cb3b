//! What crosses the dynamic-library boundary: one table of `extern "C"` functions and plain data.
//!
//! There is no logic here. A plugin describes its components ([`Descriptor`]) and, asked to build one ([`BuildRequest`]), answers
//! with its forward computation as data ([`Fragment`]). Ops cross as names, versions and attribute lists, so the op set grows
//! without touching this crate. Ops of the plugin's own cross as [`Definition`]s, and may come with [`Kernel`]s: these alone see
//! numbers.
//!
//! *Ownership*: every value is owned by its receiver; nothing borrowed outlives a call.
//! *Threads*: all functions may be called from any thread, also at the same time.
//! *Panics*: an implementation must catch them; the SDK's `export_plugin!` does.
//!
//! Frozen by version: fields are only ever appended to the prefix type [`PluginModule`]; the layout of everything else in a
//! published minor version never changes.
// abi_stable 0.11 puts impls inside consts and asks for names like `PluginModule_Ref`.
#![allow(non_local_definitions, non_camel_case_types)]

mod fragment;
mod kernel;
pub mod law;
mod module;
mod options;

pub use abi_stable;
pub use fragment::{
    Argument, Attribute, Definition, Fragment, NamedAttribute, Node, Operand, Output, TensorType, Update, role,
};
pub use kernel::{Kernel, KernelCall, KernelFunction, KernelInput, KernelOutput, Launch, device, launch};
pub use module::{
    BuildError, BuildRequest, Descriptor, NamedTensorType, PluginModule, PluginModule_Ref, kind, property,
};
pub use options::{NamedOption, OptionSpec, OptionValue, option_kind};

/// The version that a library and its host must share in major and minor part (abi_stable compares it on loading).
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
