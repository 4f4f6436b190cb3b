//! Work on long slices in pieces of a fixed length, so that nothing depends on the number of threads.

use rayon::prelude::*;

use crate::element::Item;

/// Elements of one piece: a few of them fit into the processor's nearest cache.
pub const CHUNK: usize = 1 << 13;

/// Calls `work(index of the first element, piece)` for every piece, in parallel where there are several.
pub fn in_chunks<T: Item>(target: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    in_rows(target, 1, work);
}

/// The same, with pieces of whole rows.
pub fn in_rows<T: Item>(target: &mut [T], row: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    in_pieces(target, row * CHUNK.div_ceil(row), work);
}

/// The same, with pieces of a given length.
pub fn in_pieces<T: Item>(target: &mut [T], piece: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if target.len() <= piece {
        work(0, target);
    } else {
        target.par_chunks_mut(piece).enumerate().for_each(|(i, chunk)| work(i * piece, chunk));
    }
}
