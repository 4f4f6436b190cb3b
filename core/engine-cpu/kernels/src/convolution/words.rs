//! Staged sources whose factors are rounded: words of two channels, or of two positions.

use super::{grid::Grid, stage::stage};
use crate::{factors::Kind, simd::Simd};

/// Word `word` of an image's channels, `[channels, height, width]`, as the planes that outputs `first..first + rows` read, `plane`
/// words apart. `room` has place for the planes of each channel of a word; exact factors need none.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn stage_words<K: Kind, S: Simd>(
    s: S,
    grid: &Grid,
    image: &[f32],
    word: usize,
    (first, rows): (usize, usize),
    plane: usize,
    room: &mut [f32],
    to: &mut [f32],
) {
    let len = grid.planes() * plane;
    assert!(to.len() == len && image.len() == grid.sources * grid.source_len());
    let channel = |c: usize| image[c * grid.source_len()..].as_ptr();
    if !K::BF16 {
        // SAFETY: the channel and the planes are there.
        unsafe { stage(s, grid, channel(word), first, rows, plane, to.as_mut_ptr()) };
        return;
    }
    let channels = word * K::steps::<S>()..grid.sources.min((word + 1) * K::steps::<S>());
    let pair = channels.len() == 2;
    for (room, c) in room.chunks_exact_mut(len).zip(channels) {
        // SAFETY: as above.
        unsafe { stage(s, grid, channel(c), first, rows, plane, room.as_mut_ptr()) };
    }
    // Planes for fewer rows are shorter, and what is behind them is not read.
    let filled = plane.min(grid.plane(rows));
    for start in (0..len).step_by(plane) {
        for at in (start..start + filled).step_by(S::LANES) {
            assert!(at + S::LANES <= len && room.len() >= K::steps::<S>() * len);
            // SAFETY: a whole vector of each, for planes are of whole vectors.
            unsafe {
                let first = room.as_ptr().add(at);
                let second = if pair { s.load(first.add(len)) } else { s.splat(0.0) };
                s.store(to.as_mut_ptr().add(at), K::across(s, s.load(first), second));
            }
        }
    }
}

/// Words of consecutive numbers, those that begin at `from`, `from + steps`, ...; whole vectors of them are written.
///
/// # Safety
/// `from` is valid for as many numbers as there are in `words`, rounded up to whole vectors, and `to` for so many words.
#[inline(always)]
pub unsafe fn along<K: Kind, S: Simd>(s: S, from: *const f32, to: *mut f32, words: usize) {
    for at in (0..words).step_by(S::LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let from = from.add(at * K::steps::<S>());
            let second = if K::steps::<S>() == 2 { s.load(from.add(S::LANES)) } else { s.splat(0.0) };
            s.store(to.add(at), K::along(s, s.load(from), second));
        }
    }
}
