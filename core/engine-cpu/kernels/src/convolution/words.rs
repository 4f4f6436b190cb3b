//! Sources and cotangents as the arithmetic takes them: floats, or words of two channels or of two positions.

use super::{
    grid::Grid,
    stage::{spread, stage},
};
use crate::{
    factors::Kind,
    numbers::{Numbers, Stored},
    shared::Scratch,
    simd::Simd,
};

/// Whether numbers are staged as they stand in memory: else they are in a room of their own first, to be made words of.
const fn stands<K: Kind, T: Stored>() -> bool {
    T::EXACT && !K::BF16
}

/// `count` floats of such a room, if some of the numbers need one.
pub fn room<K: Kind>(numbers: &[Numbers<'_>], count: usize) -> Scratch {
    let stand = !K::BF16 && numbers.iter().all(|n| matches!(n, Numbers::F32(_)));
    let mut room = Scratch::new(if stand { 0 } else { count });
    // What lies between and behind the planes is never summed, but it is turned into words.
    room.fill(0.0);
    room
}

/// Some rows of outputs.
#[derive(Clone, Copy)]
pub struct Rows {
    pub first: usize,
    pub count: usize,
    /// Numbers from one plane to the next, of those that serve them.
    pub plane: usize,
}

/// Word `word` of an image's channels, `[channels, height, width]`, as the planes that outputs `rows` read. `room` has place for the
/// planes of each channel of a word; what [`stands`] needs none.
#[inline(always)]
pub fn stage_words<K: Kind, S: Simd, T: Stored>(
    s: S,
    grid: &Grid,
    image: &[T],
    word: usize,
    rows: Rows,
    room: &mut [f32],
    to: &mut [f32],
) {
    let Rows { first, count, plane } = rows;
    let len = grid.planes() * plane;
    assert!(to.len() == len && image.len() == grid.sources * grid.source_len());
    let channel = |c: usize| image[c * grid.source_len()..].as_ptr();
    if stands::<K, T>() {
        // SAFETY: the channel and the planes are there; both are floats.
        unsafe { stage(s, grid, channel(word), first, count, plane, to.as_mut_ptr().cast()) };
        return;
    }
    let channels = word * K::steps::<S>()..grid.sources.min((word + 1) * K::steps::<S>());
    let pair = channels.len() == 2;
    assert!(room.len() >= channels.len() * len);
    let room = room.as_mut_ptr().cast::<T>();
    for (i, c) in channels.enumerate() {
        // SAFETY: as above; no number is larger than a float.
        unsafe { stage(s, grid, channel(c), first, count, plane, room.add(i * len)) };
    }
    // Planes for fewer rows are shorter, and what is behind them is not read.
    let filled = plane.min(grid.plane(count));
    for start in (0..len).step_by(plane) {
        for at in (start..start + filled).step_by(S::LANES) {
            assert!(at + S::LANES <= len);
            // SAFETY: a whole vector of each, for planes are of whole vectors.
            unsafe {
                let first = room.add(at);
                let words = match pair {
                    true => T::across::<K, S>(s, first, first.add(len)),
                    false => K::across(s, T::load(s, first), s.splat(0.0)),
                };
                s.store(to.as_mut_ptr().add(at), words);
            }
        }
    }
}

/// A channel of the source as the planes that outputs `rows` read, in words of consecutive positions: those that begin at even ones,
/// and, where words hold two, behind them those that begin at odd ones; then up to a vector more than the planes is written. `room` has
/// place for the planes and some vectors; what [`stands`] needs none.
#[inline(always)]
pub fn stage_along<K: Kind, S: Simd, T: Stored>(
    s: S,
    grid: &Grid,
    channel: &[T],
    rows: Rows,
    room: &mut [f32],
    to: &mut [f32],
) {
    let Rows { first, count, plane } = rows;
    let len = grid.planes() * plane;
    let beyond = (K::steps::<S>() - 1) * S::LANES;
    assert!(channel.len() == grid.source_len() && to.len() >= len + beyond);
    // SAFETY: both slices have the lengths that are asked for, and `room` some vectors more than the planes.
    unsafe {
        if stands::<K, T>() {
            return stage(s, grid, channel.as_ptr(), first, count, plane, to.as_mut_ptr().cast());
        }
        assert!(room.len() >= len + 4 * S::LANES);
        let room = room.as_mut_ptr().cast::<T>();
        stage(s, grid, channel.as_ptr(), first, count, plane, room);
        let words = len / K::steps::<S>();
        for phase in 0..K::steps::<S>() {
            along::<K, S, T>(s, room.add(phase), to.as_mut_ptr().add(phase * words), words);
        }
    }
}

/// Rows of a dense cotangent as words of consecutive positions, `to` being as many words as there are. `room` has place for the
/// positions and some vectors; what [`stands`] needs none.
///
/// # Safety
/// `from` is valid for `rows` rows of outputs.
#[inline(always)]
pub unsafe fn spread_along<K: Kind, S: Simd, T: Stored>(
    s: S,
    grid: &Grid,
    from: *const T,
    rows: usize,
    room: &mut [f32],
    to: &mut [f32],
) {
    let positions = to.len() * K::steps::<S>();
    // SAFETY: the caller's promise, and as for `stage_along`.
    unsafe {
        if stands::<K, T>() {
            return spread(s, grid, from, rows, to.as_mut_ptr().cast(), positions);
        }
        assert!(room.len() >= positions + 4 * S::LANES && to.len().is_multiple_of(S::LANES));
        let room = room.as_mut_ptr().cast::<T>();
        spread(s, grid, from, rows, room, positions);
        along::<K, S, T>(s, room, to.as_mut_ptr(), to.len());
    }
}

/// Words of consecutive numbers, those that begin at `from`, `from + steps`, ...; whole vectors of them are written.
///
/// # Safety
/// `from` is valid for as many numbers as there are in `words`, rounded up to whole vectors, and `to` for so many words.
#[inline(always)]
unsafe fn along<K: Kind, S: Simd, T: Stored>(s: S, from: *const T, to: *mut f32, words: usize) {
    for at in (0..words).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        unsafe { s.store(to.add(at), T::along::<K, S>(s, from.add(at * K::steps::<S>()))) };
    }
}
