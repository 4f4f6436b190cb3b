//! What is said where a plan does not fit into the device's memory.

use std::fmt::Write;

/// Memory as a plan needs it, and as there is.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Bytes by scope of the model, in any order.
    pub by_scope: &'a [(String, usize)],
    /// What any batch needs: parameters, optimiser, states.
    pub fixed: usize,
    /// What one more image of a batch needs.
    pub per_image: usize,
    pub batch: usize,
    /// Of the device at this moment.
    pub free: usize,
    pub total: usize,
}

/// Scopes that are told one by one.
const MOST_SCOPES: usize = 6;

/// A plan that does not fit, in words: what it needs and where, what is free, which batch would fit.
///
/// The first line is a sentence in lower case and without a full stop, the others are facts, and the last is what to do.
pub fn out_of_memory(need: &Need) -> String {
    let wanted = need.fixed.saturating_add(need.per_image.saturating_mul(need.batch));
    let (free, total) = (bytes(need.free), bytes(need.total));
    let mut text = format!(
        "a batch of {} needs {} of the device's memory, of which {free} of {total} are free",
        need.batch,
        bytes(wanted)
    );
    let _ = write!(text, "\n  {} whatever the batch, {} for each image", bytes(need.fixed), bytes(need.per_image));
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
    // Some of what is free is always lost between allocations.
    let room = (need.free - need.free / 32).saturating_sub(need.fixed);
    let fits = room.checked_div(need.per_image).unwrap_or(usize::MAX).min(need.batch.saturating_sub(1));
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
        Need { by_scope, fixed: GIB, per_image: GIB / 4, batch, free, total: 24 * GIB }
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

    #[test]
    fn many_scopes_are_summed_up() {
        let scopes: Vec<(String, usize)> = (0..10).map(|i| (format!("s{i}"), (10 - i) << 20)).collect();
        let text = out_of_memory(&need(&scopes, 12 * GIB, 64));
        assert!(text.contains("\n  s5       5.0 MiB\n  4 more   10.0 MiB\n"), "{text}");
    }

    #[test]
    fn where_nothing_fits_the_reason_is_told() {
        assert!(advice(&need(&[], GIB, 8)).starts_with("no batch fits while 23.0 GiB are in use: nvidia-smi"));
        let whole = Need { by_scope: &[], fixed: 30 * GIB, per_image: GIB, batch: 4, free: 23 * GIB, total: 24 * GIB };
        assert!(advice(&whole).starts_with("no batch fits on this device"));
        let nothing = Need { per_image: 0, ..whole };
        assert!(advice(&nothing).starts_with("no batch fits") || advice(&nothing).starts_with("a batch of"));
        assert_eq!(bytes(0), "0 B");
    }
}
