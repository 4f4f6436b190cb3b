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
//! - [`losses`], [`resizers`]: what those kinds must do besides, and laws that a component's own tests may claim.
//!
//! A plugin's own test file is a domain and the macro [`contract!`]. What is absent: loading libraries, printing.

pub mod batch;
pub mod building;
mod case;
mod domain;
pub mod execution;
mod failure;
mod families;
pub mod gradients;
mod harness;
pub mod kernels;
pub mod losses;
mod model;
mod numbers;
mod property;
pub mod resizers;
mod subject;
mod values;

pub use case::{Case, Inputs, images, truth};
pub use domain::{Choices, Domain, Setup, absent, given};
pub use failure::{Outcome, Trouble, ensure};
pub use families::Family;
pub use harness::{Contract, assert_family, built_library};
pub use model::{Model, Values};
pub use numbers::{Deviation, close};
pub use property::{Failure, Property, Report, check};
pub use subject::Subject;
