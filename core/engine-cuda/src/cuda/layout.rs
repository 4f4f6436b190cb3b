//! A product as cublasLt sees it, which knows matrices by columns.
//!
//! A row-major matrix in memory is the column-major one of its transpose. So `c = a b` by rows is `cᵀ = bᵀ aᵀ` by columns, over the
//! same memory: b is cublasLt's first factor (`x` here), a its second (`y`), c with m and n exchanged its result (`d`). With this
//! * a bias of n numbers, added to each row of c, has a number for each row of d: `CUBLASLT_EPILOGUE_BIAS`;
//! * the sum of each of a's m rows has a number for each column of d and runs over k: `CUBLASLT_EPILOGUE_BGRADB`, which reduces the
//!   second factor (`BGRADA` reduces the first).
//!
//! cublasLt also has an epilogue called GELU. It is the tanh approximation, and a graph's `gelu` is exact, so it is not used.

use std::fmt;

use crate::{
    Element,
    device::{Address, DeviceError, MatMul, Math, Matrix, Result},
};

/// A matrix by columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Columns {
    pub element: Element,
    pub rows: u64,
    pub columns: u64,
    /// Elements from one column to the next.
    pub leading: i64,
    pub batch_stride: i64,
    /// Whether the product takes its transpose.
    pub transposed: bool,
    /// Bytes that the address is a multiple of, at most 256.
    pub aligned: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Epilogue {
    None,
    /// Adds a number to each row of `d`.
    Bias,
    /// Gives the sums of `y` over k.
    SumsOfY,
}

/// All that decides how a product is computed: products of one shape share a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub x: Columns,
    pub y: Columns,
    pub d: Columns,
    pub batch: i32,
    pub epilogue: Epilogue,
    pub math: Math,
}

/// Where its operands lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub x: Address,
    pub y: Address,
    pub d: Address,
    /// Of the bias, or where the sums go.
    pub vector: Option<Address>,
}

/// A product by columns.
///
/// # Errors
/// [`DeviceError::Failed`] for what cublasLt cannot do or the contract of [`MatMul`] excludes.
pub(super) fn by_columns(product: &MatMul<Address>) -> Result<(Shape, Places)> {
    let MatMul { m, n, k, batch, a, b, c, bias, row_sums, math } = product;
    let refuse = |why: &str| Err(DeviceError::Failed { what: described(product), why: why.to_owned() });
    if [m, n, k, batch].into_iter().any(|side| *side == 0) {
        return refuse("nothing is to be multiplied");
    }
    if a.element != b.element || !a.element.is_float() || !(c.element == a.element || c.element == Element::F32) {
        return refuse("factors must both be float or both bf16, the result theirs or float");
    }
    if c.transposed {
        return refuse("the result cannot stand transposed");
    }
    if (bias.is_some() || row_sums.is_some()) && *batch != 1 {
        return refuse("a bias and sums of rows go with a batch of one");
    }
    if row_sums.is_some() && !a.transposed {
        return refuse("sums of rows need a first factor that stands transposed");
    }
    let (epilogue, vector) = match (bias, row_sums) {
        (Some(_), Some(_)) => return refuse("it has a bias and sums of rows; one goes at a time"),
        (Some(bias), None) => (Epilogue::Bias, Some(*bias)),
        (None, Some(sums)) => (Epilogue::SumsOfY, Some(*sums)),
        (None, None) => (Epilogue::None, None),
    };
    let Ok(count) = i32::try_from(*batch) else { return refuse("the batch is too large") };
    let shape = Shape {
        x: columns(b, *k, *n),
        y: columns(a, *m, *k),
        d: columns(c, *m, *n),
        batch: count,
        epilogue,
        math: *math,
    };
    Ok((shape, Places { x: start(b), y: start(a), d: start(c), vector }))
}

