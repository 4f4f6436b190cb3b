//! Finds, checks, loads and describes plugin libraries.
//!
//! A file on the [`SearchPath`] becomes a [`Component`] in four steps, each of which keeps the next one safe:
//!
//! 1. [`image`] reads its bytes: a shared library of this machine, whole, with the entry point of a plugin. The loader of
//!    the operating system takes the process down on a truncated file, so it never sees one.
//! 2. [`probe`] loads it in a child process with limits of time and memory and lets it describe itself there: a constructor or a
//!    `describe` that hangs, aborts or crashes becomes a one-line [`Problem`].
//! 3. What it says is checked: ids, sizes, option schemas that agree with themselves.
//! 4. A component is built in a child too, and its fragment comes back as bytes. A refusal of its own is a
//!    [`BuildError`](fer_abi::BuildError), and so is whatever else becomes of the child.
//!
//! Whoever loads a library, child or not, loads the very bytes that were hashed.
//!
//! What is left to trust are kernels: a run that uses them loads their library into this process, never to unload it, and calls them.
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

mod c;
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
mod refusal;
mod registry;
mod search;
mod show;
mod spec;
mod validate;
mod wire;

pub use component::Component;
pub use error::{Fault, Problem, RegistryError, RegistryErrorKind};
pub use info::{ComponentInfo, OptionInfo, PropertyInfo, ValueInfo};
pub use input::OptionInput;
pub use options::{OptionError, OptionErrorKind};
pub use probe::{Limits, Probe, probe_main};
pub use registry::Registry;
pub use search::{PLUGIN_PATH, SearchPath};
pub use show::{ComponentReport, describe};
