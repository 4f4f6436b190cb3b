//! Scaled dot-product attention (Vaswani et al. 2017), `softmax(scale * q k^T + bias) v`, and its gradients.
//!
//! Each matrix of queries is one small problem: its scores never leave the cache. A block of query rows is multiplied with all keys,
//! the softmax is taken of whole rows where they stand, and what results is multiplied with the values. The gradient computes the
//! probabilities anew (as Dao et al. 2022 do), so that nothing is kept between the two passes.

mod ahead;
mod backward;
mod forward;
mod gradient;
mod heads;
mod pack;
mod product;
mod softmax;

pub use heads::{Heads, HeadsMut};

use pack::Source;

use crate::{
    factors::{Exact, Factors, Rounded},
    numbers::Numbers,
    simd::Isa,
};

/// The sizes of an attention: `count` independent ones of `queries` rows and `keys` columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Matrices: batch, windows and heads together.
    pub count: usize,
    /// Rows of q and of the result.
    pub queries: usize,
    /// Rows of k and of v.
    pub keys: usize,
    /// Columns of q and of k.
    pub width: usize,
    /// Columns of v and of the result.
    pub value_width: usize,
}

impl Shape {
    /// Operations of the two products forward; the gradient has five of them.
    pub fn flops(self) -> u64 {
        2 * (self.count * self.queries * self.keys) as u64 * (self.width + self.value_width) as u64
    }
}

/// `out_i = softmax(scale * q_i k_i^T + bias_i) v_i` for each of `shape.count` matrices: q is `[queries, width]`, k `[keys, width]`,
/// v `[keys, value_width]`, bias `[queries, keys]`, out `[queries, value_width]`.
///
/// Of factors that are rounded, so are the exponentials before they meet v, and in the gradient the probabilities and their gradients;
/// the softmax itself is of `f32`.
///
/// Matrices may stand in bfloat16, but for the bias: of factors only those that are rounded, of results any.
///
/// A bias of -infinity excludes a key; a row without any other key is NaN, as it is in the formula.
///
/// # Panics
/// When a matrix does not lie within its slice, there are not `count` of each, matrices of the result overlap, or factors that are not
/// rounded stand in bfloat16.
#[allow(clippy::too_many_arguments, reason = "the operands of the operation")]
pub fn forward(
    isa: Isa,
    factors: Factors,
    shape: Shape,
    scale: f32,
    q: Heads<'_>,
    k: Heads<'_>,
    v: Heads<'_>,
    bias: Option<Heads<'_>>,
    out: HeadsMut<'_>,
) {
    check_factors(factors, &[q, k, v]);
    let inputs = Inputs::new(shape, scale, q, k, v, bias);
    out.check(shape.count, shape.queries, shape.value_width, "out");
    match factors {
        Factors::F32 => forward::run::<Exact>(isa, &inputs, &out),
        Factors::Bf16 => forward::run::<Rounded>(isa, &inputs, &out),
    }
}

/// What is wanted of a gradient; each matrix that is named is overwritten.
#[derive(Debug, Default)]
pub struct Gradients<'a> {
    /// `[queries, width]`.
    pub q: Option<HeadsMut<'a>>,
    /// `[keys, width]`.
    pub k: Option<HeadsMut<'a>>,
    /// `[keys, value_width]`.
    pub v: Option<HeadsMut<'a>>,
    /// `[queries, keys]`.
    pub bias: Option<BiasGradient<'a>>,
}

/// The gradient of the bias: matrices `[queries, keys]`, as many starts as there are attentions. Those that share a start are summed.
#[derive(Debug)]
pub struct BiasGradient<'a> {
    pub data: &'a mut [f32],
    pub starts: &'a [u32],
    pub stride: usize,
}

