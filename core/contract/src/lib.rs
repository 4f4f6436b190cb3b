//! The properties every component must have, as proptest problems on a component behind a closure.
//!
//! A [`Subject`] is a component that can be asked for fragments: one from a loaded library, or a function of a test. A
//! [`Domain`] says which options and inputs to try. A [`Property`] looks at one [`Case`] of a subject. [`check`] draws cases and
//! reports; a failure names the property and prints the shrunk case. The families are
//!
//! - [`building`]: any request gets a well-formed fragment or a clear refusal, always the same one;
//! - [`execution`]: what is promised of shapes, numbers, text and bits holds when the graph runs;
//! - [`gradients`]: derivatives agree with differences, and reach every parameter that is to be trained;
//! - [`batch`]: samples do not mix in evaluation;
//! - [`kernels`]: what a library computes an op of its own with is what the op means;
//! - [`losses`], [`resizers`]: what those kinds must do besides, and laws that a component or its tests may claim;
//! - [`laws`]: what a component claims of itself.
//!
//! A plugin's own test file is a domain and the macro [`contract!`]. [`examine`] looks at a component that has none: it finds
//! problems that the component takes and that are affordable ([`explore`]). A failure becomes smaller and leaves a
//! [`Reproduction`]. What is absent: loading libraries, printing.

pub mod batch;
pub mod building;
mod case;
mod domain;
pub mod execution;
mod explore;
mod failure;
mod families;
pub mod gradients;
mod harness;
pub mod kernels;
pub mod laws;
pub mod losses;
mod model;
mod numbers;
mod property;
mod reproduction;
pub mod resizers;
mod shrink;
mod subject;
mod suite;
mod values;
pub mod written;

pub use case::{Case, Inputs, images, truth};
pub use domain::{Choices, Domain, Setup, absent, given};
pub use explore::{Explored, Reach, explore};
pub use failure::{Outcome, Trouble, ensure};
pub use families::Family;
pub use harness::{Contract, assert_family, built_library};
pub use model::{Model, Values};
pub use numbers::{Deviation, close};
pub use property::{Effort, Failure, Property, Report, Verdict, check, look};
pub use reproduction::Reproduction;
pub use subject::Subject;
pub use suite::{Thoroughness, Watch, examine, plan};
pub use values::Start;
