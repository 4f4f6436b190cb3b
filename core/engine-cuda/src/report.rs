//! What is said where a plan does not fit into the device's memory.

use std::fmt::Write;

/// Memory as a plan needs it, and as there is.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Bytes by scope of the model, in any order.
    pub by_scope: &'a [(String, usize)],
    /// What any batch needs beside the step's memory: parameters, optimiser, states, constants.
    pub fixed: usize,
    /// What one more image of a batch needs there: inputs.
    pub per_image: usize,
    /// The step's memory, at each of its moments: what any batch needs, and what this one does.
    pub moments: &'a [(usize, usize)],
    pub batch: usize,
    /// Of the device at this moment.
    pub free: usize,
    pub total: usize,
}

impl Need<'_> {
    /// Bytes that any batch needs and bytes that each image does, at the moment when a batch needs most.
    fn most(&self, batch: usize) -> (usize, f64) {
        let each = |&(fixed, these): &(usize, usize)| (fixed, these as f64 / self.batch as f64);
        let bytes = |(fixed, each): (usize, f64)| fixed as f64 + each * batch as f64;
        let moments = self.moments.iter().map(each);
        let (fixed, each) = moments.max_by(|&a, &b| bytes(a).total_cmp(&bytes(b))).unwrap_or_default();
        (self.fixed.saturating_add(fixed), self.per_image as f64 + each)
    }

    /// Bytes that a batch needs.
    fn of(&self, batch: usize) -> usize {
        let (fixed, each) = self.most(batch);
        fixed.saturating_add((each * batch as f64).ceil() as usize)
    }

    /// The largest smaller batch that fits; 0 where none does.
    fn fits(&self) -> usize {
        // Some of what is free is always lost between allocations.
        let room = self.free - self.free / 32;
        let (mut fits, mut too_large) = (0, self.batch);
        while fits + 1 < too_large {
            let middle = fits.midpoint(too_large);
            *(if self.of(middle) <= room { &mut fits } else { &mut too_large }) = middle;
        }
        fits
    }
}

/// Scopes that are told one by one.
const MOST_SCOPES: usize = 6;

/// A plan that does not fit, in words: what it needs and where, what is free, which batch would fit.
///
/// The first line is a sentence in lower case and without a full stop, the others are facts, and the last is what to do.
pub fn out_of_memory(need: &Need) -> String {
    let (fixed, each) = need.most(need.batch);
    let (free, total) = (bytes(need.free), bytes(need.total));
    let mut text = format!(
        "a batch of {} needs {} of the device's memory, of which {free} of {total} are free",
        need.batch,
        bytes(need.of(need.batch))
    );
    let _ = write!(text, "\n  {} whatever the batch, {} for each image", bytes(fixed), bytes(each.ceil() as usize));
    let mut scopes: Vec<&(String, usize)> = need.by_scope.iter().filter(|scope| scope.1 > 0).collect();
    scopes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let rest: usize = scopes.iter().skip(MOST_SCOPES).map(|scope| scope.1).sum();
    let others = scopes.len().saturating_sub(MOST_SCOPES);
    let mut rows: Vec<(String, usize)> = scopes.into_iter().take(MOST_SCOPES).cloned().collect();
    if others > 0 {
        rows.push((format!("{others} more"), rest));
    }
    let width = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    for (scope, size) in &rows {
        let _ = write!(text, "\n  {scope:<width$}   {}", bytes(*size));
    }
    text.push_str("\n  ");
    text.push_str(&advice(need));
    text
}

/// What the user can do.
fn advice(need: &Need) -> String {
    let fits = need.fits();
    let used = need.total.saturating_sub(need.free);
    if fits > 0 {
        let times = need.batch.div_ceil(fits);
        let exact = if need.batch.is_multiple_of(times) {
            let batch = need.batch / times;
            format!("; batch: {batch} with accumulate: {times} makes the same number of images an update")
        } else {
            String::new()
        };
        return format!("a batch of {fits} would fit{exact}");
    }
    if used > need.total / 4 {
        let used = bytes(used);
        return format!("no batch fits while {used} are in use: nvidia-smi shows by whom");
    }
    "no batch fits on this device: take a smaller model, smaller images or a card with more memory".to_owned()
}

