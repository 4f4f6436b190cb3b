//! The program `fer-host`, as a library that its tests can call.
//!
//! The way of a run: `cli` reads arguments, `session` resolves the config and finds the plugins, `compose` makes one graph of them,
//! `weights` gives it what it starts from, `run` trains it and keeps the run folder. `kit` makes the crates of new plugins, `check` holds a
//! library to the contract of its components, `trust` to the hash that was accepted. Only this crate and those below `host/` read configs; only this one prints or exits.

pub mod check;
pub mod cli;
pub mod compose;
mod engines;
pub mod failure;
mod kit;
pub mod run;
pub mod session;
pub mod trace;
pub mod trust;
pub mod weights;
