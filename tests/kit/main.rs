//! The plugin kit as a newcomer meets it: from a folder with nothing but the built program and the packaged SDK crates.
//!
//! Crates are packaged as for a registry, unpacked, and put in crates.io's place; `fer-host plugin new` writes a crate of each kind, and cargo
//! builds and tests it. The guide's blocks are run in order. Third-party crates come compiled from the workspace's own build
//! folder where cargo knows such a setting, so that this takes a minute and not five.

mod guide;
mod page;
mod templates;
mod workshop;
