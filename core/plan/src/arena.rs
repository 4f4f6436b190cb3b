//! One block of memory for all values of a step: values that do not live at the same time share places.

/// A piece of memory that a step needs from its first use to its last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub bytes: usize,
    pub first: usize,
    pub last: usize,
}

/// Where each piece lies, and how large the block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena {
    pub offsets: Vec<usize>,
    pub bytes: usize,
}

/// Pieces begin where a cache line does.
const ALIGN: usize = 64;

/// Packs the largest pieces first, each at the lowest place that is free during its whole life: seldom far from the optimum, and
/// the same for the same lives.
pub fn pack(lives: &[Life]) -> Arena {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lives[i].bytes), lives[i].first, i));
    let mut arena = Arena { offsets: vec![0; lives.len()], bytes: 0 };
    // By offset: those placed so far.
    let mut placed: Vec<usize> = vec![];
    for &i in &order {
        let life = lives[i];
        if life.bytes == 0 {
            continue;
        }
        let together = |other: &Life| life.first <= other.last && other.first <= life.last;
        let (mut best, mut at): (Option<(usize, usize)>, usize) = (None, 0);
        for &other in &placed {
            if !together(&lives[other]) {
                continue;
            }
            let start = arena.offsets[other];
            // The tightest gap that holds it.
            if start >= at + life.bytes && best.is_none_or(|(gap, _)| start - at < gap) {
                best = Some((start - at, at));
            }
            at = at.max((start + lives[other].bytes).next_multiple_of(ALIGN));
        }
        let offset = best.map_or(at, |(_, at)| at);
        arena.offsets[i] = offset;
        arena.bytes = arena.bytes.max(offset + life.bytes);
        let place = placed.partition_point(|&other| arena.offsets[other] <= offset);
        placed.insert(place, i);
    }
    arena
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaps(lives: &[Life], arena: &Arena) -> bool {
        let clash = |i: usize, j: usize| {
            let (a, b) = (lives[i], lives[j]);
            let time = a.first <= b.last && b.first <= a.last;
            let place = arena.offsets[i] < arena.offsets[j] + b.bytes && arena.offsets[j] < arena.offsets[i] + a.bytes;
            time && place && a.bytes > 0 && b.bytes > 0
        };
        (0..lives.len()).any(|i| (0..i).any(|j| clash(i, j)))
    }

    #[test]
    fn a_chain_needs_two_places() {
        let lives: Vec<Life> = (0..20).map(|i| Life { bytes: 1024, first: i, last: i + 1 }).collect();
        let arena = pack(&lives);
        assert!(!overlaps(&lives, &arena));
        assert_eq!(arena.bytes, 2048);
    }

    #[test]
    fn pieces_that_live_together_lie_apart() {
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % below) as usize
        };
        for _ in 0..50 {
            let lives: Vec<Life> = (0..60)
                .map(|_| {
                    let first = next(40);
                    Life { bytes: next(5000), first, last: first + next(12) }
                })
                .collect();
            let arena = pack(&lives);
            assert!(!overlaps(&lives, &arena));
            assert!(arena.offsets.iter().all(|o| o % ALIGN == 0));
            let alive = |t: usize| lives.iter().filter(|l| l.first <= t && t <= l.last).map(|l| l.bytes).sum::<usize>();
            let least = (0..60).map(alive).max().unwrap();
            assert!(arena.bytes <= least * 3 / 2 + 60 * ALIGN, "{} bytes where {least} live at once", arena.bytes);
        }
    }
}
