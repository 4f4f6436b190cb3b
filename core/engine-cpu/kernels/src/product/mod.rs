//! Matrix products: `c[m, n] = a[m, k] b[k, n]`, each side in any of the ways in which a graph lays it out.
//!
//! After Goto & van de Geijn 2008: the right side is packed into panels as wide as a tile, blocks of the left side stay in the
//! second cache, and tiles hold their sums in registers. Three drivers cut the work. *Tall* products have many rows (a layer's
//! tokens): all of the right side is packed once, and threads take blocks of rows, which do not depend on each other. *Low* ones
//! have few: threads share columns too, and each packs a panel of the right side just before it is used. *Deep* products contract
//! the tokens away (a weight's gradient): as low ones, but where the result is small, the contraction is cut into pieces by shape
//! alone, and their sums are added in order.
//!
//! Sides stand in memory as `f32` or as bfloat16; [`Factors`] says whether `f32` is rounded to bfloat16 on its way into packed blocks.

mod ahead;
mod deep;
mod pack;
mod part;
mod tall;

use std::marker::PhantomData;

use rayon::prelude::*;
pub use tall::Finish;

pub use crate::factors::Factors;
use crate::{
    factors::{Exact, Kind, Rounded},
    numbers::Numbers,
    shared::SharedMut,
    simd::{Isa, Kernel, Simd},
};

/// Where the rows of a matrix begin in its slice.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// Row i at `i * stride`.
    Every(usize),
    /// Row i at the i-th offset.
    At(&'a [u32]),
}

impl Rows<'_> {
    #[inline(always)]
    pub fn start(&self, row: usize) -> usize {
        match self {
            Rows::Every(stride) => row * stride,
            Rows::At(offsets) => offsets[row] as usize,
        }
    }

    /// One more than the greatest start of the first `count` rows; 0 where there are none.
    pub(crate) fn end(&self, count: usize) -> usize {
        match self {
            Rows::Every(_) if count == 0 => 0,
            Rows::Every(stride) => (count - 1) * stride + 1,
            Rows::At(offsets) => offsets[..count].iter().max().map_or(0, |&o| o as usize + 1),
        }
    }
}

/// Which of a side's two axes its rows run along. The other one is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The axis that the result keeps: `a[m][k]`, `b[n][k]`.
    Kept,
    /// The axis that is summed over: `a[k][m]`, `b[k][n]`.
    Contracted,
}

/// One side of a product.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    pub data: Numbers<'a>,
    pub rows: Rows<'a>,
    pub along: Along,
}

impl Side<'_> {
    fn check(&self, kept: usize, contracted: usize, name: &str) {
        let (rows, columns) = match self.along {
            Along::Kept => (kept, contracted),
            Along::Contracted => (contracted, kept),
        };
        let end = self.rows.end(rows);
        assert!(
            end == 0 || columns == 0 || end - 1 + columns <= self.data.len(),
            "{name}: {rows} rows of {columns} do not lie within {} elements",
            self.data.len()
        );
    }
}

/// The sizes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Size {
    pub fn flops(self) -> u64 {
        2 * self.m as u64 * self.n as u64 * self.k as u64
    }
}

/// `c = a b` (`+ bias` to each row, `+ c` where `add`), all of it: `c` is dense.
///
/// # Panics
/// When a side does not lie within its slice, or `c` has another size.
#[allow(clippy::too_many_arguments, reason = "they are what a product is")]
pub fn multiply(
    isa: Isa,
    factors: Factors,
    size: Size,
    a: Side<'_>,
    b: Side<'_>,
    bias: Option<&[f32]>,
    add: bool,
    c: &mut [f32],
) {
    check(size, a, b, bias);
    assert_eq!(c.len(), size.m * size.n, "the result has another size");
    let driver = if bias.is_none() && is_deep(size) { Driver::Deep } else { driver(size) };
    run(isa, factors, driver, &Job { size, a, b, bias, add, c: Some(SharedMut::new(c)), finish: None });
}