/// The gradients of [`forward`]: with `p = softmax(..)` and `ds = p * (g v^T - rowsum(p * g v^T))`, they are `dq = scale * ds k`,
/// `dk = scale * ds^T q`, `dv = p^T g` and `dbias = ds`.
///
/// # Panics
/// As [`forward`].
#[allow(clippy::too_many_arguments, reason = "the operands of the operation")]
pub fn backward(
    isa: Isa,
    factors: Factors,
    shape: Shape,
    scale: f32,
    q: Heads<'_>,
    k: Heads<'_>,
    v: Heads<'_>,
    bias: Option<Heads<'_>>,
    grad_out: Heads<'_>,
    gradients: Gradients<'_>,
) {
    check_factors(factors, &[q, k, v, grad_out]);
    let inputs = Inputs::new(shape, scale, q, k, v, bias);
    let Shape { count, queries, keys, width, value_width } = shape;
    grad_out.check(count, queries, value_width, "the gradient of out");
    for (heads, rows, columns, name) in [
        (&gradients.q, queries, width, "dq"),
        (&gradients.k, keys, width, "dk"),
        (&gradients.v, keys, value_width, "dv"),
    ] {
        if let Some(heads) = heads {
            heads.check(count, rows, columns, name);
        }
    }
    match factors {
        Factors::F32 => backward::run::<Exact>(isa, &inputs, grad_out, gradients),
        Factors::Bf16 => backward::run::<Rounded>(isa, &inputs, grad_out, gradients),
    }
}

/// # Panics
/// When factors that are not rounded stand in bfloat16.
fn check_factors(factors: Factors, heads: &[Heads<'_>]) {
    let rounded = heads.iter().any(|heads| matches!(heads.data, Numbers::Bf16(_)));
    assert!(!rounded || factors == Factors::Bf16, "matrices in bfloat16 want factors that are rounded");
}

/// Operands that have been checked.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    shape: Shape,
    scale: f32,
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    bias: Option<Heads<'a>>,
}

impl<'a> Inputs<'a> {
    fn new(shape: Shape, scale: f32, q: Heads<'a>, k: Heads<'a>, v: Heads<'a>, bias: Option<Heads<'a>>) -> Inputs<'a> {
        let Shape { count, queries, keys, width, value_width } = shape;
        q.check(count, queries, width, "q");
        k.check(count, keys, width, "k");
        v.check(count, keys, value_width, "v");
        if let Some(bias) = bias {
            bias.check(count, queries, keys, "bias");
            assert!(matches!(bias.data, Numbers::F32(_)), "the bias is f32");
        }
        Inputs { shape, scale, q, k, v, bias }
    }

    /// Rows of the queries of a matrix.
    ///
    /// # Safety
    /// There are this matrix and these rows.
    #[inline(always)]
    unsafe fn queries(&self, index: usize, first: usize, rows: usize) -> Source {
        // SAFETY: the matrix has been checked; the caller's promise.
        unsafe { self.q.rows(index, (first, rows), self.shape.width) }
    }

    /// # Safety
    /// There is this matrix.
    #[inline(always)]
    unsafe fn keys(&self, index: usize) -> Source {
        // SAFETY: the matrix has been checked; the caller's promise.
        unsafe { self.k.rows(index, (0, self.shape.keys), self.shape.width) }
    }

    /// # Safety
    /// There is this matrix.
    #[inline(always)]
    unsafe fn values(&self, index: usize) -> Source {
        // SAFETY: the matrix has been checked; the caller's promise.
        unsafe { self.v.rows(index, (0, self.shape.keys), self.shape.value_width) }
    }

    /// A row of the bias of a matrix; null where there is none.
    ///
    /// # Safety
    /// There are this matrix and this row.
    #[inline(always)]
    unsafe fn bias_row(&self, index: usize, row: usize) -> *const f32 {
        match &self.bias {
            // SAFETY: the matrix has been checked; the caller's promise.
            Some(bias) => unsafe { bias.row(index, row) }.plain(),
            None => std::ptr::null(),
        }
    }
}

/// Query rows that are taken at once: their scores fill a part of the second cache.
fn block_rows(shape: Shape) -> usize {
    const SCORES: usize = 16 << 10;
    let most = (SCORES / shape.keys.max(1)).clamp(16, 256);
    shape.queries.div_ceil(shape.queries.div_ceil(most).max(1)).max(1)
}

#[cfg(test)]
mod halves;
#[cfg(test)]
mod tests;
