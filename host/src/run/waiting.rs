//! Whether training waits for its images, which costs a fast engine most of its time and shows in no result.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// The share of an epoch in waiting from which it is worth a word. A loader that keeps up has batches ready.
const WORTH_A_WORD: f64 = 0.2;

/// Epochs shorter than this say nothing: the first batches are always waited for.
const SHORTEST: Duration = Duration::from_secs(10);

/// Time that passes while the next batch is not there yet.
#[derive(Debug, Default)]
pub(super) struct Waiting(Cell<Duration>);

impl Waiting {
    /// The same items; the time that each takes to come is added up.
    pub(super) fn watch<'w, I: Iterator + 'w>(&'w self, mut batches: I) -> impl Iterator<Item = I::Item> + 'w {
        std::iter::from_fn(move || {
            let began = Instant::now();
            let next = batches.next();
            self.0.set(self.0.get() + began.elapsed());
            next
        })
    }

    /// What to say of an epoch that took so long, if it waited too much.
    pub(super) fn notice(&self, epoch: Duration, workers: usize) -> Option<String> {
        let share = self.0.get().as_secs_f64() / epoch.as_secs_f64().max(f64::MIN_POSITIVE);
        (epoch >= SHORTEST && share >= WORTH_A_WORD).then(|| {
            let percent = (100.0 * share).round();
            let threads = if workers == 1 { "one thread".to_owned() } else { format!("{workers} threads") };
            format!(
                "training waited for images during {percent} % of this epoch: {threads} did not load them as fast as they were \
                 used; workers: {} in the config takes more, and changes no result",
                2 * workers
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited(seconds: f64) -> Waiting {
        Waiting(Cell::new(Duration::from_secs_f64(seconds)))
    }

    #[test]
    fn an_epoch_that_waits_is_told_and_one_that_does_not_is_not() {
        let notice = waited(9.0).notice(Duration::from_secs(20), 1).expect("45 % is much");
        assert!(notice.contains("during 45 % of this epoch: one thread did not"), "{notice}");
        assert!(notice.contains("workers: 2 in the config"), "{notice}");
        assert!(waited(9.0).notice(Duration::from_secs(20), 4).expect("as much").contains("4 threads did not"));
        assert_eq!(waited(3.0).notice(Duration::from_secs(20), 1), None);
        assert_eq!(waited(5.0).notice(Duration::from_secs(6), 1), None, "too short to say");
    }

    #[test]
    fn nothing_is_lost_on_the_way_and_time_is_added_up() {
        let waiting = Waiting::default();
        let slow = (0..3).inspect(|_| std::thread::sleep(Duration::from_millis(2)));
        assert_eq!(waiting.watch(slow).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(waiting.0.get() >= Duration::from_millis(6), "{waiting:?}");
    }
}
