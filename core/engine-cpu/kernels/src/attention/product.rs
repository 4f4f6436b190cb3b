//! Products of packed pieces. The tiles are those of [`crate::tile`], but more shapes of them: the matrices here are so small that
//! a tile of few rows at the end would cost what the others gain.

use std::marker::PhantomData;

use super::pack::{self, Source};
use crate::{
    factors::Kind,
    simd::{Kernel, Simd},
    tile::{Left, Right},
};

/// Columns of q, k or v that are packed at once: a wider matrix (the transposed attention of El-Nouby et al. 2021) goes by in pieces.
pub const WIDTH: usize = 256;

/// The pieces of an axis, at most [`WIDTH`] long: where they begin, and how long they are. There is one even of an axis of length 0,
/// for a product over it is not nothing, but 0.
#[inline(always)]
fn pieces(width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..width.max(1)).step_by(WIDTH).map(move |from| (from, WIDTH.min(width - from)))
}

/// Room for the sides of a product, packed.
pub struct Packed<'a> {
    /// The right side.
    pub right: &'a mut [f32],
    /// Words of a side whose factors are rounded, before they are turned; and those of the left side. Empty for exact factors.
    pub words: &'a mut [f32],
}

/// What [`Packed::words`] must hold for products of matrices of so many rows and columns; rows and columns may change places.
pub fn words_room<K: Kind, S: Simd>(rows: usize, columns: usize) -> usize {
    let (rows, columns) = (rows.next_multiple_of(2), columns.next_multiple_of(2));
    if K::BF16 { (rows * pack::stride::<S>(columns)).max(columns * pack::stride::<S>(rows)) } else { 0 }
}

/// `factor * a b^T` to `to`, rows of whole vectors [`pack::stride`] apart.
///
/// # Safety
/// Both sides are valid; `packed` has room for `b`, and for the words of either side, `to` for the product. What is packed of the right
/// side is as the last call for this `b` left it, unless `fresh`.
#[inline(always)]
pub unsafe fn outer<K: Kind, S: Simd>(
    s: S,
    factor: f32,
    a: Source,
    b: Source,
    fresh: bool,
    packed: Packed<'_>,
    to: &mut [f32],
) {
    let stride = pack::stride::<S>(b.rows);
    let extent = Extent { rows: a.rows, columns: b.rows.next_multiple_of(S::LANES), depth: 0 };
    let Packed { right, words } = packed;
    let again = fresh || b.columns > WIDTH;
    for (from, depth) in pieces(b.columns) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut a = Source { data: a.data.add(from), columns: depth, ..a };
            let mut b = Source { data: b.data.add(from), columns: depth, ..b };
            let right = if again {
                if K::BF16 {
                    b = pack::words_along::<K, S>(s, b, words.as_mut_ptr());
                }
                pack::transpose(s, b, right.as_mut_ptr())
            } else {
                Right { data: right.as_ptr(), stride }
            };
            if K::BF16 {
                a = pack::words_along::<K, S>(s, a, words.as_mut_ptr());
            }
            let left = Left { data: a.data.plain(), row: a.stride, step: 1 };
            let target = Target { data: to.as_mut_ptr(), stride, factors: &factor, factor_step: 0, add: from > 0 };
            multiply::<K, S>(s, Extent { depth: K::words::<S>(depth), ..extent }, left, right, target);
        }
    }
}

/// The left side of [`contract`].
#[derive(Clone, Copy)]
pub enum Lefts {
    /// The matrix.
    Plain(Source),
    /// The matrix with its axes exchanged.
    Turned(Source),
}

