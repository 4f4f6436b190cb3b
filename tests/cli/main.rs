//! `fer-host` as its users meet it: the built program, in a folder of its own, with the plugins beside it.
//!
//! `snapshots/` holds what it prints. Where that is meant to change, `INSTA_UPDATE=always cargo test -p fer-host --test cli` writes it
//! anew; the difference is to be read before it is committed.

mod ahead;
mod bad_config;
mod bad_data;
mod bad_files;
mod bad_luck;
#[cfg(target_os = "linux")]
mod card;
mod check;
mod devices;
mod evaluation;
mod export;
mod host;
mod kernels;
mod micro;
mod new;
mod outputs;
mod own_ops;
mod pretrained;
mod record;
mod refused_resume;
mod resume;
mod run_folder;
mod shipped;
#[cfg(target_os = "linux")]
mod traffic;
mod trust;
mod weights;

/// The hub that the weight files' own tests have.
#[allow(dead_code, reason = "those tests ask for more of it")]
#[path = "../../host/weights/tests/server/mod.rs"]
mod hub;
