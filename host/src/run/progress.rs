//! What a person sees of long work: a bar on a terminal, nothing of it when piped.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() }
}

fn bar(template: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("#>.");
    ProgressBar::with_draw_target(Some(length), target()).with_style(style)
}

/// Counts something whose length becomes known later.
pub fn counter(what: &str) -> ProgressBar {
    bar("{msg:<16} {bar:32} {pos}/{len} {elapsed}", 0).with_message(what.to_owned())
}

/// The batches of one training epoch.
pub fn epoch(number: usize, epochs: usize, batches: u64, done: u64) -> ProgressBar {
    let bar = bar("{prefix} {bar:32} {percent:>3} %   {msg}   {eta_precise} left", batches)
        .with_prefix(format!("epoch {number:>3}/{epochs}"))
        .with_position(done);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// The bytes of a file that comes in.
pub fn fetching(name: &str) -> ProgressBar {
    bar("{msg} {bar:32} {bytes}/{total_bytes} {bytes_per_sec}   {eta} left", 0).with_message(name.to_owned())
}

/// The batches of one evaluation.
pub fn evaluating(split: &str, batches: u64) -> ProgressBar {
    bar("{msg:<13} {bar:32} {percent:>3} %   {eta_precise} left", batches).with_message(split.to_owned())
}