/// `left right` to `target`, contracting the rows of `right`.
///
/// # Safety
/// As for [`outer`].
#[inline(always)]
pub unsafe fn contract<K: Kind, S: Simd>(
    s: S,
    left: Lefts,
    right: Source,
    fresh: bool,
    packed: Packed<'_>,
    target: Target,
) {
    let Packed { right: to, words } = packed;
    // SAFETY: the caller's promises.
    let (left, rows) = unsafe {
        match left {
            Lefts::Plain(m) => {
                let words = if K::BF16 { pack::words_along::<K, S>(s, m, words.as_mut_ptr()) } else { m };
                (Left { data: words.data.plain(), row: words.stride, step: 1 }, m.rows)
            }
            Lefts::Turned(m) => {
                let (data, stride) = match K::BF16 {
                    true => {
                        let words = pack::words_across::<K, S>(s, m, words.as_mut_ptr());
                        (words.data, words.stride)
                    }
                    false => (m.data.plain(), m.stride),
                };
                (Left { data, row: 1, step: stride }, m.columns)
            }
        }
    };
    for (from, columns) in pieces(right.columns) {
        // SAFETY: the caller's promises.
        unsafe {
            let piece = Source { data: right.data.add(from), columns, ..right };
            let packed = match fresh || right.columns > WIDTH {
                true if K::BF16 => pack::words_across::<K, S>(s, piece, to.as_mut_ptr()),
                true => pack::copy(s, piece, to.as_mut_ptr()),
                false => Right { data: to.as_ptr(), stride: pack::stride::<S>(columns) },
            };
            let target = Target { data: target.data.add(from), ..target };
            multiply::<K, S>(s, Extent { rows, columns, depth: K::words::<S>(right.rows) }, left, packed, target);
        }
    }
}

/// Where sums go.
#[derive(Clone, Copy)]
pub struct Target {
    pub data: *mut f32,
    pub stride: usize,
    /// Row i is multiplied with the number at `factors + i * factor_step`.
    pub factors: *const f32,
    pub factor_step: usize,
    /// Added to what stands there, instead of replacing it.
    pub add: bool,
}

/// `rows` by `columns`, contracting `depth`.
#[derive(Clone, Copy)]
struct Extent {
    rows: usize,
    columns: usize,
    depth: usize,
}

/// `target = factor * left right`, in words: see [`Kind`].
///
/// # Safety
/// `left` is valid for `rows` rows and `depth` steps, `right` for `depth` rows of `columns` rounded up to whole vectors, `target` for
/// `rows` rows of `columns`, its factors for each row. Nobody else touches the target meanwhile.
#[inline(always)]
unsafe fn multiply<K: Kind, S: Simd>(_: S, extent: Extent, left: Left, right: Right, target: Target) {
    // A function of its own, once for each instruction set: the tiles are long.
    S::ISA.run(Multiply::<K> { extent, left, right, target, kind: PhantomData });
}

/// The promises of [`multiply`] hold for its fields.
struct Multiply<K> {
    extent: Extent,
    left: Left,
    right: Right,
    target: Target,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Multiply<K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Multiply { extent: Extent { rows, columns, depth }, left, right, target, .. } = self;
        if rows == 0 || columns == 0 {
            return;
        }
        let vectors = columns.div_ceil(S::LANES);
        let panels = vectors.div_ceil(most_vectors::<S>());
        let mut vector = 0;
        for panel in 0..panels {
            let width = share(vectors, panels, panel);
            let column = vector * S::LANES;
            let columns = (width * S::LANES).min(columns - column);
            let tiles = rows.div_ceil(most_rows::<S>(width));
            let mut row = 0;
            for tile in 0..tiles {
                let height = share(rows, tiles, tile);
                // SAFETY: rows and columns of the extent.
                unsafe {
                    let left = Left { data: left.data.add(row * left.row), ..left };
                    let right = Right { data: right.data.add(column), ..right };
                    let target = Target {
                        data: target.data.add(row * target.stride + column),
                        factors: target.factors.add(row * target.factor_step),
                        ..target
                    };
                    any_tile::<K, S>(s, (height, width), (columns, depth), left, right, target);
                }
                row += height;
            }
            vector += width;
        }
    }
}

/// The size of part `index` where `whole` is cut into `parts` that differ by one at most.
#[inline(always)]
fn share(whole: usize, parts: usize, index: usize) -> usize {
    whole / parts + usize::from(index < whole % parts)
}

/// Vectors of columns of a tile, at most.
#[inline(always)]
fn most_vectors<S: Simd>() -> usize {
    match S::REGISTERS {
        32 => 4,
        16 => 2,
        _ => 1,
    }
}

