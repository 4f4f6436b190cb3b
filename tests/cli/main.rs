//! `fer-host` as its users meet it: the built program, in a folder of its own, with the plugins beside it.

mod bad_config;
mod bad_data;
mod bad_files;
mod bad_luck;
mod evaluation;
mod host;
mod micro;
mod outputs;
mod record;
mod refused_resume;
mod resume;
mod run_folder;
mod shipped;