/// A matrix of these rows and columns, by columns.
fn columns(matrix: &Matrix<Address>, rows: usize, columns: usize) -> Columns {
    // As it stands in memory: a row there is a column here.
    let (lines, length) = if matrix.transposed { (columns, rows) } else { (rows, columns) };
    Columns {
        element: matrix.element,
        rows: length as u64,
        columns: lines as u64,
        // A single line may come with any stride; cublasLt wants one that it could have.
        leading: if lines == 1 { matrix.stride.max(length) } else { matrix.stride } as i64,
        batch_stride: matrix.batch_stride as i64,
        transposed: matrix.transposed,
        aligned: aligned(start(matrix)),
    }
}

fn start(matrix: &Matrix<Address>) -> Address {
    matrix.place + matrix.offset as u64
}

/// The largest power of two, up to 256, that divides an address.
fn aligned(address: Address) -> u32 {
    1 << address.trailing_zeros().min(8)
}

/// A product in words, for errors.
pub(super) fn described(product: &MatMul<Address>) -> String {
    let MatMul { m, n, k, batch, a, b, c, bias, row_sums, .. } = product;
    let turned = |matrix: &Matrix<Address>| if matrix.transposed { " transposed" } else { "" };
    let (a_turned, b_turned) = (turned(a), turned(b));
    let mut text =
        format!("the product [{m}, {k}]{a_turned} x [{k}, {n}]{b_turned}, {} to {}", a.element.c(), c.element.c());
    if *batch != 1 {
        text += &format!(", {batch} times");
    }
    if bias.is_some() {
        text += ", with a bias";
    }
    if row_sums.is_some() {
        text += ", with sums of rows";
    }
    text
}