/// Rows of a tile of so many vectors, at most: sums, a vector for each column and one for the left side's number fill the registers.
#[inline(always)]
fn most_rows<S: Simd>(vectors: usize) -> usize {
    match (S::REGISTERS, vectors) {
        (32, 4) => 6,
        (32, 3) => 9,
        (32, 2) => 14,
        (32, _) => 14,
        (16, 2) => 6,
        (16, _) => 8,
        _ => 4,
    }
}

/// # Safety
/// As for [`multiply`], for a tile's rows and columns.
#[inline(always)]
unsafe fn any_tile<K: Kind, S: Simd>(
    s: S,
    size: (usize, usize),
    extent: (usize, usize),
    left: Left,
    right: Right,
    target: Target,
) {
    let (rows, vectors) = size;
    macro_rules! tiles {
        ($vectors:literal: $($rows:literal)*) => {
            match rows {
                // SAFETY: the caller's promises.
                $($rows => unsafe { tile::<K, S, $rows, $vectors>(s, extent, left, right, target) },)*
                _ => unreachable!("no tile has as many rows"),
            }
        };
    }
    match (S::REGISTERS, vectors) {
        (32, 4) => tiles!(4: 1 2 3 4 5 6),
        (32, 3) => tiles!(3: 1 2 3 4 5 6 7 8 9),
        (32, 2) => tiles!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        (32, 1) => tiles!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        (16, 2) => tiles!(2: 1 2 3 4 5 6),
        (16, 1) => tiles!(1: 1 2 3 4 5 6 7 8),
        (8, 1) => tiles!(1: 1 2 3 4),
        _ => unreachable!("no tile has as many vectors"),
    }
}

/// # Safety
/// As for [`multiply`].
#[inline(always)]
unsafe fn tile<K: Kind, S: Simd, const ROWS: usize, const VECTORS: usize>(
    s: S,
    extent: (usize, usize),
    left: Left,
    right: Right,
    target: Target,
) {
    let (columns, depth) = extent;
    let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
    // SAFETY: the caller's promises.
    unsafe {
        let (mut from, mut to) = (left.data, right.data);
        for _ in 0..depth {
            let mut row = [s.splat(0.0); VECTORS];
            for (v, x) in row.iter_mut().enumerate() {
                *x = s.load(to.add(v * S::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = s.splat(*from.add(i * left.row));
                for v in 0..VECTORS {
                    sums[v] = K::dot(s, x, row[v], sums[v]);
                }
            }
            from = from.wrapping_add(left.step);
            to = to.wrapping_add(right.stride);
        }
        match (target.add, columns == VECTORS * S::LANES) {
            (false, true) => finish::<S, ROWS, VECTORS, false, true>(s, &sums, columns, target),
            (false, false) => finish::<S, ROWS, VECTORS, false, false>(s, &sums, columns, target),
            (true, true) => finish::<S, ROWS, VECTORS, true, true>(s, &sums, columns, target),
            (true, false) => finish::<S, ROWS, VECTORS, true, false>(s, &sums, columns, target),
        }
    }
}

/// Sums to where they go. What may vary does so outside of the loops: only then do they unroll, and sums stay in registers.
///
/// # Safety
/// As for [`multiply`]; all vectors but the last are whole, and that one too where `WHOLE`.
#[inline(always)]
unsafe fn finish<S: Simd, const ROWS: usize, const VECTORS: usize, const ADD: bool, const WHOLE: bool>(
    s: S,
    sums: &[[S::F; VECTORS]; ROWS],
    columns: usize,
    target: Target,
) {
    let last = VECTORS - 1;
    let count = columns - last * S::LANES;
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promises.
        unsafe {
            let factor = s.splat(*target.factors.add(i * target.factor_step));
            let row = target.data.add(i * target.stride);
            for (v, &sum) in sums[..last].iter().enumerate() {
                let at = row.add(v * S::LANES);
                s.store(at, if ADD { s.fma(sum, factor, s.load(at)) } else { s.mul(sum, factor) });
            }
            let (at, sum) = (row.add(last * S::LANES), sums[last]);
            if WHOLE {
                s.store(at, if ADD { s.fma(sum, factor, s.load(at)) } else { s.mul(sum, factor) });
            } else {
                let sum = if ADD { s.fma(sum, factor, s.load_first(at, count)) } else { s.mul(sum, factor) };
                s.store_first(at, sum, count);
            }
        }
    }
}