/// As [`multiply`] with a bias; each block of rows is handed on as soon as it is there, still in the cache. Without `c` the rows are
/// kept nowhere else.
///
/// # Panics
/// When a side does not lie within its slice, or `c` has another size.
#[allow(clippy::too_many_arguments, reason = "as above")]
pub fn multiply_then(
    isa: Isa,
    factors: Factors,
    size: Size,
    a: Side<'_>,
    b: Side<'_>,
    bias: Option<&[f32]>,
    c: Option<SharedMut<'_, f32>>,
    finish: Finish<'_>,
) {
    check(size, a, b, bias);
    if let Some(c) = &c {
        assert_eq!(c.len(), size.m * size.n, "the result has another size");
    }
    // What follows wants whole rows while they are near: blocks of rows give them, columns that are shared only at the end.
    let driver = if size.m <= part::LOW / 4 { Driver::Low } else { Driver::Tall };
    run(isa, factors, driver, &Job { size, a, b, bias, add: false, c, finish: Some(finish) });
}

/// Products of one size, `c[i] = a_i b_i`, each on one thread.
///
/// # Panics
/// When a side does not lie within its slice, or `c` has another size.
pub fn multiply_many<'a>(
    isa: Isa,
    factors: Factors,
    size: Size,
    count: usize,
    sides: impl Fn(usize) -> (Side<'a>, Side<'a>) + Sync,
    c: &mut [f32],
) {
    assert_eq!(c.len(), count * size.m * size.n, "the result has another size");
    c.par_chunks_mut((size.m * size.n).max(1)).enumerate().for_each(|(i, c)| {
        let (a, b) = sides(i);
        check(size, a, b, None);
        let c = Some(SharedMut::new(c));
        run(isa, factors, Driver::Alone, &Job { size, a, b, bias: None, add: false, c, finish: None });
    });
}

fn check(size: Size, a: Side<'_>, b: Side<'_>, bias: Option<&[f32]>) {
    a.check(size.m, size.k, "the left side");
    b.check(size.n, size.k, "the right side");
    if let Some(bias) = bias {
        assert_eq!(bias.len(), size.n, "the bias has another size");
    }
}

/// Whether the contraction is so much longer than the result that it is worth cutting.
fn is_deep(size: Size) -> bool {
    size.k >= 2 * size.m.max(size.n) && size.k >= 2 * part::DEPTH
}

/// For a product that is not deep.
fn driver(size: Size) -> Driver {
    if size.m <= part::LOW { Driver::Low } else { Driver::Tall }
}

struct Job<'a> {
    size: Size,
    a: Side<'a>,
    b: Side<'a>,
    bias: Option<&'a [f32]>,
    add: bool,
    c: Option<SharedMut<'a, f32>>,
    finish: Option<Finish<'a>>,
}

#[derive(Clone, Copy)]
enum Driver {
    Tall,
    /// Tall, on the thread that asks.
    Alone,
    /// Few rows.
    Low,
    /// There is a result to write to, and no bias.
    Deep,
}

fn run(isa: Isa, factors: Factors, driver: Driver, job: &Job<'_>) {
    match factors {
        Factors::F32 => isa.run(Work { job, driver, kind: PhantomData::<Exact> }),
        Factors::Bf16 => isa.run(Work { job, driver, kind: PhantomData::<Rounded> }),
    }
}

struct Work<'a, K> {
    job: &'a Job<'a>,
    driver: Driver,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Work<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (self.driver, self.job.c) {
            (Driver::Deep, Some(c)) => deep::multiply::<K, S>(self.job, c),
            (Driver::Low, _) => part::multiply_then::<K, S>(self.job),
            (Driver::Alone, _) => tall::multiply_alone::<K, S>(s, self.job),
            _ => tall::multiply::<K, S>(self.job),
        }
    }
}

#[cfg(test)]
mod tests;
