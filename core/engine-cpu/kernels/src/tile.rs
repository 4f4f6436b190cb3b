//! The innermost product: a few rows by a few vectors of columns, held in registers while the contracted axis goes by.

use crate::{
    factors::Kind,
    shared::{LINE, ahead},
    simd::Simd,
};

/// Rows and vectors of columns that fill the registers of an instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileSize {
    pub rows: usize,
    pub vectors: usize,
}

impl TileSize {
    /// One register is for the left side's number, `vectors` are for the right side's row, the rest holds sums.
    pub const fn of<S: Simd>() -> TileSize {
        match S::REGISTERS {
            32 => TileSize { rows: 14, vectors: 2 },
            16 => TileSize { rows: 6, vectors: 2 },
            _ => TileSize { rows: 4, vectors: 1 },
        }
    }

    /// Columns of a tile.
    pub const fn columns<S: Simd>() -> usize {
        TileSize::of::<S>().vectors * S::LANES
    }
}

/// Where the left side's words stand: row i of step k at `i * row + k * step`.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    pub data: *const f32,
    pub row: usize,
    pub step: usize,
}

/// The right side: `depth` rows of as many columns as the tile has, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    pub data: *const f32,
    pub stride: usize,
}

/// What becomes of a tile's sums.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub data: *mut f32,
    pub stride: usize,
    /// Columns that are written.
    pub columns: usize,
    /// Added to what stands there, instead of replacing it.
    pub add: bool,
    /// Added to each row: as many numbers as the tile has columns; null for none.
    pub bias: *const f32,
}

/// What else memory is asked for meanwhile.
pub trait Wishes {
    /// One line of it: called once in every step.
    fn line(&mut self);
}

/// Nothing.
impl Wishes for () {
    #[inline(always)]
    fn line(&mut self) {}
}

/// `rows` rows of a product, at most a tile's. Steps are of words: see [`Kind`].
///
/// # Safety
/// `left` is valid for `rows` rows and `depth` steps, `right` for `depth` whole rows of the tile, `target` for `rows` rows of
/// `columns`, and its bias, if any, for a tile's columns. Nobody else touches the target meanwhile.
#[inline(always)]
pub unsafe fn product<K: Kind, S: Simd>(
    s: S,
    rows: usize,
    depth: usize,
    left: Left,
    right: Right,
    target: Target,
    wishes: &mut impl Wishes,
) {
    // SAFETY: the caller's promises; each piece of rows is within `rows`.
    unsafe {
        if rows == TileSize::of::<S>().rows {
            match S::REGISTERS {
                32 => tile::<K, S, 14, 2>(s, depth, left, right, target, wishes),
                16 => tile::<K, S, 6, 2>(s, depth, left, right, target, wishes),
                _ => tile::<K, S, 4, 1>(s, depth, left, right, target, wishes),
            }
            return;
        }
        let mut done = 0;
        for piece in [8, 4, 2, 1] {
            if rows - done >= piece {
                let left = Left { data: left.data.add(done * left.row), ..left };
                let target = Target { data: target.data.add(done * target.stride), ..target };
                match (piece, TileSize::of::<S>().vectors) {
                    (8, 2) => tile::<K, S, 8, 2>(s, depth, left, right, target, wishes),
                    (4, 2) => tile::<K, S, 4, 2>(s, depth, left, right, target, wishes),
                    (2, 2) => tile::<K, S, 2, 2>(s, depth, left, right, target, wishes),
                    (1, 2) => tile::<K, S, 1, 2>(s, depth, left, right, target, wishes),
                    (2, _) => tile::<K, S, 2, 1>(s, depth, left, right, target, wishes),
                    (1, _) => tile::<K, S, 1, 1>(s, depth, left, right, target, wishes),
                    _ => unreachable!("a smaller tile has fewer rows"),
                }
                done += piece;
            }
        }
    }
}

/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn tile<K: Kind, S: Simd, const ROWS: usize, const VECTORS: usize>(
    s: S,
    depth: usize,
    left: Left,
    right: Right,
    target: Target,
    wishes: &mut impl Wishes,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = sums::<K, S, ROWS, VECTORS>(s, depth, left, right, &target, wishes);
        if !target.bias.is_null() {
            for v in 0..VECTORS {
                let bias = s.load(target.bias.add(v * S::LANES));
                for sums in &mut sums {
                    sums[v] = s.add(sums[v], bias);
                }
            }
        }
        if target.columns == VECTORS * S::LANES {
            for (i, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let at = target.data.add(i * target.stride + v * S::LANES);
                    s.store(at, if target.add { s.add(sum, s.load(at)) } else { sum });
                }
            }
            return;
        }
        for (i, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let count = target.columns.saturating_sub(v * S::LANES).min(S::LANES);
                let at = target.data.add(i * target.stride + v * S::LANES);
                if count > 0 {
                    s.store_first(at, if target.add { s.add(sum, s.load_first(at, count)) } else { sum }, count);
                }
            }
        }
    }
}

/// Apart from what becomes of them: the compiler then keeps them in registers.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn sums<K: Kind, S: Simd, const ROWS: usize, const VECTORS: usize>(
    s: S,
    depth: usize,
    left: Left,
    right: Right,
    target: &Target,
    wishes: &mut impl Wishes,
) -> [[S::F; VECTORS]; ROWS] {
    let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
    let (mut from, mut to) = (left.data, right.data);
    for step in 0..depth {
        // The result may be far away: it comes nearer meanwhile, a row with each step, so that other wishes need not wait.
        if step < ROWS {
            for v in 0..(VECTORS * S::LANES).div_ceil(LINE) {
                ahead(target.data.wrapping_add(step * target.stride + v * LINE));
            }
        }
        wishes.line();
        let mut row = [s.splat(0.0); VECTORS];
        // SAFETY: the caller's promises.
        unsafe {
            for (v, x) in row.iter_mut().enumerate() {
                *x = s.load(to.add(v * S::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = s.splat(*from.add(i * left.row));
                for v in 0..VECTORS {
                    sums[v] = K::dot(s, x, row[v], sums[v]);
                }
            }
        }
        from = from.wrapping_add(left.step);
        to = to.wrapping_add(right.stride);
    }
    sums
}
