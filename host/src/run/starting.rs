//! What a run starts from beside its seed: the weights that its config names.

use std::cell::RefCell;

use fer_train::Step;
use indicatif::ProgressBar;

use super::{progress, record::Environment, report::Reporter};
use crate::{
    failure::{Failure, Result},
    session::Session,
    weights::{Network, Pretrained},
};

/// Finds and fits the weights; fetches what is not on this machine unless nothing is going to be trained.
///
/// # Errors
/// Those of [`Pretrained::gather`].
pub fn pretrained(session: &Session, step: &Step, reporter: &Reporter, fetch: bool) -> Result<Pretrained> {
    let bar: RefCell<Option<ProgressBar>> = RefCell::new(None);
    let show = |name: &str, bytes: u64, total: u64| {
        let mut bar = bar.borrow_mut();
        let bar = bar.get_or_insert_with(|| {
            reporter.say(&format!("fetching {name}"));
            progress::fetching(name)
        });
        bar.set_length(total);
        bar.set_position(bytes);
    };
    let network = if fetch { Network::Allowed(&show) } else { Network::Unused };
    let found = Pretrained::gather(session, step.graphs()[0], network);
    if let Some(bar) = bar.take() {
        bar.finish_and_clear();
    }
    let found = found?;
    found.notices.iter().for_each(|notice| reporter.notice(notice));
    reporter.weights(&found);
    Ok(found)
}

/// The weights of a run that stopped before its first checkpoint: they must be those that it began with.
///
/// # Errors
/// Other weights, or those of [`Pretrained::gather`].
pub fn pretrained_again(session: &Session, step: &Step, reporter: &Reporter, then: &Environment) -> Result<Pretrained> {
    let found = pretrained(session, step, reporter, true)?;
    for record in &found.records {
        let before = then.pretrained.iter().find(|r| r.path == record.path);
        if let Some(before) = before.filter(|b| b.sha256 != record.sha256) {
            return Err(Failure::new(format!("the weights of {} have changed since the run began", record.path))
                .note(format!("then: {} (sha256 {:.12})", before.source, before.sha256))
                .note(format!("now:  {} (sha256 {:.12})", record.source, record.sha256))
                .help("a resumed run would not be the run that began; start a new one"));
        }
    }
    Ok(found)
}
