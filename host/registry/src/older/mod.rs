//! Earlier versions of the boundary's types as today's, one file a version.
//!
//! A library of an earlier version is loaded against the frozen types it was compiled with; what it says is turned into today's
//! types here and nowhere else, so that nobody behind this module knows versions. [`docs/abi.md`] says how a version is frozen.
//!
//! [`docs/abi.md`]: ../../../../docs/abi.md

pub(crate) mod v0_1;
