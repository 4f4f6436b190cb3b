//! `fer-host` as its users meet it: the built program, in a folder of its own, with the plugins beside it.

mod host;
mod micro;
mod record;
mod refused_resume;
mod resume;