impl fmt::Display for Shape {
    /// By columns, as cublasLt was asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |c: &Columns| {
            let turned = if c.transposed { "T" } else { "N" };
            format!("{}x{} {turned} ld {} {} aligned {}", c.rows, c.columns, c.leading, c.element.c(), c.aligned)
        };
        let Shape { x, y, d, batch, epilogue, math } = self;
        write!(f, "A {}, B {}, D {}, batch {batch}, epilogue {epilogue:?}, {math:?}", one(x), one(y), one(d))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(place: Address, transposed: bool, stride: usize) -> Matrix<Address> {
        Matrix { place, offset: 0, element: Element::F32, transposed, stride, batch_stride: 0 }
    }

    fn product(a: (bool, usize), b: (bool, usize)) -> MatMul<Address> {
        MatMul {
            m: 3,
            n: 5,
            k: 7,
            batch: 1,
            a: matrix(1 << 12, a.0, a.1),
            b: matrix(2 << 12, b.0, b.1),
            c: matrix(3 << 12, false, 9),
            bias: None,
            row_sums: None,
            math: Math::Exact,
        }
    }

    /// What a library that knows columns computes from the mapping, over plain memory.
    fn multiply(shape: &Shape, x: &[f32], y: &[f32], d: &mut [f32], vector: &mut [f32]) {
        let at = |c: &Columns, row: u64, column: u64| {
            let (r, c_) = if c.transposed { (column, row) } else { (row, column) };
            assert!(r < c.rows && c_ < c.columns, "outside of {c:?}");
            (r + c_ * c.leading as u64) as usize
        };
        let k = if shape.x.transposed { shape.x.rows } else { shape.x.columns };
        for i in 0..shape.d.rows {
            for j in 0..shape.d.columns {
                let terms = (0..k).map(|l| x[at(&shape.x, i, l)] * y[at(&shape.y, l, j)]);
                let bias = if shape.epilogue == Epilogue::Bias { vector[i as usize] } else { 0.0 };
                d[at(&shape.d, i, j)] = terms.sum::<f32>() + bias;
            }
        }
        if shape.epilogue == Epilogue::SumsOfY {
            for j in 0..shape.d.columns {
                vector[j as usize] = (0..k).map(|l| y[at(&shape.y, l, j)]).sum();
            }
        }
    }

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 17) as f32 - 8.0).collect()
    }

    #[test]
    fn every_transposition_means_the_row_major_product() {
        let (m, n, k) = (3, 5, 7);
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            // Strides beyond the rows, so that a confusion of sides shows.
            let (sa, sb) = (if ta { m + 2 } else { k + 1 }, if tb { k + 3 } else { n + 4 });
            let (a, b) = (numbers(sa * 8, 1), numbers(sb * 8, 2));
            let of_a = |i: usize, l: usize| if ta { a[l * sa + i] } else { a[i * sa + l] };
            let of_b = |l: usize, j: usize| if tb { b[j * sb + l] } else { b[l * sb + j] };
            for epilogue in [Epilogue::None, Epilogue::Bias, Epilogue::SumsOfY] {
                let mut product = product((ta, sa), (tb, sb));
                match epilogue {
                    Epilogue::None => {}
                    Epilogue::Bias => product.bias = Some(4 << 12),
                    Epilogue::SumsOfY if ta => product.row_sums = Some(4 << 12),
                    Epilogue::SumsOfY => continue,
                }
                let (shape, places) = by_columns(&product).expect("a product that can be");
                assert_eq!((places.x, places.y, places.d), (2 << 12, 1 << 12, 3 << 12));
                assert_eq!(places.vector.is_some(), epilogue != Epilogue::None);
                let (mut c, mut vector) = (vec![0.0; 9 * m], numbers(n.max(m), 3));
                let bias = vector.clone();
                multiply(&shape, &b, &a, &mut c, &mut vector);
                for i in 0..m {
                    for j in 0..n {
                        let add = if epilogue == Epilogue::Bias { bias[j] } else { 0.0 };
                        let want: f32 = (0..k).map(|l| of_a(i, l) * of_b(l, j)).sum::<f32>() + add;
                        assert_eq!(c[i * 9 + j], want, "{ta} {tb} {epilogue:?} at {i}, {j}");
                    }
                    if epilogue == Epilogue::SumsOfY {
                        assert_eq!(vector[i], (0..k).map(|l| of_a(i, l)).sum::<f32>(), "sum of row {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn offsets_move_addresses_and_what_they_are_multiples_of() {
        let mut product = product((false, 7), (false, 5));
        product.a.offset = 48;
        let (shape, places) = by_columns(&product).expect("a product that can be");
        assert_eq!((places.y, shape.y.aligned), ((1 << 12) + 48, 16));
        assert_eq!((shape.x.aligned, shape.d.aligned), (256, 256));
        product.a.offset = 2;
        assert_eq!(by_columns(&product).expect("a product that can be").0.y.aligned, 2);
    }

    #[test]
    fn a_batch_keeps_its_strides() {
        let mut product = product((false, 7), (false, 5));
        product.batch = 4;
        (product.a.batch_stride, product.b.batch_stride, product.c.batch_stride) = (21, 0, 27);
        let (shape, _) = by_columns(&product).expect("a product that can be");
        assert_eq!((shape.batch, shape.y.batch_stride, shape.x.batch_stride, shape.d.batch_stride), (4, 21, 0, 27));
    }

    #[test]
    fn a_single_row_may_have_any_stride() {
        let mut product = product((false, 1), (false, 5));
        product.m = 1;
        assert_eq!(by_columns(&product).expect("a product that can be").0.y.leading, 7);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_shape() {
        let said = |change: &dyn Fn(&mut MatMul<Address>)| {
            let mut product = product((false, 7), (true, 7));
            change(&mut product);
            by_columns(&product).expect_err("must be refused").to_string()
        };
        assert_eq!(
            said(&|p| p.n = 0),
            "the product [3, 7] x [7, 0] transposed, float to float: nothing is to be multiplied"
        );
        assert!(said(&|p| p.a.element = Element::Bf16).contains("factors must both be float or both bf16"));
        assert!(said(&|p| p.c.element = Element::Bf16).contains("the result theirs or float"));
        assert!(said(&|p| p.c.transposed = true).contains("cannot stand transposed"));
        assert!(said(&|p| p.row_sums = Some(0)).contains("with sums of rows: sums of rows need a first factor"));
        assert!(
            said(&|p| (p.batch, p.bias) = (2, Some(0))).contains("2 times, with a bias: a bias and sums of rows go")
        );
        assert!(said(&|p| p.batch = usize::MAX).contains("the batch is too large"));
    }
}
