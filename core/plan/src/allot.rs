//! Places for the buffers of a step, by what each of its calls reads and writes.

use crate::{Life, pack};

/// The buffers of one call, by number.
#[derive(Clone, Copy, Debug)]
pub struct Touched<'a> {
    /// One for each way in which a buffer is read: what is read in two is nobody's to write over.
    pub reads: &'a [usize],
    pub writes: &'a [usize],
    /// Pairs of a read and a written buffer that may be one.
    pub in_place: &'a [(usize, usize)],
}

/// Packs the buffers of a step into one block; a buffer that is written where another is read last takes its place.
///
/// `bytes` has the size of each buffer that is to lie in the block, and none for those that are elsewhere; `kept` are read when all
/// calls are done. Gives the place of each buffer that is touched, and the size of the block.
pub fn allot(calls: &[Touched<'_>], bytes: &[Option<usize>], kept: &[usize]) -> (Vec<Option<usize>>, usize) {
    let count = bytes.len();
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; count];
    for (i, call) in calls.iter().enumerate() {
        for &b in call.reads.iter().chain(call.writes) {
            let life = lives[b].get_or_insert((i, i));
            life.1 = i;
        }
    }
    for &b in kept {
        if let Some(life) = &mut lives[b] {
            life.1 = calls.len();
        }
    }
    let inside = |b: usize| bytes[b].filter(|_| lives[b].is_some());
    // Where a buffer lies with another, the one it lies with.
    let mut with: Vec<usize> = (0..count).collect();
    let mut ends: Vec<usize> = lives.iter().map(|l| l.map_or(0, |l| l.1)).collect();
    for (i, call) in calls.iter().enumerate() {
        for &(from, to) in call.in_place {
            let root = with[from];
            let fits = inside(from).is_some()
                && inside(from) == inside(to)
                && with[to] == to
                && root != to
                && ends[root] == i
                && lives[to].is_some_and(|l| l.0 == i)
                && call.reads.iter().filter(|&&r| with[r] == root).count() == 1;
            if fits {
                with[to] = root;
                ends[root] = ends[to];
            }
        }
    }
    let (mut pieces, mut owners) = (vec![], vec![]);
    for b in 0..count {
        if let Some(bytes) = inside(b).filter(|_| with[b] == b) {
            let first = lives[b].map_or(0, |l| l.0);
            pieces.push(Life { bytes, first, last: ends[b] });
            owners.push(b);
        }
    }
    let packed = pack(&pieces);
    let mut offsets = vec![None; count];
    for (&owner, &offset) in owners.iter().zip(&packed.offsets) {
        offsets[owner] = Some(offset);
    }
    for b in 0..count {
        if inside(b).is_some() {
            offsets[b] = offsets[with[b]];
        }
    }
    (offsets, packed.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(reads: &'a [usize], writes: &'a [usize], in_place: &'a [(usize, usize)]) -> Touched<'a> {
        Touched { reads, writes, in_place }
    }

    #[test]
    fn a_chain_in_place_takes_one_place() {
        let calls = [call(&[0], &[1], &[]), call(&[1], &[2], &[(1, 2)]), call(&[2], &[3], &[(2, 3)])];
        let (offsets, bytes) = allot(&calls, &[None, Some(64), Some(64), Some(64)], &[3]);
        assert_eq!((offsets, bytes), (vec![None, Some(0), Some(0), Some(0)], 64));
    }

    #[test]
    fn what_is_read_later_is_not_overwritten() {
        let calls = [call(&[], &[0], &[]), call(&[0], &[1], &[(0, 1)]), call(&[0, 1], &[2], &[])];
        let (offsets, _) = allot(&calls, &[Some(64), Some(64), Some(64)], &[2]);
        assert_ne!(offsets[0], offsets[1]);
        assert_ne!(offsets[2], offsets[0]);
        assert_ne!(offsets[2], offsets[1]);
    }

    #[test]
    fn what_is_kept_outlives_the_last_call() {
        let calls = [call(&[], &[0], &[]), call(&[], &[1], &[])];
        let (apart, _) = allot(&calls, &[Some(64), Some(64)], &[0]);
        assert_ne!(apart[0], apart[1]);
        let (shared, _) = allot(&calls, &[Some(64), Some(64)], &[]);
        assert_eq!(shared[0], shared[1]);
    }
}