/// `1.6 GiB`.
fn bytes(count: usize) -> String {
    let (mut number, mut unit) = (count as f64, 0);
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || number >= 99.95 { 0 } else { 1 };
    format!("{number:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    fn need<'a>(by_scope: &'a [(String, usize)], free: usize, batch: usize) -> Need<'a> {
        Need { by_scope, fixed: GIB, per_image: GIB / 4, moments: &[], batch, free, total: 24 * GIB }
    }

    #[test]
    fn says_what_is_needed_where_and_what_would_fit() {
        let scopes: Vec<(String, usize)> = [("head", 1 << 20), ("backbone.layers.0", 9 * GIB), ("loss", 0)]
            .map(|(name, size)| (name.to_owned(), size))
            .into();
        assert_eq!(
            out_of_memory(&need(&scopes, 12 * GIB, 64)),
            "a batch of 64 needs 17.0 GiB of the device's memory, of which 12.0 GiB of 24.0 GiB are free\n  \
             1.0 GiB whatever the batch, 256 MiB for each image\n  \
             backbone.layers.0   9.0 GiB\n  \
             head                1.0 MiB\n  \
             a batch of 42 would fit; batch: 32 with accumulate: 2 makes the same number of images an update"
        );
    }

    #[test]
    fn a_batch_that_divides_is_offered_only_where_there_is_one() {
        let text = out_of_memory(&need(&[], 12 * GIB, 63));
        assert!(text.ends_with("\n  a batch of 42 would fit"), "{text}");
    }

    #[test]
    fn what_is_offered_fits() {
        for batch in 2..200 {
            for free in (2..24).map(|gib| gib * GIB) {
                let need = need(&[], free, batch);
                let text = advice(&need);
                let Some(fits) = text.strip_prefix("a batch of ") else { continue };
                let fits: usize = fits.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
                assert!(fits < batch && need.fixed + need.per_image * fits <= free, "{text} of {free}");
            }
        }
    }

    /// A small batch needs most at another moment: when the gradients of all weights are there, and no activation.
    #[test]
    fn what_is_offered_fits_at_every_moment() {
        let moments = [(GIB, 30 * GIB), (3 * GIB, 0), (2 * GIB, 15 * GIB)];
        let need = Need { by_scope: &[], fixed: GIB, per_image: 0, moments: &moments, batch: 60, free: 0, total: 0 };
        assert_eq!([need.of(60), need.of(30), need.of(4), need.of(1)].map(|b| b / GIB), [32, 17, 4, 4]);
        let advice = |gib: usize| advice(&Need { free: gib * GIB, total: gib * GIB, ..need });
        // 31 of 32 GiB are reckoned with: 1 + 1 + 29 of the first moment.
        assert!(advice(32).starts_with("a batch of 58 would fit"), "{}", advice(32));
        assert!(advice(16).starts_with("a batch of 27 would fit"), "{}", advice(16));
        assert!(advice(4).starts_with("no batch fits on this device"), "{}", advice(4));
        assert!(out_of_memory(&need).contains("\n  2.0 GiB whatever the batch, 512 MiB for each image"));
    }

    #[test]
    fn many_scopes_are_summed_up() {
        let scopes: Vec<(String, usize)> = (0..10).map(|i| (format!("s{i}"), (10 - i) << 20)).collect();
        let text = out_of_memory(&need(&scopes, 12 * GIB, 64));
        assert!(text.contains("\n  s5       5.0 MiB\n  4 more   10.0 MiB\n"), "{text}");
    }

    #[test]
    fn where_nothing_fits_the_reason_is_told() {
        assert!(advice(&need(&[], GIB, 8)).starts_with("no batch fits while 23.0 GiB are in use: nvidia-smi"));
        let need = need(&[], 23 * GIB, 4);
        let whole = Need { fixed: 30 * GIB, per_image: GIB, ..need };
        assert!(advice(&whole).starts_with("no batch fits on this device"));
        let nothing = Need { per_image: 0, ..whole };
        assert!(advice(&nothing).starts_with("no batch fits"));
        assert_eq!(bytes(0), "0 B");
    }
}
