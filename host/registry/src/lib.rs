//! Finds, checks, loads and describes plugin libraries.
//!
//! A file on the [`SearchPath`] becomes a [`Component`] in four steps, each of which keeps the next one safe:
//!
//! 1. [`image`] reads its bytes: a shared library of this machine, whole, with the entry point of a plugin. The loader of
//!    the operating system takes the process down on a truncated file, so it never sees one.
//! 2. [`probe`] loads it in a child process with a time limit and lets it describe itself there: a constructor or a
//!    `describe` that hangs, aborts or crashes becomes a one-line [`Problem`].
//! 3. What it says is checked: ids, sizes, option schemas that agree with themselves.
//! 4. Only when a component is built is its library loaded into this process, from the very bytes that were hashed, and then
//!    never unloaded.
//!
//! What is left to trust is `build`: it runs in this process. The SDK guards it, so that a panic is a
//! [`BuildError`](fer_abi::BuildError); a hand-written table that lets a panic out of its `extern "C"` function aborts the
//! program, and no host can prevent that.
//!
//! ```no_run
//! use fer_registry::{Probe, Registry, SearchPath};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::scan(&SearchPath::standard(), &Probe::this_program()?);
//! let resizer = registry.get("resizer", "ltr")?;
//! let options = resizer.check_options(&[("size".into(), 224_i64.into())])?;
//! # Ok(()) }
//! ```

mod child;
mod component;
mod error;
mod held;
pub mod image;
mod info;
mod input;
mod kernels;
mod load;
mod older;
mod options;
pub mod probe;
mod registry;
mod search;
mod show;
mod spec;
mod validate;

pub use component::Component;
pub use error::{Fault, Problem, RegistryError, RegistryErrorKind};
pub use info::{ComponentInfo, OptionInfo, PropertyInfo, ValueInfo};
pub use input::OptionInput;
pub use options::{OptionError, OptionErrorKind};
pub use probe::{Probe, probe_main};
pub use registry::Registry;
pub use search::{PLUGIN_PATH, SearchPath};
pub use show::{ComponentReport, describe};
